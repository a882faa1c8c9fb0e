"""What a network of the face is shown of a file: an image, a video, a .npy of crops, or a folder of images in order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.media.limits import USUAL
from data.media.probe import check_still
from modalities.face_networks.prepare import FRAME_RATE, resized, view_frames
from modalities.face_networks.registry import NetworkInput
from modalities.faces.crops import Pixels

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Of the images in a folder."""


def frame_indices(count: int, reads: NetworkInput, chance: np.random.Generator | None = None) -> NDArray[np.int64]:
    """Indices [V, T] of the frames that a network sees of a clip of `count` frames: as in recognition, or one view at random.

    At random: a frame of each of T equal parts (temporal segments, Wang et al. 2016), or a run of frames with the row's stride;
    what a short clip lacks is its last frame once more.
    """
    if chance is None:
        return np.stack(view_frames(np.arange(count) / FRAME_RATE, reads))
    if reads.stride and reads.frames > 1:
        room = max(count - (reads.frames - 1) * reads.stride - 1, 0)
        found = chance.integers(0, room + 1) + reads.stride * np.arange(reads.frames)
    elif count < reads.frames:
        found = np.arange(reads.frames)
    else:
        edges = np.linspace(0, count, reads.frames + 1)
        found = (edges[:-1] + chance.random(reads.frames) * np.diff(edges)).astype(np.int64)
    return np.asarray(np.minimum(found, count - 1)[None], np.int64)


def read_views(path: str, reads: NetworkInput, chance: np.random.Generator | None = None) -> Pixels:
    """The frames of a sample as a network sees them: RGB uint8 [V, T, S, S, 3]; see `frame_indices`.

    InputError, which names the file, when it cannot be read.
    """
    try:
        return _read_views(Path(path), reads, chance)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as face crops ({error}); correct the manifest or copy the file again."
        ) from error


def _read_views(path: Path, reads: NetworkInput, chance: np.random.Generator | None) -> Pixels:
    """The views of a folder of images, an image, an array of crops or a video; ValueError where it holds no image."""
    frames: Sequence[Path | Pixels] | Pixels
    if path.is_dir():
        frames = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        frames = [_read_image(path)]
    elif path.suffix.lower() == ".npy":
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
        frames = _read_video(path)
    if not len(frames):
        raise ValueError("there is no picture in it")
    chosen = frame_indices(len(frames), reads, chance)
    seen = (frames[number] for number in chosen.ravel().tolist())
    images = [_read_image(frame) if isinstance(frame, Path) else np.asarray(frame) for frame in seen]
    squares = resized(images, reads).round().byte().permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(squares).reshape(*chosen.shape, reads.size, reads.size, 3)


def _read_image(path: Path) -> Pixels:
    import cv2

    if path.is_file():
        check_still(path, USUAL)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("it is no picture" if path.is_file() else "it is not there")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _read_video(path: Path) -> list[Pixels]:
    import av

    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]
