"""The journal of a data set: a line for every clip that ended, only ever appended, so that nothing that is done is done again."""

import hashlib
import json
import os
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Ended = Literal["done", "degraded", "failed"]
FOLD = 65_536
"""So many new lines are found through a dictionary before they join the sorted arrays, which take a tenth of the memory."""


@dataclass(frozen=True)
class Entry:
    """How a clip ended: `fingerprint` of what went in, a sentence for what went wrong, seconds by stage, the answer in short.

    clip_id: of its row; folder: the name of its run folder where that is another.
    """

    clip_id: str
    fingerprint: str
    state: Ended
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    ended: float = 0.0
    folder: str = ""

    @property
    def run_folder(self) -> str:
        """The name of the clip's run folder, which is the clip's id for whoever reads the answers."""
        return self.folder or self.clip_id


class Journal:
    """The journal in one file. A line that is damaged, such as one cut off by a crash, is as if it were not there.

    by_folder: clips are found by the names of their run folders, not by the ids of their rows.
    """

    def __init__(self, path: Path, by_folder: bool = False) -> None:
        self._by_folder = by_folder
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._keys, self._places = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self._recent: dict[int, int] = {}
        self._stream = path.open("a+b")
        self._end = self._read()

    def _read(self) -> int:
        """Note where each line begins; returns where the file ends, on a line of its own."""
        keys, places, place, line = array("Q"), array("Q"), 0, b"\n"
        self._stream.seek(0)
        for line in self._stream:
            entry = _entry(line)
            if entry is not None:
                keys.append(_key(self._name(entry)))
                places.append(place)
            place += len(line)
        self._fold(np.array(keys, np.uint64), np.array(places, np.uint64))
        if not line.endswith(b"\n"):
            self._stream.write(b"\n")
            place += 1
        return place

    def _fold(self, keys: NDArray[np.uint64], places: NDArray[np.uint64]) -> None:
        """Take in further lines; of a clip's lines the last one counts."""
        keys, places = np.concatenate([self._keys, keys]), np.concatenate([self._places, places])
        order = np.lexsort((places, keys))
        keys, places = keys[order], places[order]
        last = np.ones(len(keys), bool)
        last[:-1] = keys[1:] != keys[:-1]
        self._keys, self._places = keys[last], places[last]

    def add(self, entry: Entry) -> None:
        """Append a clip's line; it is the system's from then on, and outlives this process however that ends."""
        line = json.dumps(asdict(entry), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._stream.seek(0, os.SEEK_END)
        self._stream.write(line)
        self._stream.flush()
        self._recent[_key(self._name(entry))] = self._end
        self._end += len(line)
        if len(self._recent) >= FOLD:
            self._fold(np.array(list(self._recent), np.uint64), np.array(list(self._recent.values()), np.uint64))
            self._recent.clear()

    def _name(self, entry: Entry) -> str:
        return entry.run_folder if self._by_folder else entry.clip_id

    def latest(self, name: str) -> Entry | None:
        """How a clip ended last; None when it never did."""
        place = self._place(_key(name))
        if place is None:
            return None
        self._stream.seek(place)
        entry = _entry(self._stream.readline())
        return entry if entry is not None and self._name(entry) == name else None

    def _place(self, key: int) -> int | None:
        if key in self._recent:
            return self._recent[key]
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        return int(self._places[at]) if at < len(self._keys) and int(self._keys[at]) == key else None

    def __len__(self) -> int:
        """Clips that have ended at least once."""
        return len(self._keys) + sum(1 for key in self._recent if not self._has_old(key))

    def _has_old(self, key: int) -> bool:
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        return at < len(self._keys) and int(self._keys[at]) == key

    def sync(self) -> None:
        """Have the disk hold what was appended, against a loss of power too."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()


def _key(clip_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest())


def _entry(line: bytes) -> Entry | None:
    try:
        return Entry(**json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None
