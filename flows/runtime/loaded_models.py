"""Models by what settings ask for, each in the cache of its device, and how large ones are fed."""

from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from typing import TypedDict, TypeVar

from configs.settings import Settings
from data.precision import Precision
from flows.runtime.batch_queue import batch_queue
from flows.runtime.model_cache import model_cache
from modalities.loading.batching import Batches
from modalities.loading.devices import resolve_device

Loaded = TypeVar("Loaded")
device_named = cache(resolve_device)
"""The device that a setting means on this machine."""


class Feeding(TypedDict):
    """How a large model is fed: what runs its batches, and how many items a batch has."""

    batches: Batches
    batch: int


class Placing(TypedDict):
    """Where a large model runs, and in which type it computes."""

    device: str
    precision: Precision


def batches(settings: Settings) -> Batches:
    """What runs the batches of large models: the queue of the settings' device."""
    return batch_queue(device_named(settings.device)).batches


def feeding(settings: Settings, batch: int) -> Feeding:
    """The arguments with which every `recognise` of a large model is fed."""
    return {"batches": batches(settings), "batch": batch}


def placing(settings: Settings) -> Placing:
    """The arguments with which every large model is loaded."""
    return {"device": device_named(settings.device), "precision": settings.precision}


def loaded(settings: Settings, key: tuple[Hashable, ...], load: Callable[[], Loaded], files: Path | None = None) -> Loaded:
    """The model of `key` from the device's cache; `files`: the checkpoint or folder whose size says what room it needs.

    Files of the key that have changed since make another model: a process may run for days, and a download come between.
    """
    versions = tuple(_version(part) for part in key if isinstance(part, Path))
    return model_cache(device_named(settings.device)).get((key, versions, settings.precision), load, _bytes(files))


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
