"""Models loaded once in a process, whichever task asks first."""

import threading
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.files import file_digest
from flows.settings import SceneLabelSettings, Settings, read_prompts
from modalities.checkpoint import WEIGHTS_FOLDER
from modalities.local_models import LocalModel

if TYPE_CHECKING:
    from modalities.dynamic_face import DynamicFace
    from modalities.scene_context import SceneContext
    from modalities.scene_labels import SceneLabels
    from modalities.static_face import StaticFace
    from modalities.text import Text
    from modalities.transcript import Recogniser
    from modalities.voice import Voice

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


def static_face(weights: Path | None, device: str) -> "StaticFace":
    """Our network for single faces."""
    from modalities import static_face as modality

    return _once(("static_face", weights, device), lambda: modality.load(weights, device))


def dynamic_face(weights: Path | None, static_weights: Path | None, device: str) -> "DynamicFace":
    """Our network for faces over time, on the features of the network for single faces."""
    from modalities import dynamic_face as modality

    static = static_face(static_weights, device)
    return _once(("dynamic_face", weights, static_weights, device), lambda: modality.load(weights, static, device))


def scene_labels(found: LocalModel, settings: SceneLabelSettings, device: str) -> "SceneLabels":
    """CLIP from a checkpoint, with its prompts encoded."""
    from modalities import scene_labels as modality

    prompts = read_prompts(settings.prompts)
    architecture = settings.architecture or found.architecture
    return _once(
        ("scene_labels", found, settings, device),
        lambda: modality.load(
            found.path, architecture, prompts, tag=found.tag, temperature=settings.temperature, device=device
        ),
    )


def scene_context(weights: Path | None, device: str) -> "SceneContext":
    """The sentence encoder and our head for scene descriptions."""
    from modalities import scene_context as modality

    return _once(("scene_context", weights, device), lambda: modality.load(weights, device))


def voice(weights: Path | None, device: str) -> "Voice":
    """The speech detector and our network for voices."""
    from modalities import voice as modality

    return _once(("voice", weights, device), lambda: modality.load(weights, device))


def whisper(checkpoint: Path, device: str) -> "Recogniser":
    """Whisper from a checkpoint."""
    from modalities import transcript as modality

    return _once(("whisper", checkpoint, device), lambda: modality.load(checkpoint, device))


def text(weights: Path | None, device: str) -> "Text":
    """The sentence encoder and our head for words."""
    from modalities import text as modality

    return _once(("text", weights, device), lambda: modality.load(weights, device))


def centroids(settings: Settings, modalities: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The mean features [7, D] of each emotion in training, of those modalities whose own network is in use."""
    loaders: dict[str, Callable[[], Any]] = {
        "static_face": lambda: static_face(settings.static_face.weights, settings.device),
        "dynamic_face": lambda: dynamic_face(settings.dynamic_face.weights, settings.static_face.weights, settings.device),
        "scene_context": lambda: scene_context(settings.scene_context.weights, settings.device),
        "voice": lambda: voice(settings.voice.weights, settings.device),
        "text": lambda: text(settings.text.weights, settings.device),
    }
    return {name: loaders[name]().centroids for name in modalities if name in loaders}


def shipped_weights(name: str) -> Path:
    """Where the weights of one of our own networks lie."""
    return WEIGHTS_FOLDER / f"{name}.safetensors"


def digest(weights: Path) -> str:
    """Digest of a file's content, read again only when its size or time changes; empty when there is no file."""
    if not weights.is_file():
        return ""
    status = weights.stat()
    return _once(("digest", weights, status.st_size, status.st_mtime_ns), lambda: file_digest(weights))
