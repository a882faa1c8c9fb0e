"""What the benchmarks share: options, the machine in a line, tables, seconds, processes of their own, a clip without Prefect.

A machine with a GPU may lack what a run needs besides torch: it is imported only where it is used.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.run_folder import RunFolder
    from flows.job import Brought


# ---- options -------------------------------------------------------------------------------------------------------------


def make_parser(text: str | None, holds: str = "") -> argparse.ArgumentParser:
    """A parser whose help shows a benchmark's docstring; with --data FOLDER where it is said what the folder `holds`."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    if holds:
        parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help=f"folder with {holds}")
    return parser


def names_among(known: Sequence[str], what: str) -> Callable[[str], list[str]]:
    """For an option that takes names with commas between; one that is not `known` is an error of usage."""

    def names(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        if unknown := sorted(set(found) - set(known)):
            raise argparse.ArgumentTypeError(f"'{unknown[0]}' is no {what}; use one of: {', '.join(known)}.")
        return found

    return names


# ---- reports -------------------------------------------------------------------------------------------------------------


def header() -> str:
    """Date, processor and versions, for the first line of a report."""
    import torch

    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{when}; {os.cpu_count()} cores {platform.machine()}, {versions}; load before {load}"


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, each row as soon as it is there."""
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |", flush=True)
    print()


# ---- seconds and memory --------------------------------------------------------------------------------------------------


def timed(work: Callable[[], object], repeats: int = 1) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def peak_megabytes() -> float:
    """This process's largest resident set; `ru_maxrss` would count that of the process which started it, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def figures_of_process(
    module: str, arguments: Sequence[object], environment: Mapping[str, str] | None = None
) -> dict[str, float]:
    """What a module prints as JSON in its last line, run in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


# ---- a clip without Prefect ----------------------------------------------------------------------------------------------


def run_directly(video: Path, output: Path, brought: "Brought | None" = None, words: bool = True) -> dict[str, float]:
    """All stages of a clip, in threads by the same graph, without Prefect; the seconds of each stage. `words`: hear them."""
    from configs.settings import load_settings
    from data.media.probe import probe
    from data.run_folder import RunFolder
    from flows.clip.runner import prepare_folder, run_stages
    from flows.clip.threads import in_thread
    from flows.job import Brought, Job

    clip = probe(video)
    settings = load_settings(overrides={} if words else {"transcript": {"words": "off"}})
    job = Job(clip, RunFolder(output / clip.clip_id), settings, brought or Brought())
    prepare_folder(job, fresh=True)
    for error in run_stages(job, in_thread).values():
        raise error
    job.folder.clear_work()
    return stage_seconds(job.folder)


def stage_seconds(folder: "RunFolder") -> dict[str, float]:
    """Seconds that each stage took when it ran."""
    from flows.clip.stages import STAGES

    return {name: float(folder.finished(name).get("seconds", 0.0)) for name in STAGES}
