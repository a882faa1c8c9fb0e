"""Listeners: who wants to be told in this process what happens, for as long as a block lasts."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

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
