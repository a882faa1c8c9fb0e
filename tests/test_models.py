"""Fetching models: from a mirror folder, from an address, from a hub on loopback; damaged, interrupted, offline."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data.errors import InputError, WeightsError
from modalities import scene_labels, transcript
from modalities.local_models import CLIP_REPOSITORIES, find_clip, find_whisper, models_folder
from modalities.model_store import Origin, fetch, is_here, verify
from modalities.model_table import ModelFile, PinnedModel, model_table, whisper_addresses
from tests.tiny_models import save_tiny_clip

Dyad = Callable[..., tuple[int, str, str]]
CLIP = model_table().choose("clip")[0]
CONTENT = bytes(range(256)) * 4096
SMALL = PinnedModel("small", "words", "whisper", (ModelFile("small.pt", hashlib.sha256(CONTENT).hexdigest()),), 1, "MIT")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dyad's folder of models, empty."""
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DYAD_MIRROR", raising=False)
    return models_folder()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror folder with the CLIP of the group `clip` (tiny, of random weights) and a Whisper of known content."""
    folder = tmp_path / "mirror"
    save_tiny_clip(folder / CLIP.repository)
    (folder / "whisper").mkdir(parents=True)
    (folder / "whisper" / "small.pt").write_bytes(CONTENT)
    return folder


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- the table


def test_whisper_rows_are_those_of_its_package() -> None:
    import whisper

    assert whisper_addresses() == whisper._MODELS
    small = model_table().models["whisper-small"]
    assert small.url == whisper._MODELS["small"]
    assert small.files[0].name == "small.pt"
    rows = [model for model in model_table().models.values() if model.url]
    assert all(re.fullmatch("[0-9a-f]{64}", model.files[0].sha256) for model in rows)


def test_clip_rows_are_repositories_that_are_known_to_dyad() -> None:
    rows = [model for model in model_table().models.values() if model.repository]
    assert {model.repository for model in rows} <= {row[0] for row in CLIP_REPOSITORIES}
    assert all(model.unverified for model in rows), "none could be compared with the hub"
    for group in model_table().profiles:
        assert model_table().choose(group)
    with pytest.raises(InputError, match="no model and no group.*clip, whisper"):
        model_table().choose("nonesuch")


# ---- from a mirror


def test_a_mirror_gives_a_clip_that_dyad_finds_and_loads(mirror: Path, store: Path) -> None:
    from flows.settings import read_prompts

    told: list[tuple[int, int]] = []
    folder = fetch(CLIP, Origin(mirror, offline=True), lambda done, total: told.append((done, total)))
    found = find_clip().found
    assert found is not None
    assert found.path == folder / "open_clip_model.safetensors"
    assert scene_labels.load(found.path, found.architecture, read_prompts("scene_labels.yaml")).source.backend == "open_clip"
    assert told[-1][0] == told[-1][1] == found.path.stat().st_size
    assert [item.problem for item in verify({CLIP.name: CLIP})] == ["", ""]
    assert not [name for name in left(store) if ".downloads" in name]


def test_a_file_that_is_not_the_pinned_one_never_gets_its_name(mirror: Path, store: Path) -> None:
    (mirror / "whisper" / "small.pt").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="small.pt of small arrived damaged or is another file"):
        fetch(SMALL, Origin(mirror))
    assert not left(store)
    assert find_whisper().found is None
    (mirror / "whisper" / "small.pt").write_bytes(CONTENT)
    fetch(SMALL, Origin(mirror))
    found = find_whisper().found
    assert found is not None
    assert found.name == "small"


def test_an_interrupted_copy_leaves_nothing_that_looks_whole(mirror: Path, store: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(SMALL, Origin(mirror), interrupt)
    assert not left(store)
    assert not is_here(SMALL)
    assert fetch(SMALL, Origin(mirror)) == store / "whisper"
    assert is_here(SMALL)
    fetch(SMALL, Origin(mirror), interrupt)  # what is here is not copied again


def test_a_mirror_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="mirror has no .*laion.*open_clip_config.json.*unset DYAD_MIRROR"):
        fetch(CLIP, Origin(tmp_path))


def test_what_has_changed_on_the_disk_is_noticed(mirror: Path, store: Path) -> None:
    fetch(CLIP, Origin(mirror))
    weights, config = store / CLIP.folder / "open_clip_model.safetensors", store / CLIP.folder / "open_clip_config.json"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    config.unlink()
    problems = [item.problem for item in verify({CLIP.name: CLIP})]
    assert f"{config} is gone; run 'dyad models download {CLIP.name}'." in problems
    assert any("has changed since it was fetched" in problem for problem in problems)
    assert not list(verify({SMALL.name: SMALL})), "what was never fetched is not looked at"


# ---- from the network


@contextlib.contextmanager
def files_server(files: dict[str, bytes], cut: int = 0) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A server of files as a hub answers; the first GET of a file longer than `cut` > 0 bytes breaks off there."""
    asked: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, send: bool) -> None:
            wanted = self.headers.get("Range", "")
            first = not any(method == "GET" and path == self.path for method, path, _ in asked)
            asked.append((self.command, self.path, wanted))
            content = files.get(self.path)
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            begin = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c0ffee" * 6 + "beef")
            self.end_headers()
            if send:
                self.wfile.write(content[begin : begin + cut] if cut and first and len(content) > cut else content[begin:])

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()


