"""Stopping on request: clips in work end soon and cleanly."""

import threading
from contextvars import ContextVar

from flows.runtime.errors import Interrupted

requested = threading.Event()
abandoned: ContextVar[threading.Event | None] = ContextVar("abandoned", default=None)
"""Of the clip that this thread works on: set when nobody waits for it any more, because it took too long."""


def check() -> None:
    """Raise Interrupted when the user has asked to stop, or nobody waits for this clip any more."""
    gone = abandoned.get()
    if requested.is_set() or (gone is not None and gone.is_set()):
        raise Interrupted
