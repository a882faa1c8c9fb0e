"""Dyad's own folder on this machine: notes and logs of background processes, the server's database, locks of devices.

Everything here is light: it runs before Prefect is imported, in every command.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


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
    """`folder`, made when it was not there, for its owner only: logs and the database tell what was watched."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


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
