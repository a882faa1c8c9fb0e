"""Face images and clips as a network's row in the table wants them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from modalities.face_networks.registry import NetworkInput
from modalities.faces.crops import Pixels

if TYPE_CHECKING:
    from torch import Tensor

FRAME_RATE = 25.0
"""Frames a second by which strides are counted: that of the corpora's videos."""
MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest-exact"}


def prepared(images: Sequence[Pixels], asked: NetworkInput, device: str = "cpu") -> "Tensor":
    """RGB images uint8 [H, W, 3], in any sizes, -> float32 [B, 3, size, size]; InputError for another shape or type."""
    import torch

    planes = resized(images, asked, device)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (asked.mean, asked.std))
    planes = (planes / 255 - mean) / std
    return planes.flip(1) if asked.channels == "bgr" else planes


def resized(images: Sequence[Pixels], asked: NetworkInput, device: str = "cpu") -> "Tensor":
    """The same before they are normalised: float32 [B, 3, size, size] in 0..255, RGB."""
    import torch

    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"A face picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}; convert it.")
    if len({image.shape for image in images}) == 1:  # one copy to the device, and one resizing
        return _resized(np.stack(images), asked, device)
    return torch.cat([_resized(image[None], asked, device) for image in images])


def _resized(images: NDArray[np.uint8], asked: NetworkInput, device: str) -> "Tensor":
    """[B, H, W, 3] -> float32 [B, 3, size, size] in 0..255."""
    import torch
    from torch.nn import functional

    planes = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float()
    if planes.shape[2:] == (asked.size, asked.size):
        return planes
    smooth = asked.resize != "nearest"
    side, aligned = (asked.size, asked.size), False if smooth else None
    found = functional.interpolate(planes, side, mode=MODES[asked.resize], antialias=smooth, align_corners=aligned)
    return found.clamp(0, 255)


def view_frames(times: NDArray[np.float64], asked: NetworkInput) -> list[NDArray[np.int64]]:
    """Which of the frames at `times` (s, ascending) a network sees: indices [frames] for each of at most `views` views.

    Without a stride: the middle of each of `frames` equal parts; fewer frames are all taken and the last one repeated. With one:
    the frames nearest to times `stride / 25` s apart, the first view from the beginning, the last one to the end; a clip that is
    no longer than a view has one, whose end repeats the last frame.
    """
    count = len(times)
    if count == 0:
        raise InputError("A clip without frames cannot be answered; leave it out.")
    if not asked.stride:
        return [_even_frames(count, asked.frames)]
    steps = np.arange(asked.frames) * asked.stride / FRAME_RATE
    room = times[-1] - times[0] - steps[-1]
    starts = times[0] + (np.linspace(0, room, asked.views) if room > 0 and asked.views > 1 else np.zeros(1))
    return [_nearest_frames(times, start + steps) for start in starts]


def _even_frames(count: int, frames: int) -> NDArray[np.int64]:
    """The middle of each of `frames` equal parts; fewer frames are all taken, the last one again and again."""
    if count <= frames:
        return np.minimum(np.arange(frames), count - 1)
    part = count / frames
    return np.array([int(part / 2 + part * number) for number in range(frames)], np.int64)


def _nearest_frames(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the times nearest to those wanted, the earlier of two equally near."""
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    found: NDArray[np.int64] = np.where(np.abs(times[before] - wanted) <= np.abs(times[after] - wanted), before, after)
    return found
