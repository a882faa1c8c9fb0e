"""Loaded models by what settings ask for, each on the shelf of its device, so that it is in memory once."""

from collections.abc import Callable, Hashable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings, prompts_path
from data.files import digest
from flows.runtime.batch_queue import lane
from flows.runtime.model_cache import shelf
from modalities.loading.batching import Batches
from modalities.loading.checkpoint import WEIGHTS_FOLDER
from modalities.loading.devices import resolve_device
from modalities.model_store.local import LocalModel, require_repository

if TYPE_CHECKING:
    from modalities.dynamic_face.clip_temporal import ClipDynamicFace
    from modalities.dynamic_face.embedded import DynamicFace
    from modalities.encoders.clip import Clip
    from modalities.face_networks.recognise import FaceRecogniser
    from modalities.face_networks.registry import Kind
    from modalities.scene_context.embedded import SceneContext
    from modalities.scene_context.qwen_vl import QwenVL
    from modalities.scene_labels.zero_shot import SceneLabels
    from modalities.static_face.embedded import StaticFace
    from modalities.static_face.image_classifier import ImageClassifier
    from modalities.text.embedded import Text
    from modalities.text.models import TextClassifier
    from modalities.transcript.decoding import Recogniser
    from modalities.voice.audio_classifier import AudioClassifier
    from modalities.voice.embedded import Voice
    from modalities.voice.speech_encoder import SpeechModel

Loaded = TypeVar("Loaded")
device_named = cache(resolve_device)
"""The device that a setting means on this machine."""


def batches(settings: Settings) -> Batches:
    """What runs the batches of large models: the lane of the settings' device."""
    return lane(device_named(settings.device)).batches


def feeding(settings: Settings, batch: int) -> dict[str, Any]:
    """How a large model is fed: arguments that every `recognise` of one takes."""
    return {"batches": batches(settings), "batch": batch}


def _kept(settings: Settings, key: tuple[Hashable, ...], load: Callable[[], Loaded], files: Path | None = None) -> Loaded:
    """The model from the device's shelf; `files`: the checkpoint or folder whose size says what room it needs.

    Files that have changed since make another model: a process may run for days, and a download come between.
    """
    versions = tuple(_version(part) for part in key if isinstance(part, Path))
    return shelf(device_named(settings.device)).get((key, versions, settings.precision), load, _bytes(files))


def _version(path: Path) -> Hashable:
    """Names, sizes and times of change of a file, or of the files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [(file.name, file.stat()) for file in files if file.is_file()]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


def _bytes(files: Path | None) -> int:
    if files is None:
        return 0
    weights = [files] if files.is_file() else [*files.glob("*.safetensors"), *files.glob("*.bin")]
    return sum(file.stat().st_size for file in weights)


def _options(settings: Settings) -> dict[str, Any]:
    return {"device": device_named(settings.device), "precision": settings.precision}


# Our own small networks


def static_face(settings: Settings) -> "StaticFace":
    """Our network for single faces."""
    from modalities.static_face import embedded as modality

    weights, device = settings.static_face.weights, device_named(settings.device)
    return _kept(settings, ("static_face", weights), lambda: modality.load(weights, device))


def dynamic_face(settings: Settings) -> "DynamicFace":
    """Our network for faces over time, on the features of the network for single faces."""
    from modalities.dynamic_face import embedded as modality

    static, device = static_face(settings), device_named(settings.device)
    weights = settings.dynamic_face.weights
    key = ("dynamic_face", weights, settings.static_face.weights)
    return _kept(settings, key, lambda: modality.load(weights, static, device))


def scene_context(settings: Settings) -> "SceneContext":
    """The sentence encoder and our head for scene descriptions."""
    from modalities.scene_context import embedded as modality

    weights, device = settings.scene_context.weights, device_named(settings.device)
    return _kept(settings, ("scene_context", weights), lambda: modality.load(weights, device))


def voice(settings: Settings) -> "Voice":
    """The speech detector and our network for voices."""
    from modalities.voice import embedded as modality

    weights, device = settings.voice.weights, device_named(settings.device)
    return _kept(settings, ("voice", weights), lambda: modality.load(weights, device))


def text(settings: Settings) -> "Text":
    """The sentence encoder and our head for words."""
    from modalities.text import embedded as modality

    weights, device = settings.text.weights, device_named(settings.device)
    return _kept(settings, ("text", weights), lambda: modality.load(weights, device))


# Large models


def clip(found: LocalModel, settings: Settings, architecture: str = "") -> "Clip":
    """CLIP from a checkpoint; one for every modality that needs it."""
    from modalities.encoders.clip import load_clip

    architecture = architecture or found.architecture
    key = ("clip", found.path, architecture)
    return _kept(settings, key, lambda: load_clip(found.path, architecture, found.tag, **_options(settings)), found.path)


def scene_labels(found: LocalModel, settings: Settings) -> "SceneLabels":
    """CLIP with the prompts of the settings encoded."""
    from modalities.scene_labels import zero_shot as modality

    asked = settings.scene_labels
    loaded, prompts = clip(found, settings, asked.architecture), prompts_path(asked.prompts)
    key = ("scene_labels", found.path, asked.architecture, digest(prompts), asked.temperature)
    return _kept(settings, key, lambda: modality.attach_texts(loaded, prompts, asked.temperature))


def clip_over_time(found: LocalModel, head: Path, settings: Settings) -> "ClipDynamicFace":
    """CLIP's features of faces with a network over time."""
    from modalities.dynamic_face import clip_temporal as modality

    loaded = clip(found, settings)
    device = device_named(settings.device)
    return _kept(settings, ("clip_over_time", found.path, head), lambda: modality.load(loaded, head, device))


