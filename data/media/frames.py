"""The frame store: the sampled pictures of a clip as JPEGs in a row, and the index that finds and times them."""

from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.files import atomic_path

JPEG_QUALITY = 92
TICK_SLACK = 1e-3
"""Seconds by which a frame may miss its tick: containers round times to milliseconds."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One sampled picture: its 0-based number among all frames of the video, its time (s), uint8 RGB [H, W, 3].

    `scale` >= 1 turns pixels of `rgb` into pixels of the source: x_source = scale * x.
    """

    frame: int
    time_s: float
    rgb: NDArray[np.uint8]
    scale: float = 1.0


class Ticks:
    """Chooses the first frame at or after each tick k / rate; safe for variable frame rates."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0

    def takes(self, time_s: float) -> bool:
        """True when the frame at `time_s` (s, never before the last one asked) is the first one of its tick."""
        if time_s < self._next - TICK_SLACK:
            return False
        self._next = (np.floor((time_s + TICK_SLACK) * self._rate) + 1) / self._rate
        return True


class FrameWriter:
    """Writes a frame store: `add` every frame of the video in order, with what makes its picture (uint8 BGR) when sampled.

    Pictures are made and packed in a thread of the writer's own, one at a time, while the next frames are decoded.
    """

    def __init__(self, frames: Path, scale: float) -> None:
        self._stream: BinaryIO = frames.open("wb")
        self._scale = scale
        self._times, self._sizes = array("d"), array("q")
        self._thread, self._packing = ThreadPoolExecutor(1, "pictures"), Future[None]()
        self._packing.set_result(None)
        self.size = 0

    def add(self, time_s: float, picture: Callable[[], NDArray[np.uint8]] | None) -> None:
        """Note a frame at `time_s` (s) and keep its picture; OSError, also of the picture before, when the disk is full."""
        self._times.append(time_s)
        self._sizes.append(0)
        if picture is not None:
            self._packing.result()
            self._packing = self._thread.submit(self._pack, len(self._sizes) - 1, picture)

    def _pack(self, number: int, picture: Callable[[], NDArray[np.uint8]]) -> None:
        import cv2

        _, jpeg = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        self._sizes[number] = self._stream.write(jpeg.data)
        self.size += self._sizes[number]

    def write_index(self, index: Path) -> None:
        """Write the index (parquet: frame, time_s, sampled, offset, size; offset -1 where not sampled)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._packing.result()
        size = np.array(self._sizes, np.int64)
        table = pa.table({
            "frame": np.arange(len(size), dtype=np.int32),
            "time_s": np.array(self._times, np.float64),
            "sampled": size > 0,
            "offset": np.where(size > 0, np.cumsum(size) - size, -1),
            "size": size,
        }, metadata={"scale": repr(self._scale)})
        with atomic_path(index) as aside:
            pq.write_table(table, aside)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self._stream.close()


def read_index(index: Path) -> pd.DataFrame:
    """The index of a frame store: one row for every frame of the video: frame, time_s, sampled, offset, size."""
    return pd.read_parquet(index)


def read_scale(index: Path) -> float:
    """Pixels of the source for each pixel of the stored pictures, >= 1."""
    import pyarrow.parquet as pq

    return float((pq.read_schema(index).metadata or {}).get(b"scale", b"1"))


def read_frames(frames: Path, index: Path, fps: float | None = None) -> Iterator[Frame]:
    """Stream the sampled pictures in time order; `fps` keeps at most so many a second. InputError when a picture is damaged.

    Two are in memory at a time: the next one is unpacked, in a thread, while one is looked at.
    """
    scale, rows = read_scale(index), read_index(index)
    rows = rows[rows["sampled"]]
    columns = ("frame", "time_s", "offset", "size")
    ticks = Ticks(fps) if fps else None
    with frames.open("rb") as stream, ThreadPoolExecutor(1, "pictures") as thread:
        coming: Future[Frame] | None = None
        for number, time_s, offset, size in zip(*(rows[name].tolist() for name in columns), strict=True):
            if ticks is None or ticks.takes(time_s):
                stream.seek(offset)
                ready, jpeg = coming, stream.read(size)
                coming = thread.submit(_unpacked, jpeg, frames, number, time_s, scale)
                if ready is not None:
                    yield ready.result()
        if coming is not None:
            yield coming.result()


def _unpacked(jpeg: bytes, source: Path, number: int, time_s: float, scale: float) -> Frame:
    import cv2

    rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB) if jpeg else None
    if rgb is None:
        raise InputError(f"A picture in {source} is damaged; run the clip again with --fresh.")
    return Frame(number, time_s, np.asarray(rgb, np.uint8), scale)
