"""A client of an OpenAI-compatible server's `chat/completions`: a limit on concurrent requests, time limits, retries."""

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from data.errors import InputError, ServerError

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)
WORTH_RETRYING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""States of HTTP that a later try may mend."""
OF_THIS_REQUEST = frozenset({400, 413, 422})
"""States that blame the request (its images, its length), not the server."""
LARGEST_ANSWER = 2**20
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class ServerOptions:
    """Where the server is, which model it runs, and how it is asked.

    base_url: up to the version, e.g. http://localhost:8000/v1; api_key: sent as a bearer token where it is not empty.
    concurrency: requests under way at once in this process; timeout: seconds for one answer; retries: tries after the first;
    backoff: seconds before the first retry, doubled each time; longest_wait: seconds that are waited at most.
    """

    base_url: str
    model: str
    concurrency: int
    timeout: float
    retries: int
    backoff: float
    longest_wait: float
    max_tokens: int
    api_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InputError("The server's key holds line breaks or letters outside ASCII; set its variable again.")


@dataclass(frozen=True)
class Refused:
    """One request that got no answer to use, and why, as a sentence; others may do well."""

    reason: str


class AnswerCache:
    """Answers that were got before, by a digest of the whole question; new ones are appended to a file of JSON lines."""

    def __init__(self, path: Path | None = None) -> None:
        """Read `path`; lines that are not whole count as not asked. Without a path answers live as long as the object."""
        self._path, self._lock, self._known = path, threading.Lock(), dict[str, str]()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else ():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                noted = json.loads(line)
                self._known[str(noted["asked"])] = str(noted["answer"])

    def get(self, asked: str) -> str | None:
        """The answer to a question, if there is one."""
        return self._known.get(asked)

    def add(self, asked: str, answer: str) -> None:
        """Keep an answer; OSError when the disk is full."""
        with self._lock:
            self._known[asked] = answer
            if self._path:
                with self._path.open("a", encoding="utf-8") as stream:
                    stream.write("\n" + json.dumps({"asked": asked, "answer": answer}))


class ChatServer:
    """Asks one server; threads may share it. Use as a context manager."""

    def __init__(
        self, options: ServerOptions, check: Callable[[], None] = lambda: None, answers: AnswerCache | None = None
    ) -> None:
        """`check` is called while waiting and raises to give up; what `answers` holds is not asked again."""
        import httpx

        headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
        limits = httpx.Limits(max_connections=options.concurrency)
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(options.timeout, pool=None), limits=limits)
        self._url = f"{options.base_url.rstrip('/')}/chat/completions"
        self._check = check
        self._answers = answers or AnswerCache()
        self.options = options
        self._failure = f"The questions to {options.base_url} were given up."
        self.stop = threading.Event()

    def ask(self, messages: list[dict[str, object]]) -> str | Refused:
        """The text of the first choice at temperature 0; Refused when this one answer is of no use.

        Rate limits, errors of the server, lost connections and time-outs are tried again, after what Retry-After says or
        with exponential back-off; ServerError when they do not end, or when the server rejects key, model or address.
        """
        asked = {"model": self.options.model, "messages": messages, "max_tokens": self.options.max_tokens, "temperature": 0}
        digest = hashlib.sha256(json.dumps([self._url, asked], sort_keys=True).encode()).hexdigest()
        if (known := self._answers.get(digest)) is not None:
            return known
        problem = ""
        for attempt in range(self.options.retries + 1):
            answer = self._try(asked)
            if isinstance(answer, str):
                self._answers.add(digest, answer)
            if not isinstance(answer, _Failed):
                return answer
            problem = answer.reason
            if attempt < self.options.retries:
                self._wait(self.options.backoff * 2**attempt if answer.wait is None else answer.wait, problem)
        raise self._fail(
            f"gave no answer in {self.options.retries + 1} tries ({problem}); "
            "see that it runs, or raise scene_context.server.timeout or retries."
        )

    def _try(self, asked: dict[str, object]) -> "str | Refused | _Failed":
        import httpx

        with _request_slots(self.options.base_url, self.options.concurrency):
            self.raise_if_stopped()
            deadline = time.monotonic() + self.options.timeout
            try:
                with self._client.stream("POST", self._url, json=asked) as response:
                    return self._read(response, _body(response, deadline))
            except httpx.TimeoutException:
                return _Failed(f"none within {self.options.timeout:g} s")
            except httpx.TransportError as error:
                return _Failed(self._clean(str(error) or type(error).__name__))
            except httpx.HTTPError as error:
                return Refused(f"The server's answer cannot be read ({self._clean(str(error))}).")

    def _read(self, response: "httpx.Response", body: bytes) -> "str | Refused | _Failed":
        status = response.status_code
        if status == 200:
            return text_of(body)
        said = self._clean(body.decode("utf-8", errors="replace"))
        if status in WORTH_RETRYING:
            return _Failed(f"HTTP {status}: {said}", retry_after(response.headers.get("retry-after")))
        if status in OF_THIS_REQUEST:
            return Refused(f"The server refused this window (HTTP {status}: {said}).")
        raise self._fail(
            f"rejects the requests (HTTP {status}: {said}); check scene_context.server (base_url, model) and the variable "
            "with its key."
        )

    def _wait(self, seconds: float, problem: str) -> None:
        if seconds > self.options.longest_wait:
            raise self._fail(f"asks to wait {seconds:.0f} s ({problem}); run the same command again then.")
        logger.info("Waiting %.1f s for the server: %s", seconds, problem)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.raise_if_stopped()
            self.stop.wait(min(left, 0.2))

    def raise_if_stopped(self) -> None:
        """Give up when the user asks to, or when another request has failed for good."""
        self._check()
        if self.stop.is_set():
            raise ServerError(self._failure)

    def _fail(self, what: str) -> ServerError:
        """The error to raise; requests that wait get the same one, and the server is not asked any more."""
        if not self.stop.is_set():
            self._failure = f"The server {self.options.base_url} {what}"
            self.stop.set()
        return ServerError(self._failure)

    def _clean(self, said: str) -> str:
        """What a server said, short enough for a sentence and without the key, which some servers repeat."""
        if self.options.api_key:
            said = said.replace(self.options.api_key, "(key)")
        return " ".join("".join(mark if mark.isprintable() else " " for mark in said).split())[:200] or "no message"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._client.close()


@dataclass(frozen=True)
class _Failed:
    """A try that failed for a reason that may pass; `wait` is what the server asks for, s."""

    reason: str
    wait: float | None = None


@cache
def _request_slots(base_url: str, limit: int) -> threading.BoundedSemaphore:
    """One for all clips of this process."""
    return threading.BoundedSemaphore(limit)


def _body(response: "httpx.Response", deadline: float) -> bytes:
    """The body, at most a megabyte; a server that sends drop by drop is cut off at the deadline."""
    import httpx

    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer takes too long")
        if len(body) > LARGEST_ANSWER:
            raise httpx.DecodingError("it is larger than a megabyte")
    return bytes(body)


def text_of(body: bytes) -> str | Refused:
    """The text of the first choice of a completion; Refused when the body is no such thing, or the answer was cut off.

    What is cut off before a thinking model has closed its thoughts is all thoughts, and nothing tells it from a description.
    """
    try:
        choice = json.loads(body)["choices"][0]
        content = choice["message"]["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Refused("The server's answer is not a chat completion.")
    if choice.get("finish_reason") == "length" and (not isinstance(content, str) or "</think>" not in content.lower()):
        return Refused("The answer was cut off, perhaps while the model was thinking; raise scene_context.server.max_tokens.")
    return content if isinstance(content, str) else Refused("The server's answer holds no text.")


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None when it says nothing usable."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
