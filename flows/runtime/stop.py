"""Stopping on request: clips in work end soon and cleanly."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from flows.runtime.errors import Interrupted

requested = threading.Event()
abandoned: ContextVar[tuple[threading.Event, ...]] = ContextVar("abandoned", default=())
"""Of the work that this thread does: any of them is set when nobody waits for it any more, because it took too long."""


@contextlib.contextmanager
def until_given_up() -> Iterator[threading.Event]:
    """An event that, once set, stops what was begun inside the block in threads that know its context."""
    event = threading.Event()
    token = abandoned.set((*abandoned.get(), event))
    try:
        yield event
    finally:
        abandoned.reset(token)


def check() -> None:
    """Raise Interrupted when the user has asked to stop, or nobody waits for this work any more."""
    if requested.is_set() or any(event.is_set() for event in abandoned.get()):
        raise Interrupted


@contextlib.contextmanager
def kept_from_children(*numbers: signal.Signals) -> Iterator[None]:
    """What is started inside the block never gets these signals (SIGINT unless told), which a terminal or a service manager sends
    to every process of the program: the one that started it says when it ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers or (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
