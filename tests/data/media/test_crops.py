"""Crops: written and read as streams."""

import os
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.media.crops import CropWriter, crops_shape, each_crop, iterate_crops


def some_crops(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def write(path: Path, crops: np.ndarray) -> None:
    with CropWriter(path, crops.shape[1]) as writer:
        for row, crop in enumerate(crops):
            assert writer.append(crop) == row


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1234])
def test_numpy_reads_what_was_streamed(tmp_path: Path, count: int) -> None:
    crops = some_crops(count)
    write(tmp_path / "crops.npy", crops)
    np.testing.assert_array_equal(np.load(tmp_path / "crops.npy", allow_pickle=False), crops)
    assert crops_shape(tmp_path / "crops.npy") == (count, 8)
    assert os.listdir(tmp_path) == ["crops.npy"]


def test_rows_come_in_the_asked_order_and_as_copies(tmp_path: Path) -> None:
    crops = some_crops(20)
    write(tmp_path / "crops.npy", crops)
    rows = np.array([3, 3, 19, 0, 7], np.int64)
    batches = list(iterate_crops(tmp_path / "crops.npy", rows, batch=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert not any(isinstance(batch, np.memmap) or isinstance(batch.base, np.memmap) for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), crops[rows])
    np.testing.assert_array_equal(np.stack(list(each_crop(tmp_path / "crops.npy", rows))), crops[rows])


def test_no_rows_yield_nothing(tmp_path: Path) -> None:
    write(tmp_path / "crops.npy", some_crops(0))
    assert list(iterate_crops(tmp_path / "crops.npy", np.array([], np.int64))) == []


def test_a_row_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "crops.npy", some_crops(2))
    with pytest.raises(IndexError):
        list(iterate_crops(tmp_path / "crops.npy", np.array([2], np.int64)))


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not float64"):
        write(tmp_path / "crops.npy", some_crops(3).astype(float))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"not numpy at all", None])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "crops.npy"
    if content is None:
        np.save(path, np.zeros((3, 4)))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="crops.npy"):
        list(iterate_crops(path, np.array([0], np.int64)))
