"""Stopping on request: clips in work end soon and cleanly."""

import threading

from flows.faults import Interrupted

requested = threading.Event()


def check() -> None:
    """Raise Interrupted when the user has asked to stop."""
    if requested.is_set():
        raise Interrupted
