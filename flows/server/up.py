"""A Prefect server with its UI, workers and watchers in the background of this machine: `dyad up` and `dyad down`."""

import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx

from data.errors import DyadError, InputError
from flows.runtime.state_folder import locked, made, state_folder
from flows.server import processes
from flows.server.client import common_environment, reporting, reporting_name, worker_command
from flows.server.deployments import DeploymentOptions, deploy
from flows.server.lost_runs import await_claims, settle, take_up_again
from flows.server.password import entrance, made_password, own_password
from flows.server.processes import Background

HOST = "127.0.0.1"
PORT = 4200
PATIENCE = 240.0
"""Seconds that a server may take to answer, and a worker to report: the first start on a busy machine makes the database."""
Say = Callable[[str], None]


def bring_up(
    port: int | None, workers: int, watched: tuple[Path, ...], folder: Path, say: Say, listen: str = HOST
) -> str:
    """Start what of server, deployments, workers and watchers does not run yet; returns the address that lets a browser in.

    Relative paths in the UI's forms begin in `folder`; a new server takes connections at the address `listen`.
    InputError and DyadError say what is in the way.
    """
    with locked(made(state_folder()) / "up.lock"):
        server = _server(port, say, listen)
        url = str(server.facts["url"])
        say(f"Deployments: {', '.join(deploy(DeploymentOptions(folder), url))}.")
        await_claims(url)
        if again := take_up_again(url):
            say(f"Runs whose process was lost, scheduled again: {', '.join(again)}.")
        _bring_workers(server, workers, say)
        for path in watched:
            _bring_watcher(server, path, say)
    return entrance(str(server.facts["ui"]), own_password())


def bring_down(say: Say) -> bool:
    """Stop workers, watchers and server, and what of them was left behind; False when nothing was running."""
    with locked(made(state_folder()) / "up.lock"):
        server = processes.running("server")
        clients = processes.all_running("worker") + processes.all_running("watch")
        processes.stop(clients)
        if server and _is_healthy(server):
            settle(str(server.facts["url"]), "Stopped by 'dyad down'.")
        processes.stop([server] if server else [])
        left = processes.stop_left_behind()
    stopped = [background.name for background in (*clients, *([server] if server else []))]
    if stopped:
        say(f"Stopped: {', '.join(stopped)}.")
    if left:
        say(f"Stopped {left} processes that earlier ones had left behind.")
    return bool(stopped or left)


def _server(port: int | None, say: Say, listen: str) -> Background:
    """The running server, or a new one that answers."""
    server = processes.running("server")
    if server and port not in (None, server.facts["port"]):
        raise InputError(f"The server already runs on port {server.facts['port']}; stop it first with 'dyad down'.")
    if server and _is_healthy(server):
        say(f"The server runs already (process {server.pid}).")
        return server
    if server:
        say("The server runs and does not answer; waiting for it.")
    else:
        server = _start_server(port or PORT, listen)
        say("Starting the server; the first time its database is made, which takes some seconds more.")
    _await(lambda: _is_healthy(server), server, "The server")
    return server


def _start_server(port: int, listen: str) -> Background:
    if _is_taken(port):
        raise InputError(f"Port {port} is taken by another program; choose another one with --port.")
    url = f"http://{HOST}:{port}/api"
    seen = url if listen == HOST else f"http://{socket.gethostname()}:{port}/api"  # browsers elsewhere reach it by its name
    environment = {"PREFECT_UI_API_URL": seen} | server_environment(url, os.environ) | {"PREFECT_SERVER_API_HOST": listen}
    password = made_password()
    environment |= {"PREFECT_SERVER_API_AUTH_STRING": password, "PREFECT_API_AUTH_STRING": password}
    command = [
        "uvicorn", "--app-dir", str(Path(__file__).resolve().parents[2]), "--factory", "flows.server.ui_app:create_app",
        "--host", listen, "--port", str(port), "--timeout-keep-alive", "5", "--timeout-graceful-shutdown", "5",
    ]  # fmt: skip
    made(Path(environment["PREFECT_HOME"]) / "storage")  # where a worker keeps how a run failed, as the user's umask says
    facts: dict[str, str | int] = {"host": HOST, "port": port, "url": url, "ui": f"http://{HOST}:{port}"}
    return processes.start("server", command, environment, private=True, **facts)


def server_environment(url: str, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server at `url`: what was given, a home of its own, and the database of DYAD_DATABASE_URL."""
    environment = common_environment(url, given)
    environment["PREFECT__SERVER_FINAL"] = "1"
    environment.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    if database := given.get("DYAD_DATABASE_URL"):
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_address(database)
    return environment


def database_address(given: str) -> str:
    """A PostgreSQL address as Prefect wants it, with its asynchronous driver; InputError for another kind of database."""
    matched = re.fullmatch(r"postgres(?:ql)?(?:\+\w+)?://(.+)", given)
    if not matched:
        raise InputError("DYAD_DATABASE_URL must name a PostgreSQL database: postgresql://user:password@host:5432/name.")
    return f"postgresql+asyncpg://{matched[1]}"


def _bring_workers(server: Background, wanted: int, say: Say) -> None:
    """Start the workers that are missing of 1 to `wanted`, stop those above, and wait until the new ones report."""
    names = [f"worker-{number}" for number in range(1, wanted + 1)]
    there = {worker.name: worker for worker in processes.all_running("worker")}
    processes.stop([worker for name, worker in there.items() if name not in names])
    url, began = str(server.facts["url"]), datetime.now(UTC)
    for worker in [start_worker(name, url) for name in names if name not in there]:
        name = reporting_name(worker.name)
        _await(lambda name=name: name in reporting(url, began), worker, f"The {worker.name}")  # type: ignore[misc]
    say(f"{wanted} {'worker takes' if wanted == 1 else 'workers take'} runs, one at a time each.")


def start_worker(name: str, url: str) -> Background:
    """Start a worker of the pool `dyad` in the background."""
    return processes.start(name, worker_command(reporting_name(name)), common_environment(url, os.environ))


def _bring_watcher(server: Background, folder: Path, say: Say) -> None:
    from flows.server.watch_folder import watcher_name

    name = watcher_name(folder)
    if processes.running(name) is None:
        if not folder.is_dir():
            raise InputError(f"--watch {folder}: there is no such folder.")
        environment = common_environment(str(server.facts["url"]), os.environ)
        processes.start(name, ["flows", "watch", str(folder.resolve())], environment, folder=str(folder.resolve()))
    say(f"Files that land in {folder} are recognised.")


def _await(is_ready: Callable[[], bool], process: Background, what: str) -> None:
    """Wait until `is_ready`; DyadError with the end of the log when the process ends or takes too long."""
    until = time.monotonic() + PATIENCE
    while not is_ready():
        if process.process is None or time.monotonic() > until:
            ended = "ended" if process.process is None else f"did not answer in {PATIENCE:.0f} s"
            processes.stop([process])
            lines = processes.last_lines(process.name)
            raise DyadError(f"{what} {ended}; its log {processes.log_of(process.name)} ends with:\n{lines}")
        time.sleep(0.2)


def _is_healthy(server: Background) -> bool:
    try:
        return httpx.get(f"{server.facts['url']}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _is_taken(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError:
            return True
        return False
