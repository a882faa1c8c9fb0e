"""The channels of sound, where a plain mix to one would lose what a person hears."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

LOUD = 1e-6
"""Mean square from which on a piece of sound tells anything (-60 dB of the loudest)."""
CANCELLED, MIXED = 0.02, 0.2
"""Of the power of two channels what their mean has where they cancel each other at most, and where they no longer do at least."""
AROUND = 0.05
"""The same for more channels, beside those: of these one may hold the speech and the louder others the music that cancels."""


class Mixable:
    """Makes pieces of sound such that FFmpeg mixes them to one channel well.

    Of channels that cancel each other (one is the other turned round) the loudest one is taken; `cancelled` are those seconds.
    Channels that nothing says the places of are averaged: FFmpeg guesses up to eight.
    """

    def __init__(self) -> None:
        self._cancels = False
        self.cancelled = 0.0

    def __call__(self, frame: "av.AudioFrame") -> "av.AudioFrame":
        """The piece itself, or one with one channel."""
        channels = frame.layout.nb_channels
        if channels > 8 and frame.layout.name.endswith(" channels"):
            return _with_one_channel(frame, _samples(frame).mean(axis=0))
        if not 2 <= channels <= 8:
            return frame
        samples = _samples(frame)
        power = (samples**2).mean(axis=1)
        mean = float((samples.mean(axis=0) ** 2).mean())
        if power.mean() > LOUD:
            share = (MIXED if self._cancels else CANCELLED) * (1.0 if channels == 2 else AROUND)
            self._cancels = mean < share * power.mean()
        if not self._cancels:
            return frame
        self.cancelled += frame.samples / frame.sample_rate
        return _with_one_channel(frame, samples[int(power.argmax())])


def is_silent(frame: "av.AudioFrame") -> bool:
    """Whether nothing can be heard in a piece of sound, in any of its channels."""
    return bool((_samples(frame) ** 2).mean(axis=1).max(initial=0.0) <= LOUD)


def _samples(frame: "av.AudioFrame") -> NDArray[np.float64]:
    """Samples [channels, N] from -1 to 1."""
    stored = frame.to_ndarray()
    if not frame.format.is_planar:
        stored = stored.reshape(-1, frame.layout.nb_channels).T
    samples: NDArray[np.float64] = stored.astype(np.float64)
    if stored.dtype.kind != "f":
        whole = np.iinfo(stored.dtype)
        middle = (float(whole.max) + float(whole.min) + 1) / 2
        samples = (samples - middle) / (float(whole.max) + 1 - middle)
    return np.asarray(np.nan_to_num(samples))


def _with_one_channel(frame: "av.AudioFrame", samples: NDArray[np.float64]) -> "av.AudioFrame":
    import av

    mixed = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="flt", layout="mono")
    mixed.sample_rate, mixed.pts, mixed.time_base = frame.sample_rate, frame.pts, frame.time_base
    return mixed
