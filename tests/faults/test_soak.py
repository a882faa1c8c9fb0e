"""A long run holds no more memory, threads and open files at its end than early on; DYAD_SOAK_CLIPS makes it longer.

`./dyad benchmark soak` is the half hour with real clips.
"""

import os
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.soak import Look
from tests.faults import workloads
from tests.faults.batches import batch, ended, make_manifest

CLIPS = int(os.environ.get("DYAD_SOAK_CLIPS", "3000"))


@pytest.mark.slow
@pytest.mark.parametrize("clips", [300, pytest.param(CLIPS, marks=pytest.mark.long)])
def test_memory_threads_and_files_stay_flat(clips: int, prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", clips), tmp_path / "runs"
    assert ended(batch(manifest, output, "--workers", 4, workload="watched"), seconds=7200)[0] == 0
    seen = pd.read_csv(output / workloads.LOOKS, names=Look._fields)
    assert len(seen) == clips // 10
    early, late = seen[seen["clips"].between(0.3 * clips, 0.6 * clips)], seen[seen["clips"] > 0.6 * clips]
    assert late["megabytes"].max() - early["megabytes"].max() <= 8 + 0.003 * clips
    assert late["threads"].max() - early["threads"].max() <= 3
    assert late["files"].max() - early["files"].max() <= 5
