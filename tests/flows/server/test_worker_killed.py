"""A worker of the process pool is killed in the middle of a data set, with its run and without; two workers share a device."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from flows.server.client import reporting_name
from flows.server.lost_runs import take_up_again
from tests.conftest import OwnServer
from tests.faults.batches import half_written, journal, make_manifest, status
from tests.faults.workloads import FREE, let_go
from tests.media_makers import make_sound
from tests.waiting import wait_until


def start(server: OwnServer, manifest: Path, output: Path, workload: str, **more: Any) -> str:
    """The id of a run of recognise-dataset for the next free worker."""
    deployment = server.ask("deployments/name/recognise-dataset/recognise-dataset")["id"]
    given = {"manifest": str(manifest), "output": str(output), "workload": f"tests.faults.workloads:{workload}", "workers": 1}
    return str(server.ask(f"deployments/{deployment}/create_flow_run", {"parameters": given | more})["id"])


def worker_of(server: OwnServer) -> int:
    return int(json.loads((server.state / "processes" / "worker-1.json").read_text())["pid"])


def process_of(server: OwnServer, run: str) -> psutil.Process:
    """The process that a worker started for a run."""
    wait_until(lambda: bool(server.ask(f"flow_runs/{run}")["infrastructure_pid"]))
    return psutil.Process(int(server.ask(f"flow_runs/{run}")["infrastructure_pid"]))


def state_of(server: OwnServer, run: str) -> str:
    return str(server.ask(f"flow_runs/{run}")["state_type"])


def assert_each_once(output: Path, count: int) -> None:
    names = [line["clip_id"] for line in journal(output)]
    assert len(names) == len(set(names)) == count
    assert {row["state"] for row in status(output).values()} == {"done"}
    assert half_written(output) == []


@pytest.mark.long
def test_a_worker_and_its_run_are_killed(own_server: OwnServer, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 50), tmp_path / "runs"
    run = start(own_server, manifest, output, "held")
    process = process_of(own_server, run)
    wait_until(lambda: len(journal(output)) == FREE)
    os.kill(worker_of(own_server), signal.SIGKILL)
    process.kill()
    let_go(output)
    again = own_server.dyad("up")
    assert again.returncode == 0, again.stderr
    assert "scheduled again: clips.csv" in again.stderr
    assert own_server.ended(run) == "COMPLETED"
    assert_each_once(output, 50)
    assert own_server.ended(start(own_server, manifest, output, "held")) == "COMPLETED", "no slot of the deployment is stuck"
    assert len(journal(output)) == 50


def test_a_worker_alone_is_killed_and_its_run_goes_on(own_server: OwnServer, tmp_path: Path) -> None:
    """The run is a process of its own; `dyad up` starts the worker again and leaves the run alone."""
    manifest, output = make_manifest(tmp_path / "media", 50), tmp_path / "runs"
    run = start(own_server, manifest, output, "held")
    wait_until(lambda: len(journal(output)) == FREE)
    os.kill(worker_of(own_server), signal.SIGKILL)
    again = own_server.dyad("up")
    assert again.returncode == 0, again.stderr
    assert "scheduled again" not in again.stderr
    let_go(output)
    assert own_server.ended(run) == "COMPLETED"
    assert_each_once(output, 50)


def test_runs_that_crash_or_never_begin_are_taken_up_again(own_server: OwnServer, tmp_path: Path) -> None:
    """One run is killed under its worker, which calls it crashed; the worker is killed while it starts the next one."""
    deployment = own_server.ask("deployments/name/recognise-video/recognise-video")["id"]
    with own_server.starting_is_held_up():
        runs = []
        for name in ("crashed.wav", "never-began.wav"):
            given = {"video": str(make_sound(tmp_path / name, codec="pcm_s16le")), "output": str(tmp_path / "runs")}
            runs.append(own_server.ask(f"deployments/{deployment}/create_flow_run", {"parameters": given, "name": name})["id"])
        process_of(own_server, runs[0]).kill()
        wait_until(lambda: state_of(own_server, runs[0]) == "CRASHED")
        second = process_of(own_server, runs[1])
        assert state_of(own_server, runs[1]) == "PENDING"
        os.kill(worker_of(own_server), signal.SIGKILL)
        second.kill()
    again = own_server.dyad("up")
    assert again.returncode == 0, again.stderr
    (told,) = (line for line in again.stderr.splitlines() if "scheduled again: " in line)
    assert "crashed.wav" in told
    assert "never-began.wav" in told
    assert [own_server.ended(run) for run in runs] == ["COMPLETED"] * 2
    for run in runs:
        states = own_server.ask(f"flow_run_states/?flow_run_id={run}")
        assert [state["name"] for state in states].count("AwaitingRetry") == 1


def test_what_kills_its_process_each_time_crashes_in_the_end(
    own_server: OwnServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYAD_STATE", str(own_server.state))
    own_server.ask("work_pools/dyad", {"is_paused": True}, "PATCH")  # so that nobody begins it
    try:
        deployment = own_server.ask("deployments/name/recognise-video/recognise-video")["id"]
        labels = {"prefect.worker.name": reporting_name("gone")}
        asked = {"parameters": {"video": "nowhere.wav"}, "name": "deadly", "labels": labels}
        run = own_server.ask(f"deployments/{deployment}/create_flow_run", asked)["id"]

        def die(state: str) -> str:
            own_server.ask(f"flow_runs/{run}/set_state", {"state": {"type": state, "name": state.title()}, "force": True})
            take_up_again(own_server.url)
            return state_of(own_server, run)

        assert [die(state) for state in ("RUNNING", "PENDING", "CRASHED")] == ["SCHEDULED"] * 3
        assert [die(state) for state in ("RUNNING", "CRASHED", "CANCELLING")] == ["CRASHED", "CRASHED", "CANCELLED"]
        assert take_up_again(own_server.url) == []
    finally:
        own_server.ask(f"flow_runs/{run}", method="DELETE")
        own_server.ask("work_pools/dyad", {"is_paused": False}, "PATCH")


def test_two_workers_share_a_device(own_server: OwnServer, tmp_path: Path) -> None:
    """Two runs at once, a worker each: both compute on one device, in turns, never together."""
    assert own_server.dyad("up", "--workers", 2).returncode == 0
    deployment = own_server.ask("deployments/name/recognise-dataset/recognise-dataset")
    second = own_server.ask("deployments/", {"name": "second", "flow_id": deployment["flow_id"], "work_pool_name": "dyad"} | {
        name: deployment[name] for name in ("entrypoint", "job_variables", "parameters")
    })  # fmt: skip
    manifest = make_manifest(tmp_path / "media", 12)
    outputs = [tmp_path / "one", tmp_path / "two"]
    runs = [start(own_server, manifest, outputs[0], "computing")]
    given = {"manifest": str(manifest), "output": str(outputs[1]), "workload": "tests.faults.workloads:computing", "workers": 1}
    runs.append(str(own_server.ask(f"deployments/{second['id']}/create_flow_run", {"parameters": given})["id"]))
    assert [own_server.ended(run) for run in runs] == ["COMPLETED"] * 2
    turns = pd.concat([pd.read_csv(output / "turns.txt", names=["begin", "end"]).assign(run=output.name) for output in outputs])
    turns = turns.sort_values("begin")
    assert len(turns) == 24
    assert (turns["begin"].to_numpy()[1:] >= turns["end"].to_numpy()[:-1]).all(), "one at a time"
    assert turns["run"].ne(turns["run"].shift()).sum() > 2, "in turns"
    pids = {own_server.ask(f"flow_runs/{run}")["infrastructure_pid"] for run in runs}
    assert len(pids) == 2
    assert own_server.dyad("up", "--workers", 1).returncode == 0
