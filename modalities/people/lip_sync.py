"""Whether a mouth fits the sound: how far it opens, and how fast it moves, against the loudness of the speech.

Of a dubbed film, or one whose sound is out of step, mouths move while somebody speaks and yet do not go with what is heard.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalities.speech.detect import SAMPLE_RATE, read_blocks

Floats = NDArray[np.float64]
STEP, AROUND = 0.02, 0.1
"""Seconds between two values of loudness, and on either side of a look at a mouth that count."""
LAG = 0.05
"""Seconds by which a mouth that is looked at comes after the sound that it fits best, of real clips."""
SHORTEST = 5
"""Looks at a mouth in one track, without which nothing is learnt from it."""
LEAST = 12.0
"""Seconds for which a mouth must be seen while nobody else speaks; for half as long its person must speak."""
LONGEST_STEP = 0.5
"""Seconds from one look at a mouth to the next beyond which nothing is known of what it did between."""
PLAIN, FAINT = 3.5, 20.0
"""Decibels by which the loudness must change from one look to the next, on average over those at which something is heard (at
most FAINT less than what a tenth of the looks exceeds): a band or applause goes on while a mouth closes. Songs and applause of
the real clips have 2.0 to 2.9, speech alone 3.9 to 8.5, with music as loud at most 3.3."""


def loudness(audio: Path) -> Floats:
    """The mean square of each STEP of a 16 kHz mono WAV."""
    size, found, rest = round(STEP * SAMPLE_RATE), [np.zeros(0)], np.zeros(0, np.float32)
    for block in read_blocks(audio):
        joined = np.concatenate([rest, block])
        whole = len(joined) // size * size
        found.append((joined[:whole].reshape(-1, size).astype(np.float64) ** 2).mean(1))
        rest = joined[whole:]
    return np.concatenate(found)


def loud_at(loud: Floats, times: Floats) -> Floats:
    """The loudness (log10 of the root mean square, at least -3) around times (s)."""
    sums = np.concatenate([[0.0], np.cumsum(loud)])
    first, last = (np.clip(np.round((times - LAG + side) / STEP), 0, len(loud)).astype(int) for side in (-AROUND, AROUND))
    return np.asarray(np.log10(np.sqrt((sums[last] - sums[first]).clip(0) / np.maximum(last - first, 1)) + 1e-3))


def lip_sync(mouths: pd.DataFrame, others: Sequence[tuple[float, float]], loud: Floats, least: float = LEAST) -> float:
    """How well the mouths of one person (`track_id`, `time_s`, `mouth`) fit the sound, but while `others` speak (from, to; s).

    The mean of two rank correlations, -1..1: of how far the lips are apart with the loudness then, and of how much they have
    moved since the last look with the loudness between; pauses count, too. NaN with less than `least` seconds, and where the
    sound is not PLAIN: of a mouth that sings over a band nobody can say whether it fits.
    """
    tracks = _tracks(mouths, others)
    parts = [part for track in tracks if (part := _compared(*track, loud)) is not None]
    if not parts or sum(seconds for seconds, *_ in parts) < least or not _is_plain(tracks, loud):
        return float("nan")
    opening, moving = (np.concatenate([part[number] for part in parts]) for number in (1, 2))
    return float((opening.mean() + moving.mean()) / 2)


def _tracks(mouths: pd.DataFrame, others: Sequence[tuple[float, float]]) -> list[tuple[Floats, Floats]]:
    """Times and openings of a mouth, track by track, without those at which somebody else speaks."""
    found = []
    for _, track in mouths.dropna(subset=["mouth"]).sort_values("time_s").groupby("track_id"):
        times, opening = track["time_s"].to_numpy(np.float64), track["mouth"].to_numpy(np.float64)
        own = np.ones(len(times), bool)
        for start, end in others:
            own &= (times < start) | (times > end)
        found.append((times[own], opening[own]))
    return [track for track in found if len(track[0]) >= SHORTEST]


def _is_plain(tracks: Sequence[tuple[Floats, Floats]], loud: Floats) -> bool:
    """Whether the loudness changes enough from look to look to be compared with a mouth."""
    heard = [20 * loud_at(loud, times) for times, _ in tracks]
    near = np.concatenate([np.diff(times) <= LONGEST_STEP for times, _ in tracks])
    changes = np.concatenate([np.abs(np.diff(levels)) for levels in heard])
    loudest = np.concatenate([np.maximum(levels[1:], levels[:-1]) for levels in heard])
    counted = near & (loudest >= np.percentile(np.concatenate(heard), 90) - FAINT)
    return bool(changes[counted].mean() >= PLAIN) if counted.any() else False


def _compared(times: Floats, opening: Floats, loud: Floats) -> tuple[float, Floats, Floats] | None:
    """Seconds of a track, and the products whose means are the two correlations."""
    step = np.diff(times)
    near = step <= LONGEST_STEP
    between, moved = ((times[1:] + times[:-1]) / 2)[near], np.abs(np.diff(opening))[near]
    pairs = (opening, loud_at(loud, times)), (moved, loud_at(loud, between))
    if any(len(one) < SHORTEST or np.std(one) < 1e-6 for pair in pairs for one in pair):
        return None
    first, second = (_standard(mouth) * _standard(sound) for mouth, sound in pairs)
    return float(step[near].sum()), first, second


def _standard(values: Floats) -> Floats:
    """Ranks, of equal values their mean, of mean 0 and variance 1: one silent beginning or one wide yawn does not decide."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)  # SciPy's take half a second to import
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return np.asarray((ranks - ranks.mean()) / ranks.std())
