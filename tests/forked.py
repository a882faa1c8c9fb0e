"""The command line in a process of its own that begins with everything imported: it is forked from one that did that once.

A process that Python starts anew imports Prefect and torch for seconds before it does what was asked.
"""

import atexit
import itertools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ("flows.dataset", "flows.video", "flows.cli.app", "flows.cli.batch", "prefect.flow_engine", "torch")
_numbers = itertools.count()


class Forked:
    """A command that runs; it is waited for, asked and killed as a `subprocess.Popen` is."""

    def __init__(self, process: ForkServerProcess, printed: Path) -> None:
        self._process, self._printed = process, printed

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

    def ended(self, seconds: float) -> "subprocess.CompletedProcess[str]":
        """Wait for its end; it is killed, and a test fails, when it takes longer."""
        self._process.join(seconds)
        code = self._process.exitcode
        self.kill()
        out, err = (self._printed.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        assert code is not None, f"it ran for more than {seconds} s; it said: {err}"
        return subprocess.CompletedProcess("dyad", code, out, err)


def fork(
    *arguments: object, environment: Mapping[str, str], folder: Path, before: Callable[[], None] | None = None,
    most_bytes: int | None = None,
) -> Forked:  # fmt: skip
    """Start `dyad ARGUMENTS` in a folder.

    before: a function of a module that is called first; most_bytes: what the command's files may grow to (`ulimit -f`).
    """
    printed = _printed() / str(next(_numbers))
    words = [str(argument) for argument in arguments]
    process = _context().Process(target=_run, args=(words, dict(environment), folder, printed, before, most_bytes))
    process.start()
    return Forked(process, printed)


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    return context


@cache
def _printed() -> Path:
    """The folder for what commands print."""
    folder = tempfile.TemporaryDirectory(prefix="dyad-printed-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _run(
    words: list[str], environment: dict[str, str], folder: Path, printed: Path, before: Callable[[], None] | None,
    most_bytes: int | None,
) -> None:  # fmt: skip
    for number, file in ((0, Path(os.devnull)), (1, printed.with_suffix(".out")), (2, printed.with_suffix(".err"))):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)

    from prefect.context import refresh_global_settings_context

    from flows.cli import app
    from flows.server import prefect_setup

    prefect_setup.set_by_dyad.clear()
    prefect_setup.prepare()  # the variables of this command, as where it begins with `import flows`
    refresh_global_settings_context()
    if before is not None:
        before()
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.argv = ["dyad", *words]
    app.main()


@atexit.register
def _kill_what_is_left() -> None:
    """A test that failed may have left one, for which Python would wait."""
    for process in multiprocessing.active_children():
        process.kill()
