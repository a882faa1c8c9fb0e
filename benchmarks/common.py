"""What the benchmarks share: the machine in a line, a table, running the stages without Prefect."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from benchmarks.machine import header
from configs.settings import load_settings
from data.media.probe import probe
from data.run_folder import RunFolder
from flows.clip.graph import before
from flows.clip.keys import stage_keys
from flows.clip.run_stage import prepare_folder, run_stage
from flows.clip.stages import STAGES
from flows.job import Brought, Job

__all__ = ["header", "print_table", "run_directly", "stage_seconds"]


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |", flush=True)
    print()


def run_directly(video: Path, output: Path, brought: Brought = Brought()) -> dict[str, float]:  # noqa: B008 (frozen)
    """All stages of a clip, in threads by the same graph, without Prefect; returns the seconds of each stage."""
    clip = probe(video)
    job = Job(clip, RunFolder(output / clip.clip_id), load_settings(), brought)
    prepare_folder(job, fresh=True)
    keys = stage_keys(job)
    with ThreadPoolExecutor(max_workers=8) as pool:
        futures: dict[str, Future[None]] = {}

        def run(name: str) -> None:
            wait([futures[earlier] for earlier in before(name)])
            run_stage(STAGES[name], job, keys[name])

        for name in STAGES:
            futures[name] = pool.submit(run, name)
    for future in futures.values():
        future.result()
    job.folder.clear_work()
    return stage_seconds(job.folder)


def stage_seconds(folder: RunFolder) -> dict[str, float]:
    """Seconds that each stage took when it ran."""
    return {name: float(folder.finished(name).get("seconds", 0.0)) for name in STAGES}
