"""`crops.npy`: face crops [M, S, S, 3], written and read as streams, so that memory does not grow with the clip."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from data.errors import InputError
from data.files import atomic_path


class CropWriter:
    """Append uint8 RGB crops [S, S, 3] to a `.npy` file, one row each.

    A context manager: the file appears under its name when the block ends well, and not at all when it fails.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Prepare to write crops of `size` x `size` pixels to `path`."""
        self.path, self.size, self.count = path, size, 0
        self._stack = contextlib.ExitStack()
        self._stream: BinaryIO

    def __enter__(self) -> Self:
        """Open the file beside its final place, with room left in the header for the number of rows."""
        with contextlib.ExitStack() as stack:
            self._stream = stack.enter_context(stack.enter_context(atomic_path(self.path)).open("wb"))
            self._write_header()
            self._stack = stack.pop_all()
        return self

    def append(self, crop: NDArray[np.uint8]) -> int:
        """Write one crop and return its row; ValueError when it is not uint8 of the writer's size."""
        if crop.shape != (self.size, self.size, 3) or crop.dtype != np.uint8:
            raise ValueError(f"a crop is uint8 [{self.size}, {self.size}, 3], not {crop.dtype} {list(crop.shape)}")
        self._stream.write(np.ascontiguousarray(crop).data)
        self.count += 1
        return self.count - 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the true number of rows into the header and rename the file, or remove it after an error."""
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._stream.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        # Version 1.0 pads the header so that a longer first axis keeps its length: rows can be counted afterwards.
        shape = (self.count, self.size, self.size, 3)
        npy.write_array_header_1_0(self._stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


def crops_shape(path: Path) -> tuple[int, int]:
    """Number and size (pixels) of the crops in `path`; InputError when it is not a file of crops."""
    try:
        with path.open("rb") as stream:
            if npy.read_magic(stream) != (1, 0):
                raise ValueError("another version of the format")
            shape, _, kind = npy.read_array_header_1_0(stream)
        if kind != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise ValueError(f"an array {kind} {list(shape)}")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} does not hold crops, uint8 [M, S, S, 3] ({error}); find the faces again.") from error
    return int(shape[0]), int(shape[1])


def iterate_crops(path: Path, rows: NDArray[np.int64], batch: int = 256) -> Iterator[NDArray[np.uint8]]:
    """Yield the crops of `rows`, in that order, as copies [b, S, S, 3] with b at most `batch`.

    The file is mapped anew for each batch: pages that were read leave memory with the mapping. InputError when the
    file is not one of crops, IndexError when it has no such row.
    """
    for start in range(0, len(rows), batch):
        crops_shape(path)
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        crops = np.array(mapped[rows[start : start + batch]], copy=True)
        del mapped
        yield crops


def each_crop(path: Path, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the crops of `rows` one by one, [S, S, 3] each, read as `iterate_crops` reads them."""
    for crops in iterate_crops(path, rows):
        yield from crops
