"""Runs whose process is gone (killed, or the machine went down): taken up again, each by one new start, until tried often enough.

`dyad up` does so when it is called, a watcher and `dyad worker` again and again. A run that nobody works on any more is one

* that the server takes for running while no process of this machine carries its id and the worker that began it has ended;
* that a worker took and never began: the worker has ended, or is a new one under the old name;
* that crashed: its process died, or printed to a worker that was no more.

Only runs of deployments are taken up; those that somebody asked to cancel are cancelled.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypedDict

import psutil

from data.errors import DyadError, InputError
from flows.runtime.state_folder import locked, made, state_folder
from flows.server import processes
from flows.server.client import POOL, REFUSED, ask, reporting, reporting_name

TRIES = 3
"""A run that lost its process is scheduled again so often; one that kills its process each time must end some day."""
AGAIN, LOST = "AwaitingRetry", "Its process was lost."
"""Name and message of the state of a run that is taken up again."""
UNCLAIMED = 15.0
"""Seconds within which a worker gives a run that it took its name; one that has not done so died in between."""
BACK_TO = timedelta(days=7)
"""Runs that crashed longer ago are history."""
EVERY = 10.0
"""Seconds between two looks of a watcher or worker."""


class FlowRun(TypedDict):
    """A run as the server's API tells it, as far as Dyad reads it."""

    id: str
    name: str
    labels: dict[str, object]
    infrastructure_pid: str | None
    deployment_id: str | None
    state_type: str
    state_name: str
    state: dict[str, object] | None
    estimated_run_time: float
    end_time: str


def under_way(url: str) -> list[FlowRun]:
    """The runs that the server takes for running, pending or being cancelled."""
    states = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    found: list[FlowRun] = ask(url, "flow_runs/filter", {"flow_runs": states, "limit": 200, "sort": "START_TIME_DESC"})
    return found


def _crashed(url: str) -> list[FlowRun]:
    """The runs of our pool that crashed lately, but for those that a worker refused and will refuse again."""
    since = (datetime.now(UTC) - BACK_TO).isoformat()
    crashed = {"state": {"type": {"any_": ["CRASHED"]}}, "end_time": {"after_": since}, "deployment_id": {"is_null_": False}}
    question = {"flow_runs": crashed, "work_pools": {"name": {"any_": [POOL]}}, "limit": 200, "sort": "END_TIME_DESC"}
    found: list[FlowRun] = ask(url, "flow_runs/filter", question)
    return [run for run in found if REFUSED not in str((run["state"] or {}).get("message"))]


def lost_runs(url: str, starting: str = "") -> Iterator[FlowRun]:
    """Runs under way of this machine's workers that nobody works on; `starting`: the worker that is about to begin reports."""
    reports = reporting(url) - {starting}
    for run in under_way(url):
        worker = str(run["labels"].get("prefect.worker.name", ""))
        if worker.startswith(reporting_name("")):
            ownerless = worker not in reports or _began(worker) > _since(run)
        else:
            ownerless = _is_unclaimed(run) and (all(_began(one) > _since(run) for one in reports) or _age(run) > UNCLAIMED)
        if ownerless and not _is_worked_on(run):
            yield run


def await_claims(url: str) -> None:
    """Wait the seconds in which it shows whether the worker that took a run still lives, if there is such a run."""
    while any(_is_unclaimed(run) and _age(run) <= UNCLAIMED for run in under_way(url)) and reporting(url):
        time.sleep(0.5)


def take_up_again(url: str, starting: str = "") -> list[str]:
    """Schedule lost and crashed runs again, which go on from what is done; returns their names.

    Those tried often enough crash for good. One process of the machine at a time does this, and each run is looked at once more
    before it is changed.
    """
    names = []
    with locked(made(state_folder()) / "lost-runs.lock"):
        for run in [*lost_runs(url, starting), *_crashed(url)]:
            if not _is_of_this_machine(run) or not _is_unchanged(url, run) or _is_worked_on(run):
                continue
            if run["state_type"] == "CANCELLING":
                set_state(url, run, {"type": "CANCELLED", "name": "Cancelled", "message": LOST})
            elif run["deployment_id"] and _tries(url, run) < TRIES:
                set_state(url, run, {"type": "SCHEDULED", "name": AGAIN, "message": LOST})
                names.append(str(run["name"]))
            elif run["state_type"] != "CRASHED":
                set_state(url, run, {"type": "CRASHED", "name": "Crashed", "message": LOST})
    return names


