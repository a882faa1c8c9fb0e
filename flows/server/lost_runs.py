"""Runs whose process is gone (killed, or the machine went down) and which the server still takes for running."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TypedDict

import psutil

from flows.server.client import ask, reporting, reporting_name

TRIES = 3
"""A run that lost its process is scheduled again so often; one that kills its process each time must end some day."""


class FlowRun(TypedDict):
    """A run as the server's API tells it, as far as Dyad reads it."""

    id: str
    name: str
    labels: dict[str, object]
    infrastructure_pid: str | None
    deployment_id: str | None
    run_count: int
    state_type: str
    state_name: str
    state: dict[str, object] | None
    estimated_run_time: float
    end_time: str


def lost_runs(url: str) -> Iterator[FlowRun]:
    """Runs under way that a worker of this machine took, and whose process is no more."""
    reports = reporting(url)
    for run in under_way(url):
        worker = str(run["labels"].get("prefect.worker.name", ""))
        started = run["infrastructure_pid"]
        alive = _is_alive(str(started), str(run["id"])) if started else worker in reports
        if worker.startswith(reporting_name("")) and not alive:
            yield run


def _is_alive(pid: str, run: str) -> bool:
    """Whether the process of this pid works on this run."""
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process = psutil.Process(int(pid))
        theirs = process.environ().get("PREFECT__FLOW_RUN_ID") == run
        return bool(theirs and process.status() != psutil.STATUS_ZOMBIE)
    return False


def under_way(url: str) -> list[FlowRun]:
    """The runs that the server takes for running, pending or being cancelled."""
    states = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    found: list[FlowRun] = ask(url, "flow_runs/filter", {"flow_runs": states, "limit": 200, "sort": "START_TIME_DESC"})
    return found


def take_up_again(url: str) -> list[str]:
    """Schedule lost runs again, which go on from what is done; those tried often enough crash. Returns names of the former."""
    names = []
    for run in lost_runs(url):
        if run["deployment_id"] and run["run_count"] < TRIES and run["state_type"] != "CANCELLING":
            set_state(url, run, {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Its process was lost."})
            names.append(str(run["name"]))
        else:
            set_state(url, run, {"type": "CRASHED", "name": "Crashed", "message": "Its process was lost."})
    return names


def settle(url: str, message: str) -> int:
    """Mark lost runs as crashed, so that they hold no place any more; returns how many."""
    runs = list(lost_runs(url))
    for run in runs:
        set_state(url, run, {"type": "CRASHED", "name": "Crashed", "message": message})
    return len(runs)


def set_state(url: str, run: FlowRun, state: Mapping[str, str]) -> None:
    """Set a run's state whatever it was."""
    ask(url, f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