def test_a_broken_download_goes_on_where_it_stopped(store: Path) -> None:
    with files_server({"/small.pt": CONTENT}, cut=300_000) as (address, asked):
        model = replace(SMALL, url=f"{address}/small.pt")
        with pytest.raises(WeightsError, match="goes on where it stopped"):
            fetch(model, Origin())
        assert find_whisper().found is None
        fetch(model, Origin())
    assert [begin for _, _, begin in asked] == ["", "bytes=300000-"]
    assert (store / "whisper" / "small.pt").read_bytes() == CONTENT


def test_an_address_that_gives_something_else(store: Path) -> None:
    with files_server({"/small.pt": b"<html>Sign in</html>"}) as (address, _):
        with pytest.raises(WeightsError, match="arrived damaged or is another file"):
            fetch(replace(SMALL, url=f"{address}/small.pt"), Origin())
        with pytest.raises(WeightsError, match="404"):
            fetch(replace(SMALL, url=f"{address}/none.pt"), Origin())
    assert not left(store)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def hub_files(folder: Path) -> dict[str, bytes]:
    paths = [folder / CLIP.repository / file.name for file in CLIP.files]
    return {f"/{CLIP.repository}/resolve/main/{path.name}": path.read_bytes() for path in paths}


def test_the_hub_library_fetches_pinned_files(mirror: Path, store: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with files_server(hub_files(mirror)) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetch(CLIP, Origin())
    receipt = json.loads((store / "receipts" / f"{CLIP.name}.json").read_text())
    assert receipt["revision"] == "c0ffee" * 6 + "beef", "the commit that 'main' was then"
    assert [item.problem for item in verify({CLIP.name: CLIP})] == ["", ""]
    assert find_clip().found is not None


def test_a_hub_without_the_model_is_a_sentence(store: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with files_server({}) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(WeightsError, match="could not be fetched from laion.*name a folder that holds the files"):
            fetch(CLIP, Origin())
    assert not find_clip().found


# ---- the commands


def test_list_shows_licences_and_what_is_here(dyad: Dyad, mirror: Path) -> None:
    fetch(CLIP, Origin(mirror))
    code, out, _ = dyad("models", "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "here" in lines[CLIP.name]
    assert "unverified" in lines[CLIP.name]
    assert "no commercial use" in lines["mobileclip2-s0"]
    assert "here" not in lines["whisper-small"]
    assert "clip = clip-vit-b-32-laion2b" in out


def test_download_verify_and_where(dyad: Dyad, mirror: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No model has been fetched" in dyad("models", "verify")[1]
    assert "none; run 'dyad models download clip'" in dyad("models", "where")[1]
    monkeypatch.setenv("DYAD_MIRROR", str(mirror))
    code, out, err = dyad("models", "download", "clip")
    assert code == 0
    assert "licence: MIT" in err
    assert f"{CLIP.name} is now in {store / CLIP.folder}" in out
    assert "was already in" in dyad("models", "download", "clip")[1]
    code, out, _ = dyad("models", "verify")
    assert code == 0
    assert out.count("is whole.") == 2
    assert str(store / CLIP.folder) in dyad("models", "where")[1]
    (store / CLIP.folder / "open_clip_config.json").write_text("{}")
    code, out, _ = dyad("models", "verify")
    assert code == 1
    assert "has changed" in out


def test_a_licence_against_commercial_use_is_shown_before(dyad: Dyad, tmp_path: Path) -> None:
    code, _, err = dyad("models", "download", "mobileclip2-s0", "--mirror", tmp_path)
    assert code == 1
    assert err.index("FORBIDS COMMERCIAL USE") < err.index("The mirror has no")


def test_offline_is_the_users_choice(dyad: Dyad, monkeypatch: pytest.MonkeyPatch, mirror: Path) -> None:
    from flows import prefect_setup

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(prefect_setup, "set_by_dyad", set())
    code, _, err = dyad("models", "download", "clip")
    assert code == 1
    assert "HF_HUB_OFFLINE forbids the network; unset it, or name a folder" in " ".join(err.split())
    monkeypatch.setattr(prefect_setup, "set_by_dyad", {"HF_HUB_OFFLINE"})
    with files_server(hub_files(mirror)) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert dyad("models", "download", "clip")[0] == 0
    import os

    assert os.environ["HF_HUB_OFFLINE"] == "1", "runs stay without a hub"


@pytest.mark.parametrize(("remedy", "file"), [(scene_labels.REMEDY, None), (transcript.REMEDY, "whisper")])
def test_the_remedies_name_commands_that_work(
    remedy: str, file: str | None, dyad: Dyad, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = re.findall(r"\./dyad ([a-z ]+[a-z])", remedy)
    monkeypatch.setenv("DYAD_MIRROR", str(mirror))
    code, _, err = dyad(*command.split())
    if file:  # the mirror's file is not the real Whisper, and the digest that its package lists says so
        assert code == 1
        assert "small.pt of whisper-small arrived damaged" in " ".join(err.split())
    else:
        assert code == 0
        assert find_clip().found is not None


def test_an_unknown_name(dyad: Dyad) -> None:
    code, _, err = dyad("models", "download", "nonesuch")
    assert code == 2
    assert "no model and no group" in err
