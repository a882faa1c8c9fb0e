"""Files that a table, a folder or a command names, of this machine or at an address, as files that can be read here."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import DyadError, InputError, MediaError
from data.location import Location, StorageError, is_address


@dataclass(frozen=True)
class GivenFile:
    """A file or folder by its path or address; `problem` is a sentence where it may not be read."""

    name: str
    problem: str = ""

    def __str__(self) -> str:
        return self.name

    @contextlib.contextmanager
    def here(self) -> Iterator[Path]:
        """Its path, or that of a copy of what an address names, until the block ends.

        MediaError where it may not be read or cannot be fetched; those of Dyad's errors inside the block name what was given.
        """
        if self.problem:
            raise MediaError(self.problem)
        with fetched(self.name) as file:
            try:
                yield file
            except DyadError as error:
                raise type(error)(str(error).replace(str(file), self.name)) from error


@contextlib.contextmanager
def here(file: Path | GivenFile) -> Iterator[Path]:
    """The path by which a file can be read until the block ends; see `GivenFile.here`."""
    with file.here() if isinstance(file, GivenFile) else contextlib.nullcontext(file) as path:
        yield path


@contextlib.contextmanager
def fetched(address: str, folder: Path | None = None) -> Iterator[Path]:
    """The file itself, or a copy of what an address names, which lies in `folder` (None: the system's) until the block ends."""
    if not is_address(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory(prefix=".input-", dir=folder, ignore_cleanup_errors=True) as aside:
        yield fetch(address, Path(aside) / address.rpartition("/")[2])


def fetch(address: str, target: Path) -> Path:
    """Copy what an address names to `target`; MediaError, a sentence, when it cannot be had."""
    try:
        return Location.at(address).download(target)
    except FileNotFoundError:
        raise MediaError(f"There is no file {address}; check the name.") from None
    except InputError as error:  # the file system of the address is not installed
        raise MediaError(str(error)) from error
    except (ValueError, NotImplementedError) as error:  # of an address that its file system does not understand
        raise MediaError(f"{address} cannot be fetched ({error}); correct the address.") from error
    except StorageError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno and target.parent.is_dir() and not os.access(target.parent, os.W_OK):
            raise cause from None  # the trouble is here, not at the address
        raise MediaError(f"{address} cannot be fetched ({cause}); check that it may be read, and run again.") from error
