"""Loaded models: each loaded once in a process whichever task asks first, and kept while the device's memory allows.

A model that is put aside for another one and still in use somewhere is found again when it is asked for, so that no weights
are ever in memory twice.
"""

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from flows.runtime.spent import loading
from modalities.loading.batching import free_memory, is_out_of_memory

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")
Storages = dict[int, int]
SHARE = 0.7
"""Share of a device's free memory that models may fill; the rest is for what they compute."""
GROUPS = Path("/sys/fs/cgroup")
GROUP_FILES = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of version 2 and 1: the folder, its files with the limit and with what is used, and the line of memory.stat."""


class ModelCache:
    """The models of one device, the least recently used first; `room` is the number of bytes they may take together."""

    def __init__(self, device: str, room: int | None = None) -> None:
        self.device, self._room = device, room
        self._kept: OrderedDict[Hashable, tuple[object, Storages]] = OrderedDict()
        self._alive: weakref.WeakValueDictionary[Hashable, object] = weakref.WeakValueDictionary()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._guard = threading.RLock()

    def get(self, key: Hashable, load: Callable[[], Loaded], expected: int = 0) -> Loaded:
        """The model of `key`, from `load` when it is not in memory; `expected`: bytes to make room for beforehand."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            model = cast("Loaded | None", self._found(key))
            if model is None:
                self._make_room(expected)
                with loading():
                    model = self._loaded(load)
                self._keep(key, model)
            return model

    def names(self) -> list[Hashable]:
        """The keys of the models that are kept, the least recently used first."""
        with self._guard:
            return list(self._kept)

    def size(self) -> int:
        """Bytes of the models that are kept; what two of them share counts once."""
        with self._guard:
            return sum({address: size for _, storages in self._kept.values() for address, size in storages.items()}.values())

    def _found(self, key: Hashable) -> object:
        with self._guard:
            model = self._alive.get(key)
            if model is not None and key in self._kept:
                self._kept.move_to_end(key)
            elif model is not None:
                self._keep(key, model)
            return model

    def _loaded(self, load: Callable[[], Loaded]) -> Loaded:
        """Load; when the memory is too small, once more with everything else put aside."""
        try:
            return load()
        except Exception as error:
            if not (is_out_of_memory(error) and self._kept):
                raise
        self._put_aside(0)
        return load()

    def _keep(self, key: Hashable, model: object) -> None:
        storages = storages_of(model)
        self._make_room(sum(storages.values()))
        with self._guard:
            self._kept[key] = (model, storages)
            self._alive[key] = model

    def _make_room(self, size: int) -> None:
        if self._kept and size:
            self._put_aside(max(self.room() - size, 0))

    def _put_aside(self, most: int) -> None:
        """Let go of the least recently used models until those kept take `most` bytes."""
        gone = False
        with self._guard:
            while self._kept and self.size() > most:
                key, (_, storages) = self._kept.popitem(last=False)
                logger.info("put aside %s (%.1f MB) on %s", key, sum(storages.values()) / 1e6, self.device)
                gone = True
        if gone:
            free_memory()

    def room(self) -> int:
        """Bytes that models may take together: as set, else a share of what is free and what they have already."""
        if self._room is not None:
            return self._room
        return int(SHARE * (free_bytes(self.device) + self.size()))


_caches: dict[str, ModelCache] = {}
_guard = threading.Lock()


def model_cache(device: str) -> ModelCache:
    """The one cache of a device."""
    with _guard:
        return _caches.setdefault(device, ModelCache(device))


def free_bytes(device: str) -> int:
    """Memory of a device that nobody uses, bytes; of a processor also within the limit of its control group."""
    import psutil

    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    return min(free, *left_in_group())


def left_in_group(groups: Path = GROUPS) -> list[int]:
    """Bytes that the limit of the control group leaves, of version 2 or 1; empty without a limit. Files that were read and can be
    dropped from memory at any time (inactive_file) are not counted as used, as `docker stats` does."""
    found = []
    for folder, limit, used, files in GROUP_FILES:
        most, taken = (_number(groups / folder / name) for name in (limit, used))
        if most is not None and taken is not None:
            found.append(most - max(taken - _number_in(groups / folder / "memory.stat", files), 0))
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no control groups here, or the limit is "max"
        return None


def _number_in(path: Path, name: str) -> int:
    """The number behind a name in lines of both; 0 without."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)


def storages_of(model: object) -> Storages:
    """Address and bytes of every storage of tensors in a model (a network, or a dataclass that holds networks)."""
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(model)}


def _tensors(part: object) -> Iterator["torch.Tensor"]:
    import torch

    if isinstance(part, torch.Tensor):
        if part.layout is torch.strided:  # Whisper's sparse table of heads is a few bytes without a storage of its own
            yield part
    elif isinstance(part, torch.nn.Module):
        for tensor in (*part.parameters(), *part.buffers()):
            yield from _tensors(tensor)
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _tensors(getattr(part, field.name))
