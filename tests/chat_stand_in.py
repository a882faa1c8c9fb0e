"""A small OpenAI-compatible server on loopback that answers as a test tells it to, and notes what it was asked."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is sent back: a text wrapped as a completion, or a raw body; after `delay` s."""

    text: str = ""
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drops: float = 0.0
    """Seconds between the bytes of the body; 0: at once."""
    finish: str = "stop"
    """Why the model stopped: "length" when the answer was cut off."""


@dataclass
class StandIn:
    """The server's address, what it was asked, and how many requests it saw at once."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def chat_server(answer: Callable[[int, dict[str, Any]], Reply]) -> Iterator[StandIn]:
    """Serve `answer(number of the request, its JSON)` until the block ends."""
    seen = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with seen.lock:
                number = len(seen.asked)
                seen.asked.append(asked | {"path": self.path})
                seen.keys.append(self.headers.get("Authorization"))
                seen.times.append(time.monotonic())
                seen.at_once += 1
                seen.most_at_once = max(seen.most_at_once, seen.at_once)
            reply = answer(number, asked)
            time.sleep(reply.delay)
            with seen.lock:
                seen.at_once -= 1
            with contextlib.suppress(OSError):  # the client may have given up
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            message = {"role": "assistant", "content": reply.text}
            completion = {"choices": [{"message": message, "finish_reason": reply.finish}]}
            body = json.dumps(completion).encode() if reply.body is None else reply.body
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(body))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            for piece in [bytes([byte]) for byte in body] if reply.drops else [body]:
                self.wfile.write(piece)
                time.sleep(reply.drops)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
