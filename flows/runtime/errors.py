"""Errors as sentences for the user, and which of them a second try may mend."""

import errno
from pathlib import Path

from data.errors import DyadError

DISK = {
    errno.ENOENT: "there is no such file or folder; check the name",
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your quota of disk space is used up; free some space and run the same command again",
    errno.EFBIG: "it would be larger than is permitted here; see 'ulimit -f', or choose another disk with -o",
    errno.EROFS: "the file system is read-only; choose another output folder with -o",
    errno.EACCES: "access is not permitted; change the permissions or choose another folder with -o",
    errno.EPERM: "access is not permitted; change the permissions or choose another folder with -o",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another output folder with -o",
    errno.EEXIST: "a part of this path is a file, not a folder; choose another output folder with -o",
    errno.ENAMETOOLONG: "the name is too long for this file system; rename the file",
    errno.EMFILE: "too many files are open; raise the limit with 'ulimit -n 4096'",
}
NO_MEMORY = ("can't allocate memory", "out of memory", "Insufficient memory")
"""How torch and OpenCV say that the memory is used up, in errors that are no MemoryError."""


class Interrupted(Exception):
    """The user asked to stop."""


def sentence(error: BaseException) -> str:
    """What went wrong and what to do, in one sentence; never a traceback."""
    unexpected = f"Unexpected {type(error).__name__}: {error} (log.txt in the run folder has the details)."
    return known_sentence(error) or unexpected


def known_sentence(error: BaseException) -> str:
    """What went wrong and what to do, in one sentence; empty for an error that nobody thought of."""
    if isinstance(error, DyadError):
        return str(error)
    if isinstance(error, Interrupted):
        return "Stopped at your request; what is finished is kept, and the same command goes on from there."
    if isinstance(error, MemoryError) or any(said in str(error) for said in NO_MEMORY):
        return "The memory is used up; close other programs, or lower decode.longest_side in the settings."
    if isinstance(error, OSError) and error.errno in DISK:
        return f"{error.filename or 'A file'} cannot be written or read: {DISK[error.errno]}."
    if "Failed to reach API" in str(error):
        return "The Prefect server that PREFECT_API_URL names does not answer; start it, or unset PREFECT_API_URL."
    return ""


def worth_retrying(error: BaseException) -> bool:
    """True for errors of storage that may pass: an interrupted call, a stale handle of a network file system, a time-out."""
    passing = {errno.EINTR, errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY}
    return isinstance(error, (TimeoutError, ConnectionError)) or (isinstance(error, OSError) and error.errno in passing)


def check_writable(folder: Path) -> None:
    """Make `folder` and try a file in it, so that a run fails at once and not after the work; OSError when it cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / ".dyad-probe"
    probe.touch()
    probe.unlink(missing_ok=True)
