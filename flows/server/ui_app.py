"""The Prefect server's application as `dyad up` starts it: it answers its own hosts and pages, and its UI talks to it alone.

Prefect's API has a run execute code, answers every host and lets pages of every origin ask it. So any page that somebody opens on
this machine could start a run (by a request across origins, or by a name of its own that it points at this machine). And the
pages of Prefect's UI contact an analytics service from the browser, also where the server's analytics are off.

The server asks for a password, which the UI keeps in the browser's storage for the server's own pages and sends with requests.
No cookie carries it: a browser would send that to every port of this machine, behind which other users may listen.
"""

import base64
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from flows.server.password import ENTRANCE

KEEP = """
if (location.hash.length > 1) localStorage.setItem("prefect-password", location.hash.slice(1));
location.replace("./");
"""
PAGE = f"<!doctype html><html lang=en><meta charset=utf-8><title>Dyad</title><script>{KEEP}</script></html>".encode()
"""The entrance: it keeps the password behind the # of its address where Prefect's UI looks for it, and goes on to the UI."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def create_app() -> Application:
    """The server's application (for uvicorn's --factory), which listens at PREFECT_SERVER_API_HOST."""
    from prefect.server.api.server import create_app as prefect_app

    url = os.environ.get("PREFECT_UI_API_URL", "")
    names = own_names(os.environ.get("PREFECT_SERVER_API_HOST", "localhost"))
    return only_own(with_entrance(with_policy(prefect_app(), policy(url))), names, url)


def own_names(listen: str) -> set[str]:
    """What a server that listens at `listen` is called: the loopback names, and beyond this machine the machine's own ones."""
    if listen in LOOPBACK:
        return {*LOOPBACK}
    machine = {socket.gethostname().lower(), socket.getfqdn().lower()}
    return {*LOOPBACK, *machine} | ({listen.lower()} - {*EVERYWHERE})


def only_own(application: Application, names: Iterable[str], url: str = "") -> Application:
    """The same application for its own hosts and origins only; others get a sentence and 403, also preflights and web sockets.

    Its hosts are `names`, the address at which a connection came in and the host of `url` (where browsers find the API), with the
    server's port or without. Its origins are those with its port, and that of `url`. Who sends no origin is no page and goes on.
    """
    seen = urlsplit(url.lower())

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await application(scope, receive, send)
            return
        address, port = scope["server"]
        called = {*names, address.removeprefix("::ffff:"), *([seen.hostname] if seen.hostname else [])}
        called = {f"[{name}]" if ":" in name else name for name in called}
        hosts = {*called, *(f"{name}:{port}" for name in called), *([seen.netloc] if seen.netloc else [])}
        origins = {f"http://{name}:{port}" for name in called} | ({f"http://{name}" for name in called} if port == 80 else set())
        origins |= {f"{seen.scheme}://{seen.netloc}"} if seen.netloc else set()

        host, origin = (_header(scope, name) for name in (b"host", b"origin"))
        if host is None or host.lower() not in hosts:
            sentence = f"This server is not called {host!r}; PREFECT_UI_API_URL, set before 'dyad up', gives it one more name."
            await _refuse(scope, receive, send, sentence)
        elif origin is not None and origin.lower() not in origins:
            await _refuse(scope, receive, send, f"This server answers its own pages, not those of {origin!r}.")
        else:
            await application(scope, receive, _allowing(origin, send) if scope["type"] == "http" else send)

    return answer


def _header(scope: Message, name: bytes) -> str | None:
    """A header's value; of one that comes more than once all values, which are then nobody's name."""
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return b", ".join(values).decode("latin-1") if values else None


def _allowing(origin: str | None, send: Send) -> Send:
    """`send`, whose answers allow pages of `origin` to read them, and none where it is None, whatever the application says."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(key, value) for key, value in message.get("headers", []) if key.lower() != b"access-control-allow-origin"]
            allowed = [] if origin is None else [(b"access-control-allow-origin", origin.encode("latin-1"))]
            message["headers"] = [*kept, *allowed, (b"vary", b"Origin")]
        await send(message)

    return tell


async def _refuse(scope: Message, receive: Receive, send: Send, sentence: str) -> None:
    """Answer with the sentence and 403; a server that cannot say so to a web socket closes it, which browsers see as 403."""
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": sentence[:120]})
            return
        kind = "websocket.http.response"
    body = f"{sentence}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{kind}.start", "status": 403, "headers": [*headers, (b"x-content-type-options", b"nosniff")]})
    await send({"type": f"{kind}.body", "body": body})


def with_entrance(application: Application) -> Application:
    """The same application with the page that has a browser keep the password."""
    known = base64.b64encode(hashlib.sha256(KEEP.encode()).digest()).decode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(PAGE)),
        "cache-control": "no-store",
        "content-security-policy": f"default-src 'none'; script-src 'sha256-{known}'; frame-ancestors 'none'",
    }

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == f"/{ENTRANCE}":
            told = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": told})
            await send({"type": "http.response.body", "body": PAGE})
        else:
            await application(scope, receive, send)

    return answer


def policy(url: str) -> str:
    """The Content-Security-Policy by which pages connect to their own origin and to the API at `url` only."""
    host = urlsplit(url).netloc
    return " ".join(["connect-src 'self'", *([f"http://{host} ws://{host}"] if host else [])])


def with_policy(application: Application, told: str) -> Application:
    """The same application, whose answers tell browsers the policy."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", told.encode())]
            await send(message)

        await application(scope, receive, tell if scope["type"] == "http" else send)

    return answer
