"""What is done with a clip instead of recognising it."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.soak import look
from data.manifest.manifest import ManifestRow
from flows.batch.clips import BatchPlan, run_file
from flows.batch.one_clip import Outcome, Patience
from flows.cli import batch as batch_commands
from flows.clip.stages import STAGES
from flows.job import Job
from flows.runtime import events, stop
from flows.runtime.batch_queue import BatchQueue
from tests.waiting import wait_until

Outcomes = Iterator[tuple[str, Outcome]]


FREE = 5
"""Clips that `held` holds up by nothing."""


def held(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Clips that leave a file of their own, with one line more each time they are done; all but the first few are held up until
    somebody calls `let_go`: so the run is in the middle however fast or slow the machine is."""
    for row in rows:
        while int(row.clip_id.removeprefix("clip")) >= FREE and not (plan.output.folder / "let-go").exists():
            stop.check()
            time.sleep(0.02)
        with (plan.output.folder / f"{row.clip_id}.txt").open("a") as stream:
            stream.write("done\n")
        yield row.clip_id, Outcome("done")


def let_go(output: Path) -> None:
    """The clips that `held` holds up go on."""
    (output / "let-go").touch()


def timed(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """A twentieth of a second a clip, with when it began and ended instead of the seconds of its stages."""
    for row in rows:
        began = time.monotonic()
        time.sleep(0.05)
        yield row.clip_id, Outcome("done", seconds={"begin": began, "end": time.monotonic()})


def quick(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Two milliseconds a clip."""
    time.sleep(0.002)
    yield from ((row.clip_id, Outcome("done")) for row in rows)


def watched(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """As `quick`; every tenth clip writes down what the process holds."""
    yield from quick(plan, rows)
    number = next(_ended)
    if number % 10 == 0:
        seen = look(psutil.Process(), plan.output.folder / "journal.jsonl", 0.0)._replace(clips=number)
        with (plan.output.folder / LOOKS).open("a") as stream:
            stream.write(",".join(map(str, seen)) + "\n")


LOOKS = "looks.csv"
_ended = itertools.count(1)


def computing(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Computes for a fifth of a second on a device that all processes of the machine share, once two runs are there to do so;
    notes from when to when."""
    runs = plan.output.folder.parent / "runs-that-compute"
    runs.mkdir(exist_ok=True)
    (runs / plan.output.folder.name).touch()
    wait_until(lambda: len(list(runs.iterdir())) == 2)
    for row in rows:
        list(BatchQueue("gpu-of-the-test").batches(_compute, plan.output.folder / "turns.txt", [row.clip_id], 1))
        yield row.clip_id, Outcome("done")


def _compute(turns: Path, items: list[str]) -> list[str]:
    began = time.monotonic()
    time.sleep(0.2)
    with turns.open("a") as stream:
        stream.write(f"{began},{time.monotonic()}\n")
    return items


def deadly(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Kills its process at clip2, as the system does when the memory is used up."""
    for row in rows:
        time.sleep(0.1)
        if row.clip_id == "clip2":
            os.kill(os.getpid(), signal.SIGKILL)
        yield row.clip_id, Outcome("done")


ACCIDENTS: dict[str, Callable[[Path], object]] = {
    "killed": lambda output: os.kill(os.getpid(), signal.SIGKILL),
    "ctrl-c": lambda output: os.kill(os.getpid(), signal.SIGINT),
    "output removed": lambda output: output.rename(output.with_name("removed")),
}
"""What may happen to a process, by its name, given its output folder."""


def meet_with(accident: str, stage: str, output: Path, ended: int = 0) -> None:
    """Have this process meet with an accident, once, where it begins a stage of a clip and so many clips have ended: in the
    middle of its work however fast or slow the machine is."""
    to_come = [ACCIDENTS[accident]]

    def note(told: events.Event) -> None:
        if (told.stage, told.state) == (stage, "started") and _ended_in(output) >= ended:
            with suppress(IndexError):
                to_come.pop()(output)

    _for_good.enter_context(events.listening(note))


_for_good = ExitStack()


def _ended_in(output: Path) -> int:
    """How many clips have ended, as the journal tells."""
    journal = output / "journal.jsonl"
    return len(journal.read_bytes().splitlines()) if journal.is_file() else 0


def raising(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Breaks off at clip1 with an error that nobody expects, and at clip2 with the memory used up."""
    for row in rows:
        if row.clip_id == "clip1":
            raise ZeroDivisionError("a fault of the code")
        if row.clip_id == "clip2":
            raise MemoryError
        yield row.clip_id, Outcome("done")


def faulty(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Recognition; a stage of 'hangs' never ends and never looks whether it should, others raise what is in the clip's name."""
    if not isinstance(STAGES["voice"].run, Faulty):
        for name in ("decode", "voice"):
            STAGES[name] = replace(STAGES[name], run=Faulty(name, STAGES[name].run))
    hangs = rows[0].clip_id == "hangs-decode"
    yield from run_file(replace(plan, patience=Impatient()) if hangs else plan, rows)


class Impatient(Patience):
    """Waits for a file as long as ever, and for its stages a second."""

    def seconds(self, duration: float) -> float:
        """The limit for a clip, whatever its duration."""
        return 1.0


@dataclass(frozen=True)
class Faulty:
    """A stage that does what the clip's name says, where it ends with the stage's."""

    name: str
    usual: Callable[[Job], Mapping[str, Any] | None]

    def __call__(self, job: Job) -> Mapping[str, Any] | None:
        """Run the stage."""
        fault, _, stage = job.clip.clip_id.partition("-")
        if stage == self.name and fault == "memory":
            import torch

            torch.empty(10**15)  # torch says it in a RuntimeError
        if stage == self.name and fault == "raises":
            raise ZeroDivisionError("a fault of the code")
        while stage == self.name and fault == "hangs":
            time.sleep(1)
        return self.usual(job)


def use(workload: str) -> None:
    """Have `dyad batch` of this process work off its clips with a function of this module."""
    usual = batch_commands.run_batch

    def run_batch(manifest: str, output: str, settings: Any, options: dict[str, Any], dask: str | None = None) -> int:
        return usual(manifest, output, settings, options | {"workload": f"tests.faults.workloads:{workload}"}, dask)

    batch_commands.run_batch = run_batch
