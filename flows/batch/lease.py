"""One run at a time writes to an output: a lock on the folder, and a sign of life at an address."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from data.errors import DyadError
from data.location import Location, StorageError
from flows.batch.storage import OutputFolder
from flows.runtime.state_folder import FileLock

LEASE, BEAT, STALE = ".dyad-lease.json", 20.0, 90.0
"""Name of the file that says who writes to an address, seconds from one sign of life to the next, and after which it is void."""
LOCK = ".dyad-lock"


@dataclass
class Lease:
    """A sign of life at an address, renewed by a thread, so that two machines do not write to it at once.

    lost: set when another run has taken over, as it may once the sign of life is older than `STALE` seconds.
    """

    address: str
    owner: str = field(default_factory=lambda: f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}")
    lost: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def take(self) -> None:
        """Write the sign of life; DyadError when another run's is fresh."""
        if found := self._read():
            other, given = found
            if other != self.owner and time.time() - given < STALE and not _has_ended(other):
                raise DyadError(busy(self.address, f"by {other.rsplit(' ', 1)[0]} (machine and process)"))
        self._write()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def release(self) -> None:
        """Remove the sign of life."""
        self._over.set()
        if not self.lost.is_set():
            with contextlib.suppress(FileNotFoundError, StorageError):  # one that stays is void soon
                self._file.remove()

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(StorageError):  # storage that is away for a moment: the next beat will tell
                found = self._read()
                if found and found[0] != self.owner:
                    self.lost.set()
                    return
                self._write()

    @property
    def _file(self) -> Location:
        return Location.at(self.address) / LEASE

    def _read(self) -> tuple[str, float] | None:
        """The owner of the sign of life that is there, and when it was given; None without one that can be read."""
        try:
            noted = json.loads(self._file.read_bytes())
            return str(noted["owner"]), float(noted["time"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _write(self) -> None:
        self._file.write_bytes(json.dumps({"owner": self.owner, "time": time.time()}).encode())


def _has_ended(owner: str) -> bool:
    """Whether the owner of a sign of life was a process of this machine that is no more (this one's lock is held by now)."""
    import psutil

    machine, pid, _ = owner.rsplit(" ", 2) if owner.count(" ") >= 2 else ("", "0", "")
    return machine == socket.gethostname() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid)))


def busy(output: str, by: str) -> str:
    """The sentence for the second of two runs."""
    return f"Another run writes to {output} now, {by}; wait until it has ended, or choose another output with -o."


@contextlib.contextmanager
def alone(output: OutputFolder) -> Iterator[threading.Event]:
    """Hold the output for this run; DyadError when another run has it. Gives the event that tells when it is lost."""
    lock = FileLock(output.folder / LOCK)
    if not lock.acquire(wait=False):
        raise DyadError(busy(output.address or str(output.folder), "started on this machine or on one that shares the folder"))
    try:
        if not output.address:
            yield threading.Event()
            return
        lease = Lease(output.address)
        lease.take()
        try:
            yield lease.lost
        finally:
            lease.release()
    except OSError:
        check_there(output)
        raise
    finally:
        lock.release()


def check_there(output: OutputFolder) -> None:
    """DyadError when the folder that a run writes to has been removed meanwhile, even if a clip has made it anew since."""
    if not (output.folder / LOCK).exists():
        raise DyadError(
            f"{output.folder} has been removed, or its storage has gone, while this run wrote to it; see that it is there, then "
            "run the same command again."
        )
