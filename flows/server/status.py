"""`dyad status` and `dyad logs`: what of server, workers and deployments is there, what runs, what failed lately, and why."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from data.errors import DyadError, InputError
from flows.runtime.state_folder import state_folder
from flows.server import processes
from flows.server.client import POOL, ask, reporting
from flows.server.lost_runs import FlowRun, under_way
from flows.server.password import entrance, is_own, own_password
from flows.server.processes import log_of

Row = tuple[str, str, str]
MOST_LINES = 200
"""So many lines the server gives at once."""


def show_status(url: str, say: Callable[[str], None]) -> int:
    """Print the state of the server at `url` (empty: none is known); 0 when it answers and a worker reports, else 1."""
    server = processes.running("server")
    if not url:
        stale = "" if server is None else f" Its process {server.pid} runs and takes no connections."
        say(f"No server is up.{stale} Start it with 'dyad up'.")
        return 1
    try:
        rows = list(_rows(url))
    except DyadError as error:
        say(f"{error} Start it again with 'dyad down' and 'dyad up'.")
        return 1
    width = max(len(which) for _, which, _ in rows)
    for what, which, state in rows:  # plain lines, which no narrow terminal breaks and every tool can read
        say(f"{what:<15}{which:<{width}}  {state}")
    return 0 if reporting(url) else 1


def log_lines(url: str, name: str, count: int) -> list[str]:
    """The last lines that a run logged (the last run of this name; '' for any), or that a background process printed.

    `url`: the server's; a process needs none. InputError for a name that is neither.
    """
    processes_known = {file.stem: file for file in sorted(log_of("server").parent.glob("*.log"))}
    if name in processes_known:
        return processes_known[name].read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    if not url:
        known = f"without one there are those of {', '.join(processes_known)}" if processes_known else "and no process has a log"
        raise InputError(f"No server is up that knows what runs logged, {known}. Start it with 'dyad up'.")
    named = {"name": {"any_": [name]}} if name else {"start_time": {"is_null_": False}}
    found: list[FlowRun] = ask(url, "flow_runs/filter", {"flow_runs": named, "limit": 1, "sort": "START_TIME_DESC"})
    if not found:
        if not name:
            known = f"; {', '.join(processes_known)} have logs of their own" if processes_known else ""
            raise InputError(f"Nothing has run on this server yet{known}.")
        raise InputError(f"There is no run and no process named {name}; 'dyad status' and the UI tell their names.")
    question = {"logs": {"flow_run_id": {"any_": [found[0]["id"]]}}, "limit": min(count, MOST_LINES), "sort": "TIMESTAMP_DESC"}
    logged = [f"{str(one['timestamp'])[:19]} {one['message']}" for one in reversed(ask(url, "logs/filter", question))]
    return [f"{found[0]['name']}: {found[0]['state_name']}", *logged]


def _rows(url: str) -> Iterator[Row]:
    yield "server", url.removesuffix("/api"), f"Prefect {ask(url, 'admin/version')}"
    if is_own(url):
        yield "UI", entrance(url.removesuffix("/api"), own_password()), "with your password"
    size = sum(file.stat().st_size for file in state_folder().rglob("*") if file.is_file())
    yield "state folder", str(state_folder()), f"{size / 1e6:.0f} MB"
    yield from _workers(url)
    for watcher in processes.all_running("watch"):
        yield "watched folder", str(watcher.facts.get("folder", "")), f"pid {watcher.pid}"
    for deployment in ask(url, "deployments/filter", {"sort": "NAME_ASC"}):
        yield "deployment", deployment["name"], _schedule(deployment)
    yield from _runs(url)


def _workers(url: str) -> Iterator[Row]:
    there = reporting(url)
    for name in sorted(there):
        yield "worker", name, "reports"
    for worker in processes.all_running("worker"):
        if process := worker.process:
            held = sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
            yield "process", worker.name, f"pid {process.pid}, {held / 1e6:.0f} MB"
    if not there:
        yield "worker", f"pool {POOL}", "none reports: runs wait; start one with 'dyad up' or 'dyad worker'"


def _schedule(deployment: Mapping[str, Any]) -> str:
    if deployment["paused"]:
        return "paused"
    told = []
    for one in deployment["schedules"]:
        when = one["schedule"].get("cron") or f"every {one['schedule'].get('interval', '?')} s"
        told.append(f"{when} {one['schedule'].get('timezone') or 'UTC'}{'' if one['active'] else ' (not active)'}")
    return ", ".join(told) or "by hand"


def _runs(url: str) -> Iterator[Row]:
    for run in under_way(url):
        yield "under way", str(run["name"]), f"{run['state_name']} for {float(run['estimated_run_time']):.0f} s"
    failed = {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}
    ended: list[FlowRun] = ask(url, "flow_runs/filter", {"flow_runs": failed, "limit": 5, "sort": "END_TIME_DESC"})
    for run in ended:
        message = str((run["state"] or {}).get("message") or "").splitlines()
        yield "failed", str(run["name"]), f"{str(run['end_time'])[:16]} {message[0][:160] if message else run['state_name']}"
