"""A data set on a Dask cluster: a process that is killed loses nothing, a clip that kills its process is a row."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.faults.batches import batch, ended, half_written, journal, make_manifest, status
from tests.faults.workloads import FREE, let_go
from tests.waiting import wait_until


def processes_of(run: int) -> list[psutil.Process]:
    """The cluster's processes."""
    return [child for child in psutil.Process(run).children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.long
def test_one_of_two_processes_is_killed(prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 50), tmp_path / "runs"
    run = batch(manifest, output, "--dask", "local", "--workers", 2, workload="held")
    wait_until(lambda: len(journal(output)) == FREE or run.poll() is not None, seconds=400)
    before = processes_of(run.pid)
    assert len(before) == 2
    os.kill(before[0].pid, signal.SIGKILL)
    let_go(output)
    code, said = ended(run)
    assert code == 0, said
    assert "50 clips: 50 done." in said
    names = [line["clip_id"] for line in journal(output)]
    assert len(names) == len(set(names)) == 50
    assert {row["state"] for row in status(output).values()} == {"done"}
    assert all((output / f"{name}.txt").is_file() for name in names)
    assert half_written(output) == []
    assert not any(process.is_running() for process in before), "none is left behind"


@pytest.mark.slow
def test_a_clip_that_kills_its_process_is_a_row(prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 6), tmp_path / "runs"
    at_once = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    code, said = ended(batch(manifest, output, "--dask", "local", "--workers", 1, workload="deadly", **at_once))
    assert code == 1, said
    rows = status(output)
    assert rows["clip2"]["state"] == "failed"
    assert rows["clip2"]["reason"].startswith("The process that worked on this clip died, each of 1 times,")
    assert [row["state"] for row in rows.values()].count("done") == 5


def test_without_its_packages_or_a_scheduler_a_sentence(
    dyad: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make_manifest(tmp_path / "media", 1)
    code, _, said = dyad("batch", manifest, "-o", tmp_path / "runs", "--dask", "tcp://127.0.0.1:1")
    assert code == 2
    assert said.startswith("dyad: --dask tcp://127.0.0.1:1: no Dask scheduler answers there")
    monkeypatch.setitem(sys.modules, "flows.batch.dask_runner", None)
    code, _, said = dyad("batch", manifest, "-o", tmp_path / "runs", "--dask", "local")
    assert code == 2
    assert "-m pip install distributed==" in said
