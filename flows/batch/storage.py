"""Where a data set's files come from and go to: folders, or addresses through a folder on this machine."""

import contextlib
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from data.location import Location
from flows.runtime.errors import check_writable
from flows.runtime.state_folder import made, state_folder

LEFT_BEHIND = (".input-*", ".decoded-*", ".status.*", ".dataset.*", ".summary.*", ".confusion.*", ".report.*")
"""Folders and half-written files of a run that was killed."""


@dataclass(frozen=True)
class OutputFolder:
    """Where a data set's results go: `folder`, and where that is only a station, the `address` that they are put to."""

    folder: Path
    address: str = ""

    @property
    def location(self) -> Location:
        """Where the results lie in the end."""
        return Location.at(self.address or self.folder)

    def put(self, name: str, *, remove: bool = False) -> None:
        """Put a file or folder of `folder` to the address; nothing happens without one. `remove`: keep no copy here."""
        if not self.address:
            return
        source = self.folder / name
        for file in sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]:
            (self.location / file.relative_to(self.folder).as_posix()).upload(file)
        if remove:
            shutil.rmtree(source) if source.is_dir() else source.unlink()

    def get(self, name: str) -> bool:
        """Fetch a file from the address into `folder`; True when the file is there now."""
        if self.address:
            with contextlib.suppress(FileNotFoundError):
                (self.location / name).download(self.folder / name)
        return (self.folder / name).is_file()

    def here(self) -> "OutputFolder":
        """The same output on the machine that this runs on, where the station of an address may be another folder."""
        return output_at(self.address) if self.address else self


def output_at(path: str | Path) -> OutputFolder:
    """The output for a folder or an fsspec address, known to be writable; the station of an address is in Dyad's own folder."""
    location = Location.at(path)
    if not location.is_remote:
        check_writable(location.path)
        return OutputFolder(location.path)
    station = state_folder() / "stations" / hashlib.sha256(location.text.encode()).hexdigest()[:16]
    check_writable(made(station))
    location.check_known()
    return OutputFolder(station, location.text)


def clear_left_behind(folder: Path) -> None:
    """Remove what a run that was killed left in its output folder."""
    for pattern in LEFT_BEHIND:
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
