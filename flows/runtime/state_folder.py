"""Dyad's own folder on this machine: notes and logs of background processes, the server's database, locks of devices.

Everything here is light: it runs before Prefect is imported, in every command.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from data.files import atomic_path


def state_folder() -> Path:
    """`DYAD_STATE`, else the platform's folder for a program's state; it need not exist."""
    if given := os.environ.get("DYAD_STATE"):
        return Path(given).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dyad"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "dyad"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dyad"


def made(folder: Path) -> Path:
    """`folder`, made when it was not there, for its owner only: logs and the database tell what was watched.

    In the state folder that holds for all folders on the way, also those that an earlier version made; the state folder itself
    keeps the permissions that it was given.
    """
    own = state_folder()
    for one in (*reversed(folder.parents), folder):
        if one.is_relative_to(own):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
            if one != own and one.stat().st_mode & 0o077:
                one.chmod(0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def write_private(path: Path, text: str) -> None:
    """Write `text` as UTF-8 for its owner only, whole or not at all, and make its folder."""
    made(path.parent)
    with atomic_path(path) as aside, open(aside, "x", encoding="utf-8", opener=opened_privately) as stream:
        stream.write(text)


def opened_privately(path: str, flags: int) -> int:
    """Open a file that only its owner may read, also one that an earlier version made for all; an `opener` for `open`."""
    opened = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):
        os.fchmod(opened, 0o600)
    return opened


class FileLock:
    """A lock between processes on a file; the system releases it when its process ends, however it ends.

    Where the system has no `flock` the lock is always free.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Take the lock; False when another process has it and `wait` is not asked for."""
        made(self.path.parent)
        opened = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            taken = _flock(opened, wait)
        except BaseException:
            os.close(opened)
            raise
        if taken:
            self._file = opened
        else:
            os.close(opened)
        return taken

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        opened, self._file = self._file, None
        if opened is not None:
            os.close(opened)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None


def _flock(opened: int, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path` inside the block; waits for it."""
    lock = FileLock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
