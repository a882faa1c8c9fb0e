"""Models loaded once in a process, whichever task asks first."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from modalities.local_models import Search, find_clip, find_whisper

__all__ = ["dynamic_face", "find_clip", "find_whisper", "scene_context", "scene_labels", "static_face", "text", "voice", "whisper", "Search"]

Loaded = TypeVar("Loaded")
_loaded: dict[Hashable, Any] = {}
_locks: dict[Hashable, threading.Lock] = {}
_guard = threading.Lock()


def _once(key: Hashable, load: Callable[[], Loaded]) -> Loaded:
    """The result of `load`, which runs once a key; two tasks that ask at once wait for one load."""
    with _guard:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        if key not in _loaded:
            _loaded[key] = load()
        kept: Loaded = _loaded[key]
        return kept


def static_face(weights: Path | None, device: str) -> Any:
    """Our network for single faces."""
    from modalities import static_face as modality

    return _once(("static_face", weights, device), lambda: modality.load(weights, device))


def dynamic_face(weights: Path | None, static_weights: Path | None, device: str) -> Any:
    """Our network for faces over time, on the features of the network for single faces."""
    from modalities import dynamic_face as modality

    static = static_face(static_weights, device)
    return _once(("dynamic_face", weights, static_weights, device), lambda: modality.load(weights, static, device))


def scene_labels(checkpoint: Path, architecture: str, prompts: dict[str, Any], temperature: float | None, device: str) -> Any:
    """CLIP from a checkpoint, with its prompts encoded."""
    from modalities import scene_labels as modality

    key = ("scene_labels", checkpoint, architecture, repr(prompts), temperature, device)
    return _once(key, lambda: modality.load(checkpoint, architecture, prompts, temperature=temperature, device=device))


def scene_context(weights: Path | None, device: str) -> Any:
    """The sentence encoder and our head for scene descriptions."""
    from modalities import scene_context as modality

    return _once(("scene_context", weights, device), lambda: modality.load(weights, device))


def voice(weights: Path | None, device: str) -> Any:
    """The speech detector and our network for voices."""
    from modalities import voice as modality

    return _once(("voice", weights, device), lambda: modality.load(weights, device))


def whisper(checkpoint: Path, device: str) -> Any:
    """Whisper from a checkpoint."""
    from modalities import transcript as modality

    return _once(("whisper", checkpoint, device), lambda: modality.load(checkpoint, device))


def text(weights: Path | None, device: str) -> Any:
    """The sentence encoder and our head for words."""
    from modalities import text as modality

    return _once(("text", weights, device), lambda: modality.load(weights, device))
