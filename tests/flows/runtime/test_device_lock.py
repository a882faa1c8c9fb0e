"""Two processes and one device: they take turns, and who is killed with -9 leaves the device free."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.runtime.batch_queue import Lane
from flows.runtime.device_lock import DeviceTurn, is_shared, lock_path
from flows.runtime.state_folder import FileLock

ROOT = Path(__file__).resolve().parents[3]
COMPUTES = """
import sys, time
from flows.runtime.batch_queue import Lane

def work(model, items):
    print("computes", flush=True)
    time.sleep(float(sys.argv[1]))
    return items

print("starts", flush=True)
list(Lane("gpu-of-the-test").batches(work, None, range(int(sys.argv[2])), 1))
print("ends", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts another process whose lane computes so many batches of so many seconds on the same device."""
    monkeypatch.setenv("DYAD_STATE", str(tmp_path))
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float, batches: int) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", COMPUTES, str(seconds), str(batches)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def seconds_to_compute(items: int = 1) -> float:
    began = time.perf_counter()
    assert list(Lane("gpu-of-the-test").batches(lambda model, given: given, None, range(items), 1)) == list(range(items))
    return time.perf_counter() - began


def test_a_process_waits_while_another_computes(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = other(2.0, 1)
    assert [line(process), line(process)] == ["starts", "computes"]
    assert seconds_to_compute() > 1.0
    assert line(process) == "ends"


def test_who_has_nothing_to_compute_keeps_nobody_waiting(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = other(0.0, 2)
    assert [line(process) for _ in range(4)] == ["starts", "computes", "computes", "ends"]
    assert seconds_to_compute() < 1.0


def test_a_killed_process_leaves_the_device_free(other: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = other(600.0, 1)
    assert [line(process), line(process)] == ["starts", "computes"]
    assert not FileLock(lock_path("gpu-of-the-test")).acquire(wait=False)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert seconds_to_compute() < 1.0


def test_a_long_turn_ends_for_others(
    other: Callable[..., "subprocess.Popen[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process would compute for 60 s without a break; each turn ends after five."""
    process = other(0.5, 120)
    assert [line(process), line(process)] == ["starts", "computes"]
    assert seconds_to_compute() < 15.0


def test_which_devices_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_shared("cuda:0")
    assert is_shared("mps")
    assert not is_shared("cpu")
    monkeypatch.setenv("DYAD_DEVICE_LOCK", "all")
    assert is_shared("cpu")
    monkeypatch.setenv("DYAD_DEVICE_LOCK", "off")
    assert not is_shared("cuda:0")


def test_turns_cost_next_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_STATE", str(tmp_path))
    turn = DeviceTurn("gpu-of-the-test")
    began = time.perf_counter()
    for _ in range(1000):
        turn.take()
        turn.leave()
    assert time.perf_counter() - began < 1.0, "a thousand turns"


def test_a_folder_that_cannot_be_locked_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "state"))
    assert seconds_to_compute(3) < 5.0
    assert "cannot be locked" in caplog.text
