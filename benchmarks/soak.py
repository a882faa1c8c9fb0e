"""A data set that runs for long: memory, threads and open files of the run and of its server over time, and what a clip leaves.

    ./dyad benchmark soak [--minutes 30] [--workers 2] [--clip FILE]

Links to one clip, two seconds of the sample clip in 720p unless given, are really recognised by `dyad batch` against a server
that is started for the benchmark; after so many minutes the run is asked to stop, as Ctrl-C does. Growth is told from the first
quarter of the time on, when models and caches are there, as the slope of a line through the looks.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from benchmarks.common import header, make_parser, print_table
from benchmarks.long_clip import make_long_clip
from benchmarks.scale import server

LOOKS = 30
CLIPS_A_MINUTE = 600
"""More clips than any machine ends in a minute: the time ends the run, not the manifest."""


class Look(NamedTuple):
    """What a process holds at one moment: clips that have ended, MB resident, threads, open files."""

    minutes: float
    clips: int
    megabytes: float
    threads: int
    files: int


def look(process: psutil.Process, journal: Path, began: float) -> Look:
    """Look at a run now; `began`: its `time.monotonic()`."""
    with process.oneshot():
        megabytes, threads, files = process.memory_info().rss / 2**20, process.num_threads(), process.num_fds()
    return Look((time.monotonic() - began) / 60, lines(journal), megabytes, threads, files)


def lines(journal: Path) -> int:
    """Clips that have ended so far."""
    if not journal.is_file():
        return 0
    with journal.open("rb") as stream:
        return sum(piece.count(b"\n") for piece in iter(lambda: stream.read(2**20), b""))


def slopes(looks: Sequence[Look]) -> dict[str, float]:
    """Growth of memory (KB a clip), threads and open files (a thousand clips each), by least squares."""
    clips = np.array([one.clips for one in looks], float)
    grown = {name: np.polyfit(clips, [getattr(one, name) for one in looks], 1)[0] for name in ("megabytes", "threads", "files")}
    return {"memory": 1024 * grown["megabytes"], "threads": 1000 * grown["threads"], "files": 1000 * grown["files"]}


def make_manifest(folder: Path, clip: Path, count: int) -> Path:
    """A manifest of so many names of one file."""
    (folder / "media").mkdir(parents=True)
    (folder / "media" / clip.name).write_bytes(clip.read_bytes())
    for number in range(count):
        os.link(folder / "media" / clip.name, folder / "media" / f"clip{number:06d}{clip.suffix}")
    manifest = folder / "clips.csv"
    rows = (f"media/clip{number:06d}{clip.suffix},clip{number:06d}" for number in range(count))
    manifest.write_text("\n".join(("path,clip_id", *rows)) + "\n")
    return manifest


def run(folder: Path, clip: Path, minutes: float, workers: int, environment: dict[str, str]) -> Iterator[tuple[Look, Look]]:
    """The run's and its server's looks, `LOOKS` times in so many minutes."""
    manifest = make_manifest(folder, clip, max(1, round(CLIPS_A_MINUTE * minutes)))
    command = [sys.executable, "-P", "-m", "flows", "batch", str(manifest), "-o", str(folder / "runs"), "--workers", str(workers)]
    began, journal = time.monotonic(), folder / "runs" / "journal.jsonl"
    (asgi,) = (child for child in psutil.Process().children(recursive=True) if "uvicorn" in " ".join(child.cmdline()))
    with subprocess.Popen(command, env=environment | {"PYTHONPATH": os.getcwd()}) as process:
        try:
            for number in range(1, LOOKS + 1):
                time.sleep(max(0.0, began + 60 * minutes * number / LOOKS - time.monotonic()))
                if process.poll() is not None:
                    raise SystemExit(f"The run ended early, with exit code {process.returncode}.")
                yield look(psutil.Process(process.pid), journal, began), look(asgi, journal, began)
            process.send_signal(signal.SIGINT)
            if process.wait(timeout=300) != 130:
                raise SystemExit(f"The run was asked to stop and ended with exit code {process.returncode}, not 130.")
        finally:
            process.kill()


def bytes_of(folder: Path, size: Callable[[os.stat_result], int]) -> int:
    """Bytes of all files below a folder."""
    return sum(size(path.stat()) for path in folder.rglob("*") if path.is_file())


def left_by_a_clip(output: Path) -> str:
    """What a run folder holds on average, by the files' sizes and by the blocks of the disk."""
    folders = [path.parent for path in output.glob("*/result.json")]
    files = sum(1 for folder in folders for path in folder.rglob("*") if path.is_file()) / len(folders)
    sizes = [bytes_of(folder, lambda status: status.st_size) for folder in folders]
    blocks = [bytes_of(folder, lambda status: 512 * status.st_blocks) for folder in folders]
    return f"A run folder: {files:.1f} files, {np.mean(sizes) / 1024:.0f} KB, {np.mean(blocks) / 1024:.0f} KB of disk"


def left_in_database(home: Path, clips: int) -> str:
    """Rows and bytes that Prefect's database (SQLite) has for a clip."""
    path = home / "prefect.db"
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: database.execute(f'select count(*) from "{name}"').fetchone()[0] for name in names}
        (pages,), (page,) = (database.execute(f"pragma {name}").fetchone() for name in ("page_count", "page_size"))
    most = sorted(((count / clips, name) for name, count in rows.items()), reverse=True)[:6]
    told = ", ".join(f"{name} {count:.2f}" for count, name in most)
    return f"Prefect's database: {pages * page / 1024 / clips:.1f} KB a clip; rows a clip: {told}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and the slopes."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clip", type=Path)
    options = parser.parse_args(arguments)
    print(header(), end="\n\n", flush=True)
    os.environ.pop("PREFECT_API_URL", None)  # the database must hold this run alone
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made, server(Path(made) / "home") as environment:
        folder = Path(made)
        clip = options.clip or make_long_clip(folder / "clip.mp4", 2.0)
        looks = list(run(folder, clip, options.minutes, options.workers, environment))
        print_table(
            ["minutes", "clips", "MB", "threads", "open files", "server MB", "its threads", "its open files"],
            [(f"{one.minutes:.1f}", *one[1:3], *one[3:], *its[2:]) for one, its in looks],
        )
        late = [one for one, _ in looks if one.minutes > options.minutes / 4]
        print("From the first quarter on, run: {memory:.2f} KB a clip, {threads:.2f} threads and {files:.2f} open files a "
              "thousand clips".format(**slopes(late)))  # fmt: skip
        clips = lines(folder / "runs" / "journal.jsonl")
        print(f"{60 * options.minutes / clips:.2f} s a clip; " + left_by_a_clip(folder / "runs"))
        print(left_in_database(folder / "home", clips))


if __name__ == "__main__":
    main()
