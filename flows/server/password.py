"""The password of the server that `dyad up` starts, a file of the state folder that only its owner reads, and of temporary ones.

Whoever reaches Prefect's API decides what workers do, and every user of a machine reaches 127.0.0.1. So the server asks for a
user and a password, written `user:password` as Prefect has it, which the processes and commands of its owner say by themselves.
"""

import base64
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from flows.runtime.state_folder import state_folder, write_private

TEMPORARY = "temporary:"
"""How the password of a temporary server begins."""
ENTRANCE = "enter"
"""The page of the server that has a browser keep the password, which stands behind the # of its address."""


def made_password() -> str:
    """The password for a server that starts: PREFECT_SERVER_API_AUTH_STRING, else that of the last one, else a new one; kept."""
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or own_password() or f"dyad:{secrets.token_urlsafe(32)}"
    if password != own_password():
        write_private(password_file(), password)
    return password


def password_file() -> Path:
    """Where the password of the server of `dyad up` lies."""
    return state_folder() / "password"


def own_password() -> str:
    """What the server of `dyad up` asks for; empty before the first one."""
    try:
        return password_file().read_text(encoding="utf-8")
    except OSError:
        return ""


def temporary_password() -> str:
    """A new password for a temporary server, which this process says and those that it starts, and nobody else knows."""
    return f"{TEMPORARY}{secrets.token_urlsafe(32)}"


def named_password() -> str:
    """PREFECT_API_AUTH_STRING as the user has set it; empty without, and for the one of a temporary server."""
    told = os.environ.get("PREFECT_API_AUTH_STRING", "")
    return "" if told.startswith(TEMPORARY) else told


def password_for(url: str) -> str:
    """What to say to the server at `url`: its own password to that of `dyad up`, else PREFECT_API_AUTH_STRING or nothing."""
    return own_password() if is_own(url) else named_password()


def is_own(url: str) -> bool:
    """Whether `url` is an address of the server that `dyad up` started on this machine, and its process runs."""
    from flows.server import processes

    asked, server = urlsplit(url), processes.noted("server")
    if server is None or asked.hostname not in ("localhost", "127.0.0.1", "::1"):
        return False
    return asked.port == server.facts["port"] and server.process is not None


def entrance(ui: str, password: str) -> str:
    """The address at which a browser learns the password of the UI at `ui` and goes on there.

    What stands behind the # stays in the browser: no server, log or other page sees it.
    """
    return f"{ui}/{ENTRANCE}#{base64.b64encode(password.encode()).decode()}" if password else ui
