"""The commands about the server, its deployments, workers and watched folders."""

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import RemoteOption, RootOption, file_systems

PortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the server and its UI; 4200 unless given.")]
WatchOption = Annotated[
    list[Path] | None, typer.Option("--watch", help="A folder; a file that lands in it is recognised. Repeatable.")
]
BaseOption = Annotated[Path, typer.Option(help="Where relative paths in the UI's forms begin.", show_default="this folder")]


def up(
    port: PortOption = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Workers: runs from the UI or a schedule at once.")] = 1,
    watch: WatchOption = None,
    folder: BaseOption = Path(),
    host: Annotated[str, typer.Option(help="Where the server takes connections; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
) -> None:
    """Start a Prefect server with its UI and workers in the background of this machine; what runs already is left alone.

    Example: dyad up --workers 2 --watch incoming
    """
    from flows.server.password import is_own, password_file
    from flows.server.prefect_setup import set_by_dyad
    from flows.server.processes import noted
    from flows.server.up import bring_up

    entrance = bring_up(port, workers, tuple(watch or ()), folder.resolve(), _say, host)
    url = os.environ.get("PREFECT_API_URL", "")
    if url and not is_own(url) and "PREFECT_API_URL" not in set_by_dyad:
        _say(f"PREFECT_API_URL is set to {url}: 'dyad run' goes there; unset it to use this server.")
    print(f"The UI, with your password, is at {entrance}")
    print("Next: open it, or run 'dyad run clip.mp4'; 'dyad status' tells what runs, 'dyad down' stops it.")
    server, password = noted("server"), f'"$(cat {shlex.quote(str(password_file()))})"'
    own = f"PREFECT_API_URL={server.facts['url'] if server else ''} PREFECT_API_AUTH_STRING={password}"
    print(f"For {Path(sys.executable).with_name('prefect')} and your own scripts: export {own}")


def down() -> None:
    """Stop the server, workers and watchers that 'dyad up' started; what they were doing goes on at the next start.

    Example: dyad down
    """
    from flows.server.up import bring_down

    if not bring_down(_say):
        _say("Nothing was running.")


def status() -> None:
    """Tell what of server, workers and deployments is there, what runs, and what failed; exit code 1 when something is missing.

    Example: dyad status
    """
    from flows.server.status import show_status

    sys.exit(show_status(os.environ.get("PREFECT_API_URL", ""), print))


def logs(
    name: Annotated[
        str,
        typer.Argument(help="A run, or server, worker-1 and the like; else the last run.", show_default=False, metavar="NAME"),
    ] = "",
    lines: Annotated[int, typer.Option(min=1, help="So many of the last ones.")] = 100,
) -> None:
    """Print what a run logged, or what the server or a worker printed.

    Example: dyad logs clip.mp4
    """
    from flows.server.status import log_lines

    print("\n".join(log_lines(os.environ.get("PREFECT_API_URL", ""), name, lines)))


def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Runs that failed; else all of the last seven days.", show_default=False, metavar="RUNS"),
    ] = None,
) -> None:
    """Have failed runs of the server's deployments run again; they go on from what is done.

    Example: dyad retry clip.mp4
    """
    from flows.server.lost_runs import retry as schedule_again

    again, others = schedule_again(_need_server(), names or ())
    if others:
        _say(f"Started by hand, not by a deployment: {', '.join(others)}; give the same command again.")
    _say(f"Scheduled again: {', '.join(again)}." if again else "No run of a deployment has failed.")
    sys.exit(1 if others and not again else 0)


def deploy(
    manifest: Annotated[str | None, typer.Option(help="What recognise-dataset runs on: CSV, parquet or a folder.")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help="Where the run folders go.")] = None,
    cron: Annotated[str | None, typer.Option(help="When recognise-dataset runs; '0 2 * * *' unless given.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of --cron, e.g. Europe/Berlin; UTC unless given.")] = None,
    allow_remote: RemoteOption = None,
    root: RootOption = None,
    folder: BaseOption = Path(),
) -> None:
    """Create the deployments on the server in use, or bring them up to date; what is not given stays as it is there.

    Example: dyad deploy --manifest clips.csv -o runs --cron '0 2 * * *'
    """
    from flows.server.deployments import DeploymentOptions
    from flows.server.deployments import deploy as make

    _need_server()
    remote = None if allow_remote is None else file_systems(allow_remote)
    options = DeploymentOptions(folder.resolve(), _absolute(manifest), _absolute(output), cron, timezone, remote, _absolute(root))
    _say(f"Deployments: {', '.join(make(options))}.")


def worker(
    name: Annotated[str, typer.Option(help="Its name, unique on this machine.")] = "worker",
    limit: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
) -> None:
    """Take runs from the server that PREFECT_API_URL names, until stopped: a worker for another machine, or for one GPU.

    Example: PREFECT_API_URL=http://server:4200/api CUDA_VISIBLE_DEVICES=1 dyad worker --name gpu-1
    """
    import subprocess

    from flows.runtime.state_folder import made, state_folder
    from flows.server.client import common_environment, reporting_name, worker_command
    from flows.server.lost_runs import EVERY, Tending

    url = _need_server()
    command = [sys.executable, "-P", "-m", *worker_command(reporting_name(name), limit)]
    tend = Tending(url, _say)
    tend(starting=reporting_name(name))  # what an earlier one of this name left
    process = subprocess.Popen(command, env=common_environment(url, os.environ), cwd=made(state_folder()))
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EVERY)
            tend()
        sys.exit(process.returncode)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        sys.exit(130)


def watch(
    folder: Annotated[Path, typer.Argument(help="The folder.", exists=True, file_okay=False)],
    settle: Annotated[float, typer.Option(min=0, help="Seconds that a file must not change before it counts as landed.")] = 2.0,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 1.0,
    event: Annotated[bool, typer.Option("--event", help="Only emit dyad.file.landed; automations do the rest.")] = False,
) -> None:
    """Have each media file that lands in a folder recognised by a worker, until stopped.

    Example: dyad watch incoming
    """
    import logging

    from flows.server.lost_runs import Tending
    from flows.server.watch_folder import by_event, by_run
    from flows.server.watch_folder import watch as look

    url = _need_server()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        tend = Tending(url, logging.getLogger(__name__).info)
        look(folder, by_event if event else by_run, every=every, settle=settle, tend=tend)
    except KeyboardInterrupt:
        sys.exit(130)


def retention(
    output: Annotated[list[Path] | None, typer.Option("-o", "--output", help="Folder with run folders; repeatable.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Remove what nothing has touched for so many days.")] = 30,
    keep_last: Annotated[int, typer.Option(min=0, help="Keep so many of the newest run folders whatever their age.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove old run folders and old runs from Prefect's history.

    Example: dyad retention -o runs --days 90 --dry-run
    """
    from flows.retention import retention as prune
    from flows.server.prefect_setup import without_heartbeats

    with without_heartbeats():
        print(prune(output or [Path("runs")], days=days, keep_last=keep_last, history_days=days, dry_run=dry_run))


def _need_server() -> str:
    from data.errors import InputError
    from flows.server.prefect_setup import has_server

    if not has_server():
        raise InputError("No server is up: start one with 'dyad up', or set PREFECT_API_URL to the one to use.")
    from prefect.settings import get_current_settings

    return str(get_current_settings().api.url)


def _absolute(path: str | None) -> str | None:
    """An absolute path; an address such as s3://bucket/name stays as it is."""
    return path if path is None or "://" in path else str(Path(path).resolve())


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
