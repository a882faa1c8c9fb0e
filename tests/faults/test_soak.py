"""A long run holds no more memory, threads and open files at its end than early on; DYAD_SOAK_CLIPS makes it longer.

`./dyad benchmark soak` is the half hour with real clips.
"""

import os
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.soak import Look, look
from tests.faults.batches import batch, ended, make_manifest
from tests.waiting import wait_until

CLIPS = int(os.environ.get("DYAD_SOAK_CLIPS", "3000"))


@pytest.mark.slow
@pytest.mark.parametrize("clips", [300, pytest.param(CLIPS, marks=pytest.mark.long)])
def test_memory_threads_and_files_stay_flat(clips: int, prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", clips), tmp_path / "runs"
    process = batch(manifest, output, "--workers", 4, workload="quick")
    seen = [look_after(share * clips, output / "journal.jsonl", process.pid) for share in (0.3, 0.6, 0.9)]
    assert ended(process, seconds=7200)[0] == 0
    _, _, memory, threads, files = zip(*seen, strict=True)
    assert memory[-1] - memory[0] <= 8 + 0.003 * clips, f"MB: {memory}"
    assert max(threads) - threads[0] <= 3, threads
    assert max(files) - files[0] <= 5, files


def look_after(clips: float, journal: Path, pid: int) -> Look:
    """What the process holds once so many clips have ended."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no /proc")
    began = time.monotonic()
    wait_until(lambda: journal.is_file() and b"\n" in journal.read_bytes())
    line = journal.read_bytes().index(b"\n")  # all lines are about as long; a long journal need not be read again and again
    wait_until(lambda: journal.stat().st_size >= clips * line, seconds=7200)
    return look(psutil.Process(pid), journal, began)
