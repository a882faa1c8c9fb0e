"""What a data set's run costs besides the work itself, from 10 to 10,000 clips: a stub workload through the real flow.

    ./dyad benchmark scale [--sizes 10,100,1000,10000] [--workers 4] [--work 0.02]

The stub sleeps and writes one file. Each size runs in a process of its own, against the server of PREFECT_API_URL or one that is
started for the benchmark. `orchestration` is the time of the whole flow (manifest, tasks, journal, artifacts, status.csv and the
other files at the end) less the sleep, a clip; `skipped` the same when all is done already; growth is of the peak of the
process's memory over what it had after ten clips.
"""

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import figures_of_process, header, make_parser, print_table
from flows.batch.clips import BatchPlan
from flows.batch.one_clip import Outcome

WORK = "DYAD_BENCHMARK_WORK"
GOALS = {"slope": 1.1, "milliseconds": 60.0, "growth": 50.0, "skipped": 5.0}


def stub(plan: BatchPlan, rows: Sequence[Any]) -> Iterator[tuple[str, Outcome]]:
    """The workload: sleep, write a file a clip."""
    for row in rows:
        time.sleep(float(os.environ[WORK]))
        folder = plan.output.folder / row.clip_id
        folder.mkdir(exist_ok=True)
        (folder / "result.json").write_text(json.dumps({"clip": row.clip_id}))
        yield row.clip_id, Outcome("done", seconds={"decode": 0.01}, answer={"top": "sadly_angry", "duration": 1.0})


def make_manifest(folder: Path, clips: int) -> Path:
    """A manifest of so many files in one folder."""
    (folder / "media").mkdir(parents=True)
    for number in range(clips):
        (folder / "media" / f"clip{number:06d}.mp4").write_bytes(b"0")
    manifest = folder / "clips.csv"
    lines = (f"media/clip{number:06d}.mp4,train,sadly_angry" for number in range(clips))
    manifest.write_text("\n".join(("path,split,label", *lines)) + "\n")
    return manifest


class Memory:
    """The most memory that this process has had, looked at ten times a second."""

    def __init__(self) -> None:
        self.peak, self._over = 0, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, psutil.Process().memory_info().rss)

    def stop(self) -> int:
        """Bytes at most."""
        self._over.set()
        return max(self.peak, int(psutil.Process().memory_info().rss))


def measure(clips: int, workers: int) -> dict[str, float]:
    """Run so many clips, then the same again; seconds of both, the growth of memory (MB), and how many were left alone then."""
    from flows.dataset import recognise_dataset
    from flows.server.prefect_setup import without_heartbeats

    with tempfile.TemporaryDirectory() as folder, without_heartbeats():

        def run(output: Path, manifest: Path) -> tuple[float, int]:
            began = time.perf_counter()
            found = recognise_dataset(str(manifest), str(output), workers=workers, workload="benchmarks.scale:stub")
            assert found["done"] == found["total"], found
            return time.perf_counter() - began, found["skipped"]

        warm = Path(folder) / "warm"
        run(warm / "runs", make_manifest(warm, 10))
        cold, manifest = Path(folder) / "runs", make_manifest(Path(folder) / "set", clips)
        before, memory = psutil.Process().memory_info().rss, Memory()
        first, _ = run(cold, manifest)
        growth = (memory.stop() - before) / 2**20
        again, left_alone = run(cold, manifest)
        return {"clips": clips, "seconds": first, "growth": growth, "again": again, "left alone": left_alone}


@contextlib.contextmanager
def server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment with a server in it: the one that is set, else one of its own with an empty database."""
    from flows.server.prefect_setup import has_server

    if has_server():
        yield dict(os.environ)
        return
    from prefect.server.api.server import SubprocessASGIServer

    os.environ["PREFECT_HOME"] = str(folder)
    own = SubprocessASGIServer()
    own.start(timeout=180)
    try:
        yield {**os.environ, "PREFECT_API_URL": own.api_url, "PREFECT_HOME": str(folder)}
    finally:
        own.stop()


def measured(clips: int, workers: int, environment: dict[str, str]) -> dict[str, float]:
    """`measure` in a process of its own."""
    return figures_of_process("benchmarks.scale", ["--one", clips, "--workers", workers], environment)


def costs(found: dict[str, float], work: float, workers: int) -> dict[str, float]:
    """Milliseconds a clip beside the work, and a clip that is done already."""
    clips = found["clips"]
    return {"milliseconds": 1000 * (found["seconds"] / clips - work / workers), "skipped": 1000 * found["again"] / clips}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--work", type=float, default=0.02, help="seconds that the stub sleeps")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options.one, options.workers)))
        return
    print(header(), end="\n\n", flush=True)
    os.environ[WORK] = str(options.work)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, server(Path(folder)) as environment:
        found = [measured(int(size), options.workers, environment) for size in options.sizes.split(",")]
    rows = [(one, costs(one, options.work, options.workers)) for one in found]
    print_table(
        ["clips", "seconds", "orchestration, ms a clip", "skipped, ms a clip", "memory growth, MB"],
        [(int(one["clips"]), one["seconds"], cost["milliseconds"], cost["skipped"], one["growth"]) for one, cost in rows],
    )
    by_size = {int(one["clips"]): cost["milliseconds"] for one, cost in rows}
    if {100, 10_000} <= set(by_size):
        ratio = by_size[10_000] / by_size[100]
        print(f"10,000 clips cost {ratio:.2f} times as much a clip as 100 (goal: at most {GOALS['slope']}).")


if __name__ == "__main__":
    main()
