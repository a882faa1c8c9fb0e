"""Windows: the 4 s pieces, shifted by 2 s, for which every modality answers."""

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.float64]
"""Start and end in seconds, shape [N, 2]."""
Cut = Callable[[float], Windows]
"""Cuts a duration (s) into windows: whoever cuts is given the settings' own way (`configs.schema.WindowSettings.cut`)."""
LENGTH, SHIFT, SHORTEST = 4.0, 2.0, 1.0
"""Seconds of a window, from one's start to the next, and of the shortest tail that is kept: the settings' defaults."""


def make_windows(duration: float, length: float = LENGTH, shift: float = SHIFT, shortest: float = SHORTEST) -> Windows:
    """Cut `duration` seconds into windows [N, 2]; a clip of at most `length` is one window, a tail of `shortest` is kept.

    The rule of RAS (arXiv 2507.02205): starts at 0, shift, 2*shift ...; the last window ends with the clip.
    """
    if duration <= length:
        return np.array([[0.0, max(duration, 0.0)]])
    # Of k * shift, as a running sum would drift and cut once too often; 1e-9 takes up the rounding of the division itself.
    whole = ceil((duration - length) / shift - 1e-9)
    rows = [(k * shift, k * shift + length) for k in range(whole)]
    if duration - whole * shift >= shortest - 1e-9:
        rows.append((whole * shift, duration))
    return np.array(rows)


def windows_of(times: NDArray[np.float64], windows: Windows) -> NDArray[np.bool_]:
    """Membership [N, T]: which of `times` (s) lie in which window (start inclusive, end exclusive but for the last)."""
    starts, ends = windows[:, :1], windows[:, 1:]
    inside = (times[None, :] >= starts) & (times[None, :] < ends)
    inside |= (times[None, :] >= ends.max()) & (ends == ends.max())
    return inside
