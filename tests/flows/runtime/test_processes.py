"""Work in processes of their own: what it gives, what is told of it, and how processes end."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest

from data.errors import InputError
from flows.runtime import stop
from flows.runtime.errors import Interrupted
from flows.runtime.events import Event, listening, tell
from flows.runtime.processes import ProcessDied, Processes, _Asking, where_it_is_waited_for
from tests.waiting import wait_until

NOTED: list[tuple[int, str]] = []


def note(what: str) -> None:
    NOTED.append((os.getpid(), what))


def telling(clip: str) -> int:
    tell(Event(clip, clip, "faces", "done"))
    logging.getLogger("flows.of_the_test").warning("%s is done", clip)
    where_it_is_waited_for(note, clip)
    return os.getpid()


def failing() -> None:
    raise InputError("clips.csv is empty; give a row.")


def with_what_nobody_can_read() -> None:
    error = ValueError("odd")
    error.args = (threading.Lock(),)
    raise error


def dying() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def telling_nobody() -> None:
    here, there = Pipe()
    there.close()
    _Asking(here).tell(note, "late")


def until_stopped(begun: Path) -> None:
    begun.touch()
    while True:
        stop.check()
        time.sleep(0.01)


def never_ending(begun: Path) -> None:
    begun.write_text(str(os.getpid()))
    begun.rename(begun.with_suffix(".here"))
    while True:
        time.sleep(1)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as started:
        yield started


def test_what_happens_in_a_process_is_told_here(processes: Processes, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []
    with listening(told.append), caplog.at_level(logging.INFO, "flows"):
        pid = processes.run(telling, "clip1")
    assert pid != os.getpid()
    assert [(event.clip_id, event.state) for event in told] == [("clip1", "done")]
    assert "clip1 is done" in caplog.text
    assert NOTED[-1] == (os.getpid(), "clip1")
    assert processes.run(telling, "clip2") == pid, "the same process, now that it is free"


def blocked() -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])}


def test_a_signal_to_the_whole_program_does_not_reach_what_is_kept_from_it() -> None:
    before = blocked()
    ask = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    with stop.kept_from_children(signal.SIGINT, signal.SIGTERM):
        child = subprocess.run([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True, check=True)
    assert {int(number) for number in child.stdout.split()} >= {signal.SIGINT, signal.SIGTERM}
    assert blocked() == before


def test_errors_come_back_as_they_are_and_the_process_stays(processes: Processes) -> None:
    with pytest.raises(InputError, match="give a row"):
        processes.run(failing)
    with pytest.raises(Exception, match="Unexpected ValueError"):
        processes.run(with_what_nobody_can_read)
    assert processes.run(os.getpid) != os.getpid()


def test_a_process_that_dies_is_an_error_and_another_takes_its_place(processes: Processes) -> None:
    before = processes.run(os.getpid)
    with pytest.raises(ProcessDied, match="SIGKILL"):
        processes.run(dying)
    assert processes.run(os.getpid) not in (before, os.getpid())


def test_a_process_that_nobody_listens_to_any_more_ends_without_a_word(processes: Processes) -> None:
    with pytest.raises(ProcessDied, match="exit code 1"):
        processes.run(telling_nobody)


def test_a_request_to_stop_reaches_the_work(tmp_path: Path) -> None:
    """A process of its own, since it stays stopped."""
    with Processes() as processes:
        ender = threading.Thread(target=lambda: (wait_until((tmp_path / "begun").exists), stop.requested.set()))
        ender.start()
        try:
            with pytest.raises(Interrupted):
                processes.run(until_stopped, tmp_path / "begun")
        finally:
            ender.join()
            stop.requested.clear()


def test_a_process_at_work_ends_with_the_block(tmp_path: Path) -> None:
    with Processes() as processes:
        thread = threading.Thread(target=_tried, args=(processes, tmp_path))
        thread.start()
        wait_until((tmp_path / "work.here").exists)
    pid = int((tmp_path / "work.here").read_text())
    wait_until(lambda: not psutil.pid_exists(pid))
    thread.join()


def _tried(processes: Processes, folder: Path) -> None:
    with contextlib.suppress(ProcessDied):
        processes.run(never_ending, folder / "work")
