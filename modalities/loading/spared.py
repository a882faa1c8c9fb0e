"""Packages that others import and Dyad does not need: not imported until somebody uses them."""

import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_ALONE = threading.RLock()


def spare_pyplot() -> None:
    """Have matplotlib.pyplot load when it is first used: MediaPipe imports it to draw, which nobody asks of it here."""
    name = "matplotlib.pyplot"
    if name in sys.modules or importlib.util.find_spec("matplotlib") is None:
        return
    later = types.ModuleType(name)

    def attribute(asked: str) -> Any:
        if asked.startswith("__"):  # whoever looks through the modules asks for such
            raise AttributeError(asked)
        if sys.modules.get(name) is later:
            del sys.modules[name]
        import matplotlib.pyplot

        return getattr(matplotlib.pyplot, asked)

    later.__getattr__ = attribute  # type: ignore[method-assign]
    sys.modules[name] = later


@contextmanager
def without_numba() -> Iterator[None]:
    """Import whisper in this block without numba, whose compiler takes 65 MB.

    It compiles two functions of whisper's: `modalities.transcript.decoding` replaces the one, and the other takes a moment as it
    is. Where either package is loaded already, nothing changes.
    """
    with _ALONE:
        if "numba" in sys.modules or "whisper" in sys.modules:
            yield
            return
        stand_in = types.ModuleType("numba")
        stand_in.jit = lambda **options: _as_it_is  # type: ignore[attr-defined]
        sys.modules["numba"] = stand_in
        try:
            yield
        finally:
            if sys.modules.get("numba") is stand_in:
                del sys.modules["numba"]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
