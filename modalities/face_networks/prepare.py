"""Face pictures and clips as a network's row in the table wants them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from modalities.face_networks.registry import NetworkInput

if TYPE_CHECKING:
    from torch import Tensor

Picture = NDArray[np.uint8]
FRAME_RATE = 25.0
"""Frames a second by which strides are counted: that of the corpora's videos."""
MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest-exact"}


def prepared(pictures: Sequence[Picture], asked: NetworkInput, device: str = "cpu") -> "Tensor":
    """RGB pictures uint8 [H, W, 3], in any sizes, -> float32 [B, 3, size, size]; InputError for another shape or type."""
    import torch

    planes = resized(pictures, asked, device)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (asked.mean, asked.std))
    planes = (planes / 255 - mean) / std
    return planes.flip(1) if asked.channels == "bgr" else planes


def resized(pictures: Sequence[Picture], asked: NetworkInput, device: str = "cpu") -> "Tensor":
    """The same before they are normalised: float32 [B, 3, size, size] in 0..255, RGB."""
    import torch

    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(f"A face picture must be uint8 [H, W, 3], not {picture.dtype} {list(picture.shape)}; convert it.")
    if len({picture.shape for picture in pictures}) == 1:  # one copy to the device, and one resizing
        return _resized(np.stack(pictures), asked, device)
    return torch.cat([_resized(picture[None], asked, device) for picture in pictures])


def _resized(pictures: NDArray[np.uint8], asked: NetworkInput, device: str) -> "Tensor":
    """[B, H, W, 3] -> float32 [B, 3, size, size] in 0..255."""
    import torch
    from torch.nn import functional

    planes = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float()
    if planes.shape[2:] == (asked.size, asked.size):
        return planes
    options: dict[str, Any] = {} if asked.resize == "nearest" else {"antialias": True, "align_corners": False}
    resized = functional.interpolate(planes, (asked.size, asked.size), mode=MODES[asked.resize], **options)
    return resized.clamp(0, 255)


def places_in_time(times: NDArray[np.float64], asked: NetworkInput) -> list[NDArray[np.int64]]:
    """Which of the frames at `times` (s, ascending) a network sees: positions [frames] for each of at most `views` views.

    Without a stride: the middle of each of `frames` equal parts; fewer frames are all taken and the last one repeated. With one:
    the frames nearest to times `stride / 25` s apart, the first view from the beginning, the last one to the end; a clip that is
    no longer than a view has one, whose end repeats the last frame.
    """
    count = len(times)
    if count == 0:
        raise InputError("A clip without frames cannot be answered; leave it out.")
    if not asked.stride:
        return [_even_places(count, asked.frames)]
    steps = np.arange(asked.frames) * asked.stride / FRAME_RATE
    room = times[-1] - times[0] - steps[-1]
    starts = times[0] + (np.linspace(0, room, asked.views) if room > 0 and asked.views > 1 else np.zeros(1))
    return [_nearest(times, start + steps) for start in starts]


def _even_places(count: int, frames: int) -> NDArray[np.int64]:
    if count <= frames:
        return np.minimum(np.arange(frames), count - 1)
    part = count / frames
    return np.array([int(part / 2 + part * number) for number in range(frames)], np.int64)


def _nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of the times nearest to those wanted, the earlier of two equally near."""
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    places: NDArray[np.int64] = np.where(np.abs(times[before] - wanted) <= np.abs(times[after] - wanted), before, after)
    return places