def image_classifier(folder: Path, settings: Settings) -> "ImageClassifier":
    """A classifier of single faces from its folder."""
    from modalities.static_face import image_classifier as modality

    labels = settings.static_face.labels
    key = ("image_classifier", folder, labels)
    return _kept(settings, key, lambda: modality.load_image_classifier(folder, labels=labels, **_options(settings)), folder)


def face_network(kind: "Kind", files: tuple[Path, ...], clip: Path | None, settings: Settings) -> "FaceRecogniser":
    """The network of the literature that the settings name for the static or the dynamic face."""
    from modalities.face_networks import recognise as recogniser
    from modalities.face_networks.registry import network_table

    asked = settings.static_face if kind == "static" else settings.dynamic_face
    row = network_table().choose(asked.network, kind)
    options = {"clip": clip, "meanings": asked.labels, "streams": asked.streams, **_options(settings)}
    key = ("face_network", row.name, kind, *files, clip, asked.labels, asked.streams)
    return _kept(settings, key, lambda: recogniser.load(row, kind, files, **options), files[0] if files else clip)


def vision_model(folder: Path, settings: Settings) -> "QwenVL":
    """A vision-language model from its folder."""
    from modalities.scene_context import qwen_vl as modality

    return _kept(settings, ("vision_model", folder), lambda: modality.load_qwen(folder, **_options(settings)), folder)


def audio_classifier(folder: Path, settings: Settings) -> "AudioClassifier":
    """A classifier of voices from its folder."""
    from modalities.voice import audio_classifier as modality

    asked = settings.voice
    options = {"labels": asked.labels, "seconds": asked.seconds, **_options(settings)}
    key = ("audio_classifier", folder, asked.labels, asked.seconds)
    return _kept(settings, key, lambda: modality.load_audio_classifier(folder, **options), folder)


def speech_encoder(folder: Path, head: Path, settings: Settings) -> "SpeechModel":
    """A speech encoder from its folder with a head of its own."""
    from modalities.voice import speech_encoder as modality

    key = ("speech_encoder", folder, head)
    return _kept(settings, key, lambda: modality.load_speech_model(folder, head, **_options(settings)), folder)


def whisper(checkpoint: Path, settings: Settings) -> "Recogniser":
    """Whisper from a checkpoint."""
    from modalities.transcript import whisper as modality

    return _kept(settings, ("whisper", checkpoint), lambda: modality.load(checkpoint, **_options(settings)), checkpoint)


def text_classifier(folder: Path, labels: Path | None, head: Path | None, settings: Settings) -> "TextClassifier":
    """A text classifier from its folder, or Team RAS's mean-pooled network from a checkpoint over that folder's encoder."""
    from modalities.text.models import load_mean_pooled_text, load_text_classifier

    def load() -> "TextClassifier":
        if head is not None:
            return load_mean_pooled_text(head, folder, **_options(settings))
        return load_text_classifier(folder, labels=labels, **_options(settings))

    return _kept(settings, ("text_classifier", folder, labels, head), load, folder)


def centroids(settings: Settings, modalities: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The mean features [7, D] of each emotion in training, of those modalities whose own network is in use."""
    own: dict[str, Callable[[Settings], Any]] = {
        "static_face": static_face, "dynamic_face": dynamic_face, "voice": voice, "text": text,
    }  # fmt: skip
    found = {name: own[name] for name in modalities if name in own and getattr(settings, name).backend == "embedded"}
    if "scene_context" in modalities and not settings.scene_context.reader:
        found["scene_context"] = scene_context
    if "voice" in modalities and settings.voice.backend == "encoder" and settings.voice.head:
        head = settings.voice.head
        found["voice"] = lambda asked: speech_encoder(require_repository(asked.voice.model), head, asked)
    means = {name: load(settings).centroids for name, load in found.items()}
    return {name: values for name, values in means.items() if values is not None}


def shipped_weights(name: str) -> Path:
    """Where the weights of one of our own networks lie."""
    return WEIGHTS_FOLDER / f"{name}.safetensors"
