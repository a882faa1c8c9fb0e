"""`dyad batch` in a process of its own that begins with everything imported: it is forked from one that did that once.

A process that Python starts anew imports Prefect and torch for seconds before it reads its first clip.
"""

import atexit
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["flows.dataset", "tests.faults.workloads", "prefect.flow_engine", "torch"])


class Forked:
    """A command that runs; it is waited for, asked and killed as a `subprocess.Popen` is."""

    def __init__(self, process: ForkServerProcess, said: Path) -> None:
        self._process, self._said = process, said

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code (-9 when it was killed), None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it with -9 and wait until it has ended."""
        self._process.kill()
        self._process.join()

    def ended(self, seconds: float) -> tuple[int, str]:
        """Wait for its end; its exit code and what it said."""
        self._process.join(seconds)
        code = self._process.exitcode
        assert code is not None, f"it still runs after {seconds} s; it said: {self._said.read_text()}"
        return code, self._said.read_text()


def fork(arguments: Sequence[str], environment: Mapping[str, str], said: Path, workload: str, most_bytes: int | None) -> Forked:
    """Start `dyad ARGUMENTS`; `said`: the file for its stderr; `most_bytes`: how large a file of its may become."""
    process = _CONTEXT.Process(target=_run, args=(list(arguments), dict(environment), said, workload, most_bytes))
    process.start()
    return Forked(process, said)


def _run(arguments: list[str], environment: dict[str, str], said: Path, workload: str, most_bytes: int | None) -> None:
    from prefect.context import refresh_global_settings_context

    from tests.faults import workloads

    for number, file in ((1, os.devnull), (2, str(said))):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    refresh_global_settings_context()
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.argv = ["dyad", *arguments]
    workloads.run(workload)


@atexit.register
def _kill_what_is_left() -> None:
    """A test that failed may have left one, for which Python would wait."""
    for process in multiprocessing.active_children():
        process.kill()
