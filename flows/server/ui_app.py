"""The Prefect server's application as `dyad up` starts it: its UI may talk to this server and to nobody else.

The pages of Prefect's UI contact an analytics service from the browser, also where the server's analytics are off.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def create_app() -> Application:
    """The server's application (for uvicorn's --factory)."""
    from prefect.server.api.server import create_app as prefect_app

    return with_policy(prefect_app(), policy(os.environ.get("PREFECT_UI_API_URL", "")))


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
