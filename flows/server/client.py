"""What talks to the server: questions to its API, the workers that report to it, the environment of background processes."""

import os
import re
import socket
import sysconfig
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from data.errors import DyadError
from flows.runtime.state_folder import state_folder
from flows.server import prefect_setup, processes
from flows.server.password import named_password, password_for

LANDED = "dyad.file.landed"
"""The event that makes `recognise-video` run on the file at `payload.path`."""
POOL = "dyad"
REFUSED = "Dyad's worker runs"
"""How the sentences begin by which a worker refuses a run, which then stands in the message of its crash."""


def common_environment(url: str, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of every background process: the server's address and password, a home of its own, where the code lies."""
    environment = {**given, **{name: value for name, value in prefect_setup.DEFAULTS.items() if name not in given}}
    environment |= {"PREFECT_API_URL": url, "PREFECT_HOME": str(state_folder() / "prefect"), "DYAD_STATE": str(state_folder())}
    if not named_password():
        environment.pop("PREFECT_API_AUTH_STRING", None)
    if password := password_for(url):
        environment["PREFECT_API_AUTH_STRING"] = password
    environment["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"  # theirs goes to a file of their own
    environment.setdefault("PREFECT_WORKER_QUERY_SECONDS", "2")  # a worker looks for runs every 10 s otherwise
    environment["PYTHONSAFEPATH"] = "1"
    code = Path(__file__).resolve().parents[2]
    if code not in (Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")):
        earlier = [path for path in given.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != code]
        environment["PYTHONPATH"] = os.pathsep.join([str(code), *earlier])
    return environment


def worker_command(name: str, limit: int = 1) -> list[str]:
    """What `python -P -m` is called with for a worker of our pool."""
    return ["flows.server.worker", name, str(limit)]


def reporting_name(name: str) -> str:
    """The name under which the server knows a worker: with its machine's, since several machines may have a worker-1."""
    return f"{socket.gethostname()} {name}"


def reporting(url: str, since: datetime | None = None) -> set[str]:
    """The names of the workers that the server has heard of lately (after `since`), less those of this machine that ended."""
    try:
        told = ask(url, f"work_pools/{POOL}/workers/filter", {})
    except DyadError:
        return set()
    heard = {str(one["name"]): datetime.fromisoformat(one["last_heartbeat_time"]) for one in told if one["status"] == "ONLINE"}
    # Of those that 'dyad up' started here, whose notes are named so, the server goes on believing for a while after their end.
    own = re.compile(re.escape(reporting_name("")) + r"(worker-\d+)")
    names = [matched[1] for name in heard if (matched := own.fullmatch(name))]
    ended = {reporting_name(name) for name in names if processes.running(name) is None}
    return {name for name, last in heard.items() if since is None or last > since} - ended


def ask(url: str, path: str, question: Mapping[str, object] | None = None, method: str = "") -> Any:
    """The server's answer to `method`, else GET (without a question) or POST; DyadError when it does not answer or refuses.

    A server whose SQLite is locked answers 503 and has done nothing; it is asked again.
    """
    user, _, password = password_for(url).partition(":")
    auth = (user, password) if user else None
    try:
        for pause in (0.5, 1.0, 2.0, 4.0, 0.0):
            verb = method or ("GET" if question is None else "POST")
            answer = httpx.request(verb, f"{url}/{path}", json=question, auth=auth, timeout=30)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(pause)
        answer.raise_for_status()
        return answer.json() if answer.content else None
    except httpx.HTTPError as error:
        raise DyadError(f"The Prefect server at {url} does not answer as it should ({error}).") from error
