"""A file or a folder, on this machine or at an address that fsspec knows (s3://bucket/talks): one class for both."""

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from data.errors import DyadError, InputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ADDRESS = r"^[A-Za-z][A-Za-z0-9+.\-]+(?:://|::)"
"""What an address begins with; a single letter before the colon is a drive."""
VERSION = ("ETag", "etag", "md5", "mtime", "LastModified", "created")
"""What the file systems of fsspec call that by which a change of a file is known, beside its size."""


CONNECT, SILENCE, WHOLE = 30.0, 60.0, 3600.0
"""Seconds that another machine may take to answer, may be silent, and a file may take as a whole."""


class StorageError(DyadError):
    """An address cannot be reached, read or written."""


def file_system(named: str | Path) -> str:
    """What stands before :// in an address, such as s3; '' for a path."""
    return str(named).partition("://")[0].lower() if is_address(named) else ""


def is_address(named: str | Path) -> bool:
    """True for fsspec addresses, `file://` included."""
    return isinstance(named, str) and re.match(ADDRESS, named) is not None


def address_problem(address: str, allowed: Collection[str]) -> str:
    """Why an address that a table names may not be read, as "is ..."; '' for one of the file systems `allowed` (s3, https)."""
    from fsspec import available_protocols

    system = file_system(address)
    if "::" in address:
        return "is a chain of addresses; give the address of the file itself"
    if not address.partition("://")[2].strip("/ "):
        return "is an address without a path; write the file's after ://"
    if system in ("file", "local") or system not in available_protocols():
        return "is an address of a file system that fsspec does not know; correct what stands before ://"
    if system not in map(str.lower, allowed):
        return f"is an address; where you trust the table that names it, allow it: --allow-remote {system}"
    return ""


