"""`dyad batch` in a process of its own, to be killed, starved and run again; what its output says."""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tests.faults import workloads
from tests.forked import ROOT, Forked, fork
from tests.media_makers import make_clip

HALF_WRITTEN = re.compile(r"\..*\.[0-9a-f]{8}(\.\w+)?$|\.(input|decoded)-")
"""Names that files have until they are whole, and folders that last as long as a clip."""


def batch(
    manifest: Path, output: Path, *options: object, workload: str = "", before: Callable[[], None] | None = None,
    most_bytes: int | None = None, **variables: str,
) -> Forked:  # fmt: skip
    """Start it against the session's server.

    workload: a function of tests.faults.workloads instead of recognition; before: is called in its process first; most_bytes:
    what its files may grow to (`ulimit -f`).
    """
    from prefect.settings import get_current_settings

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(get_current_settings().api.url), **variables}
    before = partial(workloads.use, workload) if workload else before
    words = ("batch", manifest, "-o", output, *options)
    return fork(*words, environment=environment, folder=manifest.parent, before=before, most_bytes=most_bytes)


def ended(process: Forked, seconds: float = 240) -> tuple[int, str]:
    """Its exit code and what it said, on one line; never a traceback."""
    done = process.ended(seconds)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join(done.stderr.split())


def make_clips(folder: Path, count: int, seconds: float = 1.0) -> Path:
    """A folder of small clips: one is encoded, the others are its copies."""
    folder.mkdir()
    first = make_clip(folder / "clip00.mp4", seconds=seconds)
    for number in range(1, count):
        (folder / f"clip{number:02d}.mp4").write_bytes(first.read_bytes())
    return folder


def make_manifest(folder: Path, count: int) -> Path:
    """A manifest of files that only a workload of the tests can use."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"clip{number}.mp4").write_bytes(b"0")
    path = folder / "clips.csv"
    path.write_text("path,clip_id\n" + "".join(f"clip{number}.mp4,clip{number}\n" for number in range(count)))
    return path


def journal(output: Path) -> list[dict[str, Any]]:
    """The whole lines of the journal."""
    path = output / "journal.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]


def status(output: Path) -> dict[str, dict[str, Any]]:
    """The rows of status.csv by clip."""
    table = pd.read_csv(output / "status.csv", dtype=str, keep_default_na=False)
    return {str(row["clip_id"]): {str(name): value for name, value in row.items()} for row in table.to_dict("records")}


def half_written(output: Path) -> list[Path]:
    """Files and folders that an end of the process left."""
    return [path for path in output.rglob("*") if HALF_WRITTEN.match(path.name) or path.name == "work"]


def assert_all_done_once(output: Path, count: int) -> None:
    """Every clip is done, once, and everywhere; nothing half-written is left."""
    lines, rows = journal(output), status(output)
    names = [line["clip_id"] for line in lines]
    assert len(names) == len(set(names)) == len(rows) == count
    assert {line["state"] for line in lines} == {row["state"] for row in rows.values()} == {"done"}
    table = pd.read_parquet(output / "dataset.parquet")
    assert set(table["clip_id"]) == set(rows)
    assert not table.duplicated(["clip_id", "start"]).any()
    for name in rows:
        assert len(table[table["clip_id"] == name]) == len(pd.read_parquet(output / name / "windows.parquet"))
        json.loads((output / name / "result.json").read_text())
    assert json.loads((output / "summary.json").read_text())["clips"]["done"] == count
    assert half_written(output) == []
