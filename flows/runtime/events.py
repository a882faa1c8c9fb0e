"""What happens while a clip is recognised: told to listeners (progress bars) and to the clip's log file."""

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from data.terminal import printable

State = Literal["started", "working", "done", "skipped", "absent", "failed"]
PACKAGES = ("data", "modalities", "fusion", "reports", "flows")


@dataclass(frozen=True)
class Event:
    """A stage of a clip changed its state; `file` is the media file's name, `message` a sentence where there is one to say.

    `seconds` is how long the stage took, `reached` up to which second of the clip it has worked (while it is `working`), and
    `duration` that of the clip (s).
    """

    clip_id: str
    file: str
    stage: str
    state: State
    seconds: float = 0.0
    message: str = ""
    reached: float = 0.0
    duration: float = 0.0


Told = TypeVar("Told")


class Listeners(Generic[Told]):
    """Functions that are told the same things, from any thread."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Told], None]] = []
        self._lock = threading.Lock()

    def tell(self, what: Told) -> None:
        """Hand `what` to every listener."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(what)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[Told], None]) -> Iterator[None]:
        """Hand everything told in this process to `listener` inside the block."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)


_listeners: Listeners[Event] = Listeners()
tell, listening = _listeners.tell, _listeners.listening
_lock = threading.Lock()
_log_file: contextvars.ContextVar[Path | None] = contextvars.ContextVar("log_file", default=None)


@dataclass
class _Working:
    """The stage that a thread works on, and the last second of the clip that was told."""

    started: Event
    told: int = 0


_working: contextvars.ContextVar[_Working | None] = contextvars.ContextVar("working", default=None)


def start(event: Event) -> None:
    """Tell that a stage has started; `reach` in this thread is about it from now on."""
    tell(event)
    _working.set(_Working(event))


def reach(seconds: float) -> None:
    """Tell up to which second of the clip this thread's stage has worked; each second is told once, and none twice."""
    working = _working.get()
    if working is not None and working.told < int(seconds) < working.started.duration:
        working.told = int(seconds)
        tell(replace(working.started, state="working", reached=float(working.told)))


class _ClipLog(logging.Handler):
    """Appends each record to the log of the clip that this thread works on."""

    def emit(self, record: logging.LogRecord) -> None:
        path = _log_file.get()
        if path is not None:
            with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as stream:
                stream.write(printable(self.format(record)) + "\n")


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Inside the block, what our packages log in this thread is appended to `path`."""
    _install_handler()
    token = _log_file.set(path)
    try:
        yield
    finally:
        _log_file.reset(token)


def _install_handler() -> None:
    with _lock:
        for name in PACKAGES:
            logger = logging.getLogger(name)
            if not any(isinstance(handler, _ClipLog) for handler in logger.handlers):
                handler = _ClipLog()
                handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
                logger.addHandler(handler)
                logger.setLevel(logging.INFO)
