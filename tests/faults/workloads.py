"""What is done with a clip instead of recognising it; `python -m tests.faults.workloads NAME batch ...` runs `dyad batch` so."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from data.manifest import ManifestRow
from flows import batch_commands, cli
from flows.clip_run import Outcome
from flows.dataset_clips import Plan

Outcomes = Iterator[tuple[str, Outcome]]


def slow(plan: Plan, rows: Sequence[ManifestRow]) -> Outcomes:
    """A tenth of a second a clip, which leaves its name in a file of its own, once more each time it is done."""
    for row in rows:
        time.sleep(0.1)
        with (plan.output.folder / f"{row.clip_id}.txt").open("a") as stream:
            stream.write("done\n")
        yield row.clip_id, Outcome("done")


def quick(plan: Plan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Two milliseconds a clip."""
    time.sleep(0.002)
    yield from ((row.clip_id, Outcome("done")) for row in rows)


def raising(plan: Plan, rows: Sequence[ManifestRow]) -> Outcomes:
    """Breaks off at clip1 with an error that nobody expects, and at clip2 with the memory used up."""
    for row in rows:
        if row.clip_id == "clip1":
            raise ZeroDivisionError("a fault of the code")
        if row.clip_id == "clip2":
            raise MemoryError
        yield row.clip_id, Outcome("done")


def _batch_with(workload: str) -> None:
    usual = batch_commands.run_batch

    def run_batch(manifest: str, output: str, settings: Any, options: dict[str, Any]) -> int:
        return usual(manifest, output, settings, options | {"workload": f"tests.faults.workloads:{workload}"})

    batch_commands.run_batch = run_batch
    cli.main()


if __name__ == "__main__":
    _batch_with(sys.argv.pop(1))