def retry(url: str, names: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Schedule failed and crashed runs again, the last one of each name, or without names all of `BACK_TO`.

    They go on from what is done. Returns the names of those that are scheduled, and of those that no deployment can start again.
    InputError for a name of which no run failed.
    """
    failed = {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}
    wanted = {"name": {"any_": list(names)}} if names else {"end_time": {"after_": (datetime.now(UTC) - BACK_TO).isoformat()}}
    question = {"flow_runs": failed | wanted, "limit": 200, "sort": "END_TIME_DESC"}
    found: list[FlowRun] = ask(url, "flow_runs/filter", question)
    if missing := set(names) - {run["name"] for run in found}:
        raise InputError(f"No run named {', '.join(sorted(missing))} has failed; 'dyad status' tells which have.")
    again, others = list[str](), list[str]()
    for run in {run["name"]: run for run in reversed(found)}.values() if names else found:
        if run["deployment_id"]:
            set_state(url, run, {"type": "SCHEDULED", "name": AGAIN, "message": "Asked for by 'dyad retry'."})
        (again if run["deployment_id"] else others).append(run["name"])
    return again, others


class Tending:
    """Takes up lost runs when it is called, at most every ten seconds, and says which; a server that is away is waited for."""

    def __init__(self, url: str, say: Callable[[str], object]) -> None:
        self._url, self._say, self._last = url, say, float("-inf")

    def __call__(self, starting: str = "") -> None:
        """Look, if it is time."""
        if time.monotonic() - self._last < EVERY:
            return
        self._last = time.monotonic()
        with contextlib.suppress(DyadError):
            if again := take_up_again(self._url, starting):
                self._say(f"Runs whose process was lost, scheduled again: {', '.join(again)}.")


def settle(url: str, message: str) -> int:
    """Mark lost runs as crashed, so that they hold no place any more; returns how many."""
    runs = list(lost_runs(url))
    for run in runs:
        set_state(url, run, {"type": "CRASHED", "name": "Crashed", "message": message})
    return len(runs)


def set_state(url: str, run: FlowRun, state: Mapping[str, str]) -> None:
    """Set a run's state whatever it was."""
    ask(url, f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def _is_of_this_machine(run: FlowRun) -> bool:
    """Whether a worker of this machine took the run, or died before it said who it is."""
    return str(run["labels"].get("prefect.worker.name", reporting_name(""))).startswith(reporting_name(""))


def _is_unchanged(url: str, run: FlowRun) -> bool:
    """Whether the run is still in the state in which it was found."""
    now: FlowRun = ask(url, f"flow_runs/{run['id']}")
    return (now["state"] or {}).get("id") == (run["state"] or {}).get("id")


def _is_worked_on(run: FlowRun) -> bool:
    """Whether a process of this machine carries the run's id: it was started for this run."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run["id"] and process.pid != os.getpid():
                return True
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or is another user's
    return False


def _tries(url: str, run: FlowRun) -> int:
    """How often the run was taken up again so far."""
    states = ask(url, f"flow_run_states/?flow_run_id={run['id']}")
    return sum(state["name"] == AGAIN and state["message"] == LOST for state in states)


def _is_unclaimed(run: FlowRun) -> bool:
    """Whether a worker took the run and has not said yet which one it is."""
    return run["state_type"] == "PENDING" and bool(run["deployment_id"]) and not run["labels"].get("prefect.worker.name")


def _age(run: FlowRun) -> float:
    """How long the run has been in its state (s)."""
    return time.time() - _since(run)


def _since(run: FlowRun) -> float:
    """Since when the run is in its state (s since 1970)."""
    return datetime.fromisoformat(str((run["state"] or {})["timestamp"])).timestamp()


def _began(worker: str) -> float:
    """When the process of a worker that 'dyad up' started began (s since 1970); 0 for another one."""
    found = processes.running(worker.removeprefix(reporting_name("")))
    process = found.process if found else None
    return process.create_time() if process else 0.0
