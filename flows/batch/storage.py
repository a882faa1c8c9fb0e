"""Where a data set's files come from and go to: folders, or fsspec addresses through a folder on this machine."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DyadError, InputError, MediaError
from data.manifest.paths import is_url, plain_root
from flows.runtime.errors import check_writable
from flows.runtime.state_folder import state_folder

LEFT_BEHIND = (".input-*", ".decoded-*", ".status.*", ".dataset.*", ".summary.*", ".confusion.*", ".report.*")
"""Folders and half-written files of a run that was killed."""


class OutputGone(DyadError):
    """The address that results go to cannot be reached or written."""


@dataclass(frozen=True)
class Output:
    """The place that a data set's results go to: `folder`, and where that is only a station, the `address` it is put to."""

    folder: Path
    address: str = ""

    def put(self, name: str, *, remove: bool = False) -> None:
        """Put a file or folder of `folder` to the address; nothing happens without one. `remove`: keep no copy here."""
        if not self.address:
            return
        system, root = _system(self.address)
        source = self.folder / name
        with _reaching(self.address, put=True):
            for file in sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]:
                target = f"{root}/{file.relative_to(self.folder).as_posix()}"
                system.makedirs(target.rpartition("/")[0], exist_ok=True)
                system.put_file(str(file), target)
        if remove:
            shutil.rmtree(source) if source.is_dir() else source.unlink()

    def get(self, name: str) -> bool:
        """Fetch a file from the address into `folder`; True when the file is there now."""
        if self.address:
            system, root = _system(self.address)
            with contextlib.suppress(FileNotFoundError), _reaching(self.address):
                system.get_file(f"{root}/{name}", str(self.folder / name))
        return (self.folder / name).is_file()

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """A file of a clip that is done, open for reading; FileNotFoundError when it is not there."""
        if not self.address:
            with (self.folder / name).open("rb") as stream:
                yield stream
        else:
            system, root = _system(self.address)
            with _reaching(self.address):
                opened = system.open(f"{root}/{name}", "rb")
            with opened as stream:
                yield stream

    def here(self) -> "Output":
        """The same output on the machine that this runs on, where the station of an address may be another folder."""
        return output_at(self.address) if self.address else self


def output_at(place: str | Path) -> Output:
    """The output for a folder or an fsspec address, known to be writable; the station of an address is in Dyad's own folder."""
    root = plain_root(place)
    if not is_url(root):
        check_writable(Path(root))
        return Output(Path(root))
    station = state_folder() / "stations" / hashlib.sha256(root.encode()).hexdigest()[:16]
    check_writable(station)
    _system(root)
    return Output(station, root)


def _system(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address} cannot be opened ({error}); install what it needs, or correct the address.") from error
    return system, root.rstrip("/")


def _troubles() -> tuple[type[Exception], ...]:
    """What clients of storage raise when they cannot reach it or are refused; those of S3 have errors that are no OSErrors."""
    s3 = sys.modules.get("botocore.exceptions")
    return (OSError, s3.BotoCoreError, s3.ClientError) if s3 else (OSError,)


@contextlib.contextmanager
def _reaching(address: str, put: bool = False) -> Iterator[None]:
    """OutputGone, a sentence, for what the storage raises; that a file is not there is an answer when nothing is put there."""
    try:
        yield
    except _troubles() as error:
        if isinstance(error, FileNotFoundError) and not put:
            raise
        said = f"{address} cannot be reached or written ({error}); see that it is there, then run the same command again."
        raise OutputGone(said) from error


def clear_left_behind(folder: Path) -> None:
    """Remove what a run that was killed left in its output folder."""
    for pattern in LEFT_BEHIND:
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def fetched(address: str, folder: Path) -> Iterator[Path]:
    """The file itself, or a copy of what an address names, which lies in `folder` until the block ends."""
    if not is_url(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory(prefix=".input-", dir=folder, ignore_cleanup_errors=True) as aside:
        yield fetch(address, Path(aside) / address.rpartition("/")[2])


def fetch(address: str, target: Path) -> Path:
    """Copy what an address names to `target`; MediaError, a sentence, when it cannot be had."""
    system, place = _system(address)
    try:
        system.get_file(place, str(target))
    except FileNotFoundError:
        raise MediaError(f"There is no file {address}; check the name.") from None
    except _troubles() as error:
        here = isinstance(error, OSError) and error.errno is not None
        if here and target.parent.is_dir() and not os.access(target.parent, os.W_OK):
            raise
        raise MediaError(f"{address} cannot be fetched ({error}); check that it may be read, and run again.") from error
    return target


def version_of(place: str) -> list[Any]:
    """What tells that a file has changed: its size and time, or what its storage says of it; empty when it is not there."""
    try:
        if not is_url(place):
            status = os.stat(place)
            return [status.st_size, status.st_mtime_ns]
        system, path = _system(place)
        facts = system.info(path)
    except ValueError:
        return []
    except _troubles():
        return []
    telling = ("ETag", "etag", "md5", "mtime", "LastModified", "created")
    return [facts.get("size"), *(str(facts[name]) for name in telling if name in facts)]
