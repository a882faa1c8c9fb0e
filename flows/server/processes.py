"""Background processes that outlive the command: started with a note and a log, found again, stopped for certain.

Each carries a mark in its environment that names Dyad's state folder and a random number. A pid in a note counts only while
the process of that pid carries the mark of that note: after a crash or a restart of the machine, another program may have it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil

from flows.runtime.state_folder import made, opened_privately, state_folder, write_private

MARK = "DYAD_BACKGROUND"
GRACE = 6.0
"""Seconds after the first and after the second request to end, before a process is killed."""
LARGEST_LOG = 20_000_000


@dataclass(frozen=True)
class Background:
    """A background process as its note tells it; `facts` are what others need to know of it, such as an address."""

    name: str
    pid: int
    mark: str
    facts: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def process(self) -> psutil.Process | None:
        """The process, when it still runs and is really this one."""
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(self.pid)
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                return process
        return None


def log_of(name: str) -> Path:
    """Where a background process writes what it prints."""
    return state_folder() / "logs" / f"{name}.log"


def start(
    name: str, command: Sequence[str], environment: Mapping[str, str], *, private: bool = False, **facts: str | int
) -> Background:
    """Start `python -m command...` in a session of its own and note it under `name`.

    `private`: what it writes is for its owner only; without, as for a worker that writes results, as the user's umask says.
    """
    mark = f"{state_folder()}#{uuid.uuid4().hex}"
    with _log_stream(name) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *command],
            env={**environment, MARK: mark},
            cwd=made(state_folder()),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True,
            start_new_session=True,
            umask=0o077 if private else -1,
        )  # fmt: skip
    process.returncode = 0  # it is meant to outlive this command: no warning that it still runs
    started = Background(name, process.pid, mark, facts)
    _await_mark(started)
    write_private(_notes() / f"{name}.json", json.dumps({"pid": process.pid, "mark": mark, "facts": facts}))
    return started


def _await_mark(started: Background) -> None:
    """Wait the moment that the system takes to show a new process' environment; one that has ended already is found out later."""
    until = time.monotonic() + 2
    while started.process is None and psutil.pid_exists(started.pid) and time.monotonic() < until:
        time.sleep(0.01)


@contextlib.contextmanager
def _log_stream(name: str) -> Iterator[BinaryIO]:
    path = log_of(name)
    made(path.parent)
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        os.replace(path, path.with_suffix(".log.1"))
    with open(path, "ab", opener=opened_privately) as stream:
        yield stream


def last_lines(name: str, count: int = 5) -> str:
    """The end of a background process' log, for an error message."""
    try:
        lines = log_of(name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines[-4 * count :] if line.strip())[-1000:]


def noted(name: str) -> Background | None:
    """What the note of `name` says, whether or not the process still runs; None without a readable note."""
    try:
        note = json.loads((_notes() / f"{name}.json").read_text(encoding="utf-8"))
        return Background(name, int(note["pid"]), str(note["mark"]), dict(note["facts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(name: str) -> Background | None:
    """The background process `name` when it runs; the note of one that ended otherwise is removed."""
    found = noted(name)
    if found and found.process:
        return found
    forget(name)
    return None


def all_running(kind: str) -> list[Background]:
    """Every running background process whose name begins with `kind`, in the order of names."""
    names = sorted(file.stem for file in _notes().glob(f"{kind}*.json"))
    return [found for name in names if (found := running(name))]


def forget(name: str) -> None:
    """Remove the note of a process that has ended."""
    (_notes() / f"{name}.json").unlink(missing_ok=True)


def stop(stopped: Sequence[Background]) -> None:
    """Ask the processes to end, ask again, then kill them, with everything that they started."""
    asked = [process for background in stopped if (process := background.process)]
    family = _with_children(asked)
    for _ in range(2):
        _each(asked, "terminate")
        _, asked = psutil.wait_procs(asked, timeout=GRACE)
    rest = [process for process in {*family, *_with_children(asked)} if process.is_running()]
    _each(rest, "kill")
    psutil.wait_procs(rest, timeout=GRACE)
    for background in stopped:
        forget(background.name)


def stop_left_behind() -> int:
    """Kill what background processes of this state folder started and left behind when they were killed; returns how many."""
    me = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    left = [process for process in psutil.process_iter() if process.pid not in me and _is_ours(process)]
    _each(left, "terminate")
    _, stubborn = psutil.wait_procs(left, timeout=GRACE)
    _each(stubborn, "kill")
    psutil.wait_procs(stubborn, timeout=GRACE)
    return len(left)


def _is_ours(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        mark = str(process.environ().get(MARK, ""))
        return mark.startswith(f"{state_folder()}#") and str(process.status()) != psutil.STATUS_ZOMBIE
    return False


def _with_children(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    family = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            family += process.children(recursive=True)
    return family


def _each(processes: Sequence[psutil.Process], what: str) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            getattr(process, what)()


def _notes() -> Path:
    return state_folder() / "processes"
