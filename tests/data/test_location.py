"""One class for files here and at addresses: the same calls, the same answers; what is not there, and what cannot be reached."""

import socketserver
import threading
import time
from pathlib import Path

import fsspec
import pytest

from data.errors import InputError
from data.location import Location, StorageError, is_address


@pytest.fixture(params=["here", "at an address"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty folder of each kind."""
    return Location.at(tmp_path / "set" if request.param == "here" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read(folder: Location, tmp_path: Path) -> None:
    (folder / "b/words.txt").write_bytes("Grüße\n".encode())
    (tmp_path / "own.bin").write_bytes(b"\x00\x01")
    (folder / "a.bin").upload(tmp_path / "own.bin")
    assert folder.files() == ["a.bin", "b/words.txt"]
    assert folder.glob("*/*.txt") == ["b/words.txt"]
    assert (folder / "a.bin").is_file()
    assert not (folder / "b").is_file()
    with (folder / "b" / "words.txt").open("rt", encoding="utf-8", newline="") as stream:
        assert stream.read() == "Grüße\n"
    assert (folder / "a.bin").download(tmp_path / "copy.bin").read_bytes() == b"\x00\x01"
    (folder / "a.bin").remove()
    assert not (folder / "a.bin").is_file()


def test_what_is_not_there_is_the_same_error_everywhere(folder: Location, tmp_path: Path) -> None:
    missing = folder / "none.txt"
    for read in (missing.read_bytes, lambda: missing.download(tmp_path / "copy"), missing.open().__enter__):
        with pytest.raises(FileNotFoundError):
            read()
    assert missing.version() == []


def test_a_change_is_another_version(folder: Location) -> None:
    file = folder / "a.csv"
    file.write_bytes(b"1")
    first = file.version()
    assert first == file.version() != []
    file.write_bytes(b"22")
    assert file.version() != first


@pytest.mark.parametrize("address", ["lakefs://b/x.mp4", "github://x", "dir://x", "hf://"])
def test_an_address_that_cannot_be_opened_has_no_version(address: str) -> None:
    """Of a driver that is not installed, and of addresses about which their file systems complain each in its own way."""
    assert Location.at(address).version() == []
    if address != "hf://":
        with pytest.raises(InputError, match=r"cannot be opened \(.+\); install what it needs, or correct the address\."):
            Location.at(address).check_known()


@pytest.mark.parametrize(
    ("place", "text", "name", "parent"),
    [
        ("/a/../b/c.csv", "/b/c.csv", "c.csv", "/b"),
        ("file:///b/c.csv", "/b/c.csv", "c.csv", "/b"),
        ("s3://bucket/talks/", "s3://bucket/talks", "talks", "s3://bucket"),
        ("memory://top.csv", "memory://top.csv", "top.csv", "memory://"),
    ],
)
def test_names(place: str, text: str, name: str, parent: str) -> None:
    location = Location.at(place)
    assert (location.text, location.name, location.parent.text) == (text, name, parent)
    assert location.is_remote == is_address(text) == ("://" in text)


def test_paths_inside_a_folder_and_whole_ones() -> None:
    folder = Location.at("memory://")
    assert str(folder / "a/b.mp4") == "memory://a/b.mp4"
    assert str(Location.at("s3://bucket/x") / "a.mp4") == "s3://bucket/x/a.mp4"
    assert str(folder / "/data/a.mp4") == "/data/a.mp4"
    assert str(Location.at("/data") / "s3://bucket/a.mp4") == "s3://bucket/a.mp4"


def test_a_folder_whose_name_is_like_a_pattern_or_an_address(tmp_path: Path) -> None:
    folder = Location.at(tmp_path / "set [1]::x")
    (folder / "a.txt").write_bytes(b"1")
    assert folder.glob("*.txt") == ["a.txt"]
    assert (folder / "a.txt").read_bytes() == b"1"


def test_an_address_that_cannot_be_opened_or_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="nonesuch://x/y cannot be opened .* install what it needs, or correct the address"):
        Location.at("nonesuch://x/y").check_known()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("refused")

    monkeypatch.setattr(fsspec.filesystem("memory"), "cat_file", refuse)
    with pytest.raises(StorageError, match=r"^memory://set cannot be reached or written \(refused\); .* the same command again"):
        (Location.at("memory://set") / "clip" / "result.json").read_bytes()


class _Silent(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1)
        time.sleep(5)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.location.SILENCE", 0.2)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Silent) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/a.mp4"
        with pytest.raises(StorageError, match="cannot be reached"):
            Location.at(address).read_bytes()
        server.shutdown()
