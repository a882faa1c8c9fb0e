"""Prefect, set up before it is imported: quiet on the terminal, no telemetry, time enough for a first start."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from flows.runtime import stop
from flows.runtime.state_folder import state_folder
from flows.server.password import is_own, named_password, own_password, temporary_password
from flows.server.working_folder import leave_alone

DEFAULTS = {
    # The first start of a temporary server creates its database, which takes longer than Prefect's 20 s on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Records go to the server (and so to the UI) in full; the terminal gets our own sentences instead.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "data,modalities,fusion,reports,flows",
    # A temporary server records task runs in batches: one by one, its writes lock SQLite, the server answers 503, and
    # the client waits two seconds before it asks again (docs/prefect.md has the figures).
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # A process that is started here imports nothing from the working folder.
    "PYTHONSAFEPATH": "1",
    # Models are files on this machine: a library must never wait for a hub to answer.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # A process of a Dask cluster on this machine that dies is replaced; that is told by what becomes of its clip.
    "DASK_LOGGING__DISTRIBUTED": "critical",
}

set_by_dyad: set[str] = set()
"""Names of the variables that the user had not set."""


def prepare() -> None:
    """Set Prefect's variables that the user has not set, and none from the working folder; must run before `import prefect`."""
    leave_alone()
    set_by_dyad.update(name for name in DEFAULTS if name not in os.environ)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" not in os.environ and (url := own_server()) and not _profile_names_a_server():
        _set("PREFECT_API_URL", url)
        _set("PREFECT_API_AUTH_STRING", own_password())
    elif not named_password() and is_own(os.environ.get("PREFECT_API_URL", "")):
        _set("PREFECT_API_AUTH_STRING", own_password())
    elif not {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"} & os.environ.keys() and not _profile_names_a_server():
        _set("PREFECT_API_AUTH_STRING", temporary_password())


def _set(name: str, value: str) -> None:
    os.environ[name] = value
    set_by_dyad.add(name)


def own_server() -> str:
    """The address of the server that `dyad up` started, when it runs and takes connections; else empty. Takes milliseconds."""
    if not (state_folder() / "processes" / "server.json").exists():
        return ""
    from flows.server import processes

    server = processes.noted("server")
    if server is None or not server.process:
        return ""
    address = (str(server.facts["host"]), int(server.facts["port"]))
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=0.1):
        return str(server.facts["url"])
    return ""


def _profile_names_a_server() -> bool:
    """Whether the user's Prefect profile names a server, which comes before ours."""
    import tomllib

    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    try:
        told = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    profile = told.get("profiles", {}).get(os.environ.get("PREFECT_PROFILE", told.get("active")), {})
    return isinstance(profile, dict) and "PREFECT_API_URL" in profile


def has_server() -> bool:
    """True when runs go to a server: one that the user named (PREFECT_API_URL, a Prefect profile), or that of `dyad up`.

    Answered without Prefect as long as nothing has imported it: its settings take half a second.
    """
    if "prefect" not in sys.modules:
        return bool(os.environ.get("PREFECT_API_URL")) or _profile_names_a_server()
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def start_temporary_server() -> None:
    """Start the temporary server and wait until it answers; nothing happens when the user named a server.

    Prefect starts it with the first flow, but two flows that begin at once disturb each other while it starts. It ends with this
    process, however that ends.
    """
    if has_server():
        return
    from prefect.client.orchestration import get_client
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    server.port = server.port or _free_port()
    started = server._run_uvicorn_command

    def start() -> "subprocess.Popen[Any]":
        with stop.kept_from_children():
            process = started()
        _end_with_us(process.pid)
        return process

    server._run_uvicorn_command = start  # type: ignore[method-assign]
    _temporary.append(server)
    with get_client(sync_client=True):
        pass


def _free_port() -> int:
    """A port that the system gives: of its own thousand, Prefect might choose one that another run has chosen at that moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end_with_us(pid: int) -> None:
    """Have a process killed once this one is gone: a shell waits for the end of its input, which the system brings."""
    if os.name == "posix":
        command = ["/bin/sh", "-c", f"read -r _ || kill -9 {pid} 2>/dev/null"]
        watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        _kept.append(watcher)  # its input must stay open as long as this process lives


_kept: list[object] = []
_temporary: list[Any] = []


@contextlib.contextmanager
def without_heartbeats() -> Iterator[None]:
    """Inside the block flows send no heartbeats: joining their thread costs a second at the end of every flow."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Prefect's threads from printing on the terminal that they cannot send what they have: a sentence tells it once."""
    threads, before = logging.getLogger("prefect._internal.concurrency"), logging.raiseExceptions
    threads.addFilter(_drop)  # a level would not stay: each flow configures Prefect's loggers again
    logging.raiseExceptions = False
    try:
        yield
    finally:
        threads.removeFilter(_drop)
        logging.raiseExceptions = before


def _drop(_record: logging.LogRecord) -> bool:
    return False


def server_is_gone() -> bool:
    """Whether the server that is set, or the temporary one, does not answer now."""
    import httpx
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url or (_temporary[0].api_url if _temporary else "")
    try:
        return bool(url) and not httpx.get(f"{str(url).rstrip('/')}/health", timeout=2.0).is_success
    except httpx.HTTPError:
        return True


def end_at_once(code: int) -> NoReturn:
    """End this process; the usual end would try for seconds to send a server that has gone each event of each clip."""
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


def ask_once() -> None:
    """Have this thread ask a server that does not answer only once from now on; Prefect would try for two minutes."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    settings = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
    settings.__enter__()
    _kept.append(settings)  # what is not kept ends at once


def outlive_worker() -> None:
    """Have a run that a worker started go on when that worker dies and nobody reads any more what the run prints.

    Prefect's handler for the console would end the run with SystemExit at its next line.
    """
    from prefect.logging.handlers import PrefectConsoleHandler

    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        return
    names = ["prefect", *(name for name in logging.root.manager.loggerDict)]
    for handler in {handler for name in names for handler in logging.getLogger(name).handlers}:
        if isinstance(handler, PrefectConsoleHandler):
            handler.console.on_broken_pipe = _print_nowhere  # type: ignore[method-assign]


def _print_nowhere() -> None:
    """From now on, what this process and its libraries print goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):
        os.dup2(nowhere, printed)
    os.close(nowhere)
