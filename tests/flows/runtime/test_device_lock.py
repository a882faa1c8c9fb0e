"""Two processes and one device: they take turns, and who is killed with -9 leaves the device free."""

import os
import signal
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.runtime.batch_queue import BatchQueue
from flows.runtime.device_lock import TURN, DeviceTurn, is_shared, lock_path
from flows.runtime.state_folder import FileLock

ROOT = Path(__file__).resolve().parents[3]
COMPUTES = """
import sys, time
from flows.runtime import device_lock
from flows.runtime.batch_queue import BatchQueue

def work(model, items):
    print("computes", flush=True)
    time.sleep(float(sys.argv[1]))
    print("computed at", time.monotonic(), flush=True)
    return items

device_lock.TURN = float(sys.argv[3])
print("starts", flush=True)
list(BatchQueue("gpu-of-the-test").batches(work, None, range(int(sys.argv[2])), 1))
print("ends", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts another process whose lane computes so many batches of so many seconds on the same device, in turns that end after
    so many seconds."""
    monkeypatch.setenv("DYAD_STATE", str(tmp_path))
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float, batches: int, turn: float = TURN) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", COMPUTES, str(seconds), str(batches), str(turn)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def compute(items: int = 1) -> float:
    """When this process first had the device, on the clock that all processes share."""
    at: list[float] = []

    def work(model: None, items: list[int]) -> list[int]:
        at.append(time.monotonic())
        return items

    assert list(BatchQueue("gpu-of-the-test").batches(work, None, range(items), 1)) == list(range(items))
    return at[0]


def test_a_process_waits_while_another_computes(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    compute()  # what the first batch imports is no waiting
    process = other(1.0, 1)
    assert [line(process), line(process)] == ["starts", "computes"]
    here, there = compute(), float(line(process).removeprefix("computed at "))
    assert here >= there


def test_who_has_nothing_to_compute_keeps_nobody_waiting(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = other(0.0, 2)
    assert [line(process).partition(" ")[0] for _ in range(6)] == ["starts", *["computes", "computed"] * 2, "ends"]
    compute()
    assert process.poll() is None, "it is still there, with nothing to compute"


def test_a_killed_process_leaves_the_device_free(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = other(600.0, 1)
    assert [line(process), line(process)] == ["starts", "computes"]
    assert not FileLock(lock_path("gpu-of-the-test")).acquire(wait=False)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    compute()


def test_a_long_turn_ends_for_others(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    """The other process would compute for a minute without a break; each of its turns ends after half a second."""
    process = other(0.1, 600, 0.5)
    assert [line(process), line(process)] == ["starts", "computes"]
    compute()
    process.kill()
    assert process.stdout
    assert "ends" not in process.stdout.read().splitlines(), "it had more to compute"


def test_which_devices_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_shared("cuda:0")
    assert is_shared("mps")
    assert not is_shared("cpu")
    monkeypatch.setenv("DYAD_DEVICE_LOCK", "all")
    assert is_shared("cpu")
    monkeypatch.setenv("DYAD_DEVICE_LOCK", "off")
    assert not is_shared("cuda:0")


@pytest.mark.timing
def test_a_turn_costs_about_as_much_as_opening_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_STATE", str(tmp_path))
    turn = DeviceTurn("gpu-of-the-test")

    def take_and_leave() -> None:
        turn.take()
        turn.leave()

    def open_and_close() -> None:
        with (tmp_path / "file").open("w"):
            pass

    def seconds(what: Callable[[], None]) -> float:
        return min(timeit.repeat(what, timer=time.thread_time, number=200, repeat=5))

    turns, files = seconds(take_and_leave), seconds(open_and_close)
    assert turns < 40 * files


def test_a_folder_that_cannot_be_locked_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "state"))
    compute(3)
    assert "cannot be locked" in caplog.text