@dataclass(frozen=True)
class Location:
    """A file or folder: `text` is an absolute, normal path, or an address without a slash at its end. Make one with `at`.

    `named` is the folder by which a person knows one that was made with `/`: messages name it.
    What is not there is a FileNotFoundError. Other troubles are OSErrors on this machine and StorageErrors at an address; an
    address that fsspec cannot open is an InputError.
    """

    text: str
    named: str = field(default="", compare=False)

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The location that a path or an address names."""
        text = os.fspath(path)
        if text.startswith(("file://", "local://")):
            text = "/" + text.partition("://")[2].lstrip("/")
        if not is_address(text):
            return cls(os.path.abspath(text))
        system, between, path = text.partition("://")
        return cls(f"{system}{between}{path.rstrip('/')}")

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Location":
        """What has this path inside the folder; an absolute path or an address stands for itself."""
        if is_address(name) or name.startswith("/"):
            return Location(name)
        return Location(f"{self.prefix}{name}", self.named or self.text)

    @property
    def prefix(self) -> str:
        """The text that paths inside the folder begin with: that of the folder with a slash."""
        return self.text if self.text.endswith("/") else f"{self.text}/"

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> "Location":
        """The folder that it lies in."""
        if not self.is_remote:
            return Location(os.path.dirname(self.text))
        system, between, path = self.text.partition("://")
        return Location(f"{system}{between}{path.rpartition('/')[0]}")

    @property
    def is_remote(self) -> bool:
        """Whether it is an address."""
        return is_address(self.text)

    @property
    def path(self) -> Path:
        """The path of one on this machine."""
        return Path(self.text)

    def is_file(self) -> bool:
        """Whether there is a file."""
        with self._reached() as (system, path):
            return bool(system.isfile(path))

    @contextlib.contextmanager
    def open(self, mode: str = "rb", **how: str) -> Iterator[IO[Any]]:
        """The file, open for reading as bytes ("rb") or text ("rt", with `encoding` and `newline`)."""
        with self._reached() as (system, path):
            opened = system.open(path, mode, **how)
        with opened as stream:
            yield stream

    def read_bytes(self) -> bytes:
        """The content of the file."""
        with self._reached() as (system, path):
            return bytes(system.cat_file(path))

    def write_bytes(self, content: bytes) -> None:
        """Write a file, and make its folder."""
        with self._reached(to_write=True) as (system, path):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, content)

    def download(self, target: Path) -> Path:
        """Copy the file to `target`, which is returned."""
        with self._reached() as (system, path):
            system.get_file(path, str(target))
        return target

    def upload(self, file: Path) -> None:
        """Make it a copy of `file`, and make its folder."""
        with self._reached(to_write=True) as (system, path):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), path)

    def remove(self) -> None:
        """Remove the file."""
        with self._reached() as (system, path):
            system.rm_file(path)

    def glob(self, pattern: str) -> list[str]:
        """The paths inside the folder that a pattern means, sorted."""
        if not self.is_remote:  # where * ? [ in the folder's own name mean themselves
            return sorted(path.relative_to(self.path).as_posix() for path in self.path.glob(pattern))
        with self._reached() as (system, path):
            return sorted(str(found).removeprefix(path).lstrip("/") for found in system.glob(f"{path}/{pattern}"))

    def files(self) -> list[str]:
        """The paths of all files inside the folder and below it, sorted."""
        with self._reached() as (system, path):
            return [str(found).removeprefix(path).lstrip("/") for found in system.find(path)]

    def version(self) -> list[object]:
        """What tells that the file has changed: its size and time, or what its storage says of it; empty when it is not there."""
        try:
            if not self.is_remote:
                status = os.stat(self.text)
                return [status.st_size, status.st_mtime_ns]
            with self._reached() as (system, path):
                facts = system.info(path)
        except Exception:  # each file system has errors of its own; whoever fetches the file tells what is wrong
            return []
        return [facts.get("size"), *(str(facts[name]) for name in VERSION if name in facts)]

    def check_known(self) -> None:
        """InputError for an address that fsspec cannot open."""
        with self._reached():
            return

    @contextlib.contextmanager
    def _reached(self, to_write: bool = False) -> "Iterator[tuple[AbstractFileSystem, str]]":
        """The file system that it lies in and its path there; inside the block, troubles of an address become StorageErrors.

        That a file is not there is an answer, unless one is written.
        """
        from fsspec import filesystem
        from fsspec.core import url_to_fs

        try:
            system, path = url_to_fs(self.text, **_limits(self.text)) if self.is_remote else (filesystem("file"), self.text)
        except Exception as error:  # of an address that lacks a part each file system complains in its own way
            raise InputError(f"{self} cannot be opened ({error}); install what it needs, or correct the address.") from error
        # The clients of S3 have errors that are no OSErrors; one that was not imported has raised none.
        s3 = sys.modules.get("botocore.exceptions")
        troubles = (OSError, s3.BotoCoreError, s3.ClientError) if s3 else (OSError,)
        try:
            yield system, path.rstrip("/") if self.is_remote else path
        except troubles as error:
            if not self.is_remote or (isinstance(error, FileNotFoundError) and not to_write):
                raise
            raise StorageError(
                f"{self.named or self} cannot be reached or written ({error}); see that it is there, then run the same command "
                "again."
            ) from error


def _limits(address: str) -> dict[str, object]:
    """How long the file system of an address may take, where the user's settings of fsspec do not say; others have own limits."""
    from fsspec.config import conf

    name = file_system(address)
    if name in ("http", "https"):
        from aiohttp import ClientTimeout

        limits: dict[str, object] = {"timeout": ClientTimeout(total=WHOLE, sock_connect=CONNECT, sock_read=SILENCE)}
        return {"client_kwargs": limits | conf.get(name, {}).get("client_kwargs", {})}
    if name in ("s3", "s3a"):
        limits = {"connect_timeout": CONNECT, "read_timeout": SILENCE}
        return {"config_kwargs": limits | conf.get(name, {}).get("config_kwargs", {})}
    return {}
