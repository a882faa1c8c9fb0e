"""From overlapping windows to moments (frames) and to a timeline of stretches; windows in their context."""

from collections.abc import Sequence
from itertools import groupby
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from data.emotions import BASIC_EMOTIONS, Compound
from data.fused import Fusion, Moments, OverTime, Stretch
from data.windows import Windows
from fusion.arrays import Flags, Floats, Integers, as_distribution, ratio
from fusion.compose import compound_distribution, pairs_of, winners
from fusion.composer import ASSUMED_SHARE
from fusion.sureness import sureness_of

WAYS = get_args(OverTime)
"""How the windows around a moment become its answer: the mean of their scores (RAS); the geometric mean of their
distributions over the compounds and none; the same after each window has heard its neighbours (`smoothed`). Measured by
`./dyad benchmark over_time`: the second is better than the first in every sequence tried, the third only in slow ones."""
DWELL = 8.0
"""How long an answer lasts on the mean (s), as `smoothed` assumes."""
TRUST = 0.4
"""The exponent of what neighbours tell in `smoothed`."""
LEAST = 1e-4
"""Probabilities are held above it before their logarithm."""
CONTEXT_SECONDS = 8.0
"""The standard deviation of the Gaussian of `in_context` (s), by `./dyad benchmark over_time`."""
FARTHEST = 3.0
"""So many standard deviations away nothing is heard."""
LIKENESS = 4.0
"""The exponent of how alike two windows' answers are in `in_context`."""


def blend_of(basic: Floats, winner: Integers, compounds: Sequence[Compound]) -> Floats:
    """How evenly the winner's two emotions are mixed, [N] in 0..1: 4 p q for their probabilities p, q.

    Two independent draws from the fused distribution give the two emotions with probability 2 p q, one half at most;
    this is that, scaled to 1. It is (p + q)^2 - (p - q)^2: what the pair holds, less how unequally. NaN without winner.
    """
    pair = np.take_along_axis(basic, pairs_of(compounds)[winner], axis=1)
    return np.where(winner >= 0, 4.0 * pair[:, 0] * pair[:, 1], np.nan)


def spans_at(windows: Windows, times: Floats) -> Integers:
    """First and past-last position [N, 2] of each window in sorted `times` [T] (s).

    Start inclusive, end exclusive, but the window that ends last takes all times that follow, as in `windows_of`.
    """
    firsts, ends = (np.searchsorted(times, windows[:, side], "left") for side in (0, 1))
    is_last = windows[:, 1] >= windows[:, 1].max(initial=0.0)
    return np.stack([firsts, np.where(is_last, len(times), ends)], axis=1).astype(np.int64)


def spans_of_frames(windows: Windows, rate: float, past_end: int = 0) -> Integers:
    """First and past-last frame number [N, 2] (from 0) of each window at a constant frame `rate`, cut to whole frames.

    RAS lists one frame past each window's end (`past_end=1`).
    """
    frames = (np.asarray(windows, np.float64) * rate).astype(np.int64)
    return frames + np.array([0, past_end], np.int64)


def spread(scores: Floats, spans: Integers, count: int) -> Floats:
    """Mean [count, K] over the windows that cover each position, from scores [N, K] and spans [N, 2].

    Windows of NaN do not take part; positions that no window answers are NaN. Memory grows with `count` alone.
    """
    sums, covers = np.zeros((count, scores.shape[1])), np.zeros((count, 1))
    for row, (first, end) in zip(scores, spans, strict=True):
        if not np.isnan(row).any():
            sums[first:end] += row
            covers[first:end] += 1
    return ratio(sums, covers, np.nan)


def forward_fill(rows: ArrayLike, known: ArrayLike, clips: Sequence[str] | None = None) -> Floats:
    """Give each row [T, ...] where `known` [T] is False the last known one before it in the same clip, else NaN.

    `clips` [T] names each row's clip; without it all rows are of one. (RAS fills across videos: no `clips`.)
    """
    values, flags = np.asarray(rows, np.float64), np.asarray(known, bool)
    indices = np.arange(len(values))
    source = np.maximum.accumulate(np.where(flags, indices, -1))
    if clips is not None:
        begins = [row == 0 or clips[row] != clips[row - 1] for row in range(len(values))]
        source = np.where(source < np.maximum.accumulate(np.where(begins, indices, 0)), -1, source)
    filled: Floats = values[source]
    filled[source < 0] = np.nan
    return filled


def abstaining(winner: Integers, none: Floats, threshold: float) -> Integers:
    """Winners [N] with -1 where the probability of none of the compounds [N] exceeds the threshold."""
    return np.where(np.nan_to_num(none) > threshold, -1, winner)


def joined(compound: Floats, none: Floats) -> Floats:
    """One distribution [N, K + 1] of compounds [N, K] and the probability [N] of none of them, which comes last."""
    return np.concatenate([(1.0 - none[:, None]) * compound, none[:, None]], 1)


def geometric(distributions: Floats, spans: Integers, count: int) -> Floats:
    """`spread` by the geometric mean, scaled to sum to 1: an answer that a window around rules out hardly counts."""
    logs = spread(np.log(np.maximum(distributions, LEAST)), spans, count)
    return as_distribution(np.exp(logs))


def smoothed(
    compound: Floats, none: Floats, windows: Windows, dwell: float = DWELL, trust: float = TRUST
) -> tuple[Floats, Floats]:
    """Compound distributions [N, K] and none [N] where each window also heeds the windows before and after it.

    Posterior of a hidden Markov model (forward-backward) over the K compounds and none: an answer lasts `dwell` seconds on
    the mean, and what follows is as likely as it is anywhere. What neighbours say counts to the power `trust`, because
    overlapping windows tell the same twice; a window without neighbours keeps its answer. Windows without an answer stay
    without one, and tell nothing.
    """
    answers = joined(compound, none)
    kinds = compound.shape[1]
    usual = np.array([*np.full(kinds, ASSUMED_SHARE / kinds), 1.0 - ASSUMED_SHARE])
    known: Flags = ~np.logical_or.reduce(np.isnan(answers), axis=1)
    # An answer tells as much as it exceeds what is usual: posterior over prior is the likelihood that the model wants.
    told = np.where(known[:, None], (np.maximum(np.nan_to_num(answers), 1e-9) / usual) ** trust, 1.0)
    stay = np.exp(-np.diff(windows[:, 0]) / dwell)
    before, after = _expected(told, stay, usual), _expected(told[::-1], stay[::-1], usual)[::-1]
    # The answers, what comes before and what comes after hold the prior once each, and it counts once.
    posterior = as_distribution(answers * before * after / usual**2)
    return as_distribution(posterior[:, :-1]), posterior[:, -1]


def in_context(
    compound: Floats, none: Floats, windows: Windows, seconds: float = CONTEXT_SECONDS, likeness: float = LIKENESS
) -> tuple[Floats, Floats]:
    """Compound distributions [N, K] and none [N] as means over the windows around each; `seconds` 0 leaves them as they are.

    Another window counts by a Gaussian of the distance between their middles, with the standard deviation `seconds`, and by how
    alike the two answers are: the sum of sqrt(p q), to the power `likeness` (a bilateral filter, Tomasi and Manduchi 1998). So
    doubtful answers are carried by what is around them, and a sudden clear change stays one. Windows without an answer stay
    so, and nothing is heard across them.
    """
    answers = joined(compound, none)
    known: Flags = ~np.logical_or.reduce(np.isnan(answers), axis=1)
    middles, run, roots = windows.mean(1), np.cumsum(~known), np.sqrt(np.nan_to_num(answers))
    sums, total = np.where(known[:, None], answers, 0.0), known.astype(np.float64)
    for away in range(1, len(answers) if seconds > 0 else 0):
        near = (middles[away:] - middles[:-away]) / seconds
        if near.min() > FARTHEST:
            break
        weights = np.exp(-0.5 * near**2) * (roots[away:] * roots[:-away]).sum(1) ** likeness
        weights *= (near <= FARTHEST) & known[away:] & known[:-away] & (run[away:] == run[:-away])
        sums[away:] += weights[:, None] * np.nan_to_num(answers[:-away])
        sums[:-away] += weights[:, None] * np.nan_to_num(answers[away:])
        total[away:] += weights
        total[:-away] += weights
    mean = ratio(sums, total[:, None], np.nan)
    return as_distribution(mean[:, :-1]), mean[:, -1]


def _expected(told: Floats, stay: Floats, usual: Floats) -> Floats:
    """What the windows before each lead to expect, [N, S]; `stay` [N-1] is the probability that a state lasts to the next."""
    expected = np.tile(usual, (len(told), 1))
    for row, lasts in enumerate(stay):
        seen = expected[row] * told[row]
        expected[row + 1] = lasts * seen / seen.sum() + (1.0 - lasts) * usual
    return expected


def at_times(fusion: Fusion, times: Floats) -> Moments:
    """The answer at sorted `times` [T] (s) from the windows around each: their mean, of compounds by `fusion.over_time`."""
    spans = spans_at(fusion.windows, times)
    basic = spread(fusion.basic, spans, len(times))
    if fusion.over_time == "plain":
        scores, none = spread(fusion.scores, spans, len(times)), spread(fusion.none[:, None], spans, len(times))[:, 0]
    else:
        joint = geometric(joined(fusion.compound, fusion.none), spans, len(times))
        scores, none = joint[:, :-1], joint[:, -1]
    winner = abstaining(winners(scores), none, fusion.none_threshold)
    compound = compound_distribution(scores)
    sureness, blend = sureness_of(basic, compound, none, winner), blend_of(basic, winner, fusion.compounds)
    return Moments(times, basic, compound, winner, sureness, blend, none)


def timeline(fusion: Fusion) -> list[Stretch]:
    """Stretches of one answer, in order and without overlap; time without evidence is in none of them.

    The windows' edges cut the clip into slices, each covered by the same windows throughout; neighbouring slices with
    one winner are joined, and of those without one the ones with the same strongest emotion.
    """
    edges = np.unique(fusion.windows)
    if len(edges) == 1:  # a clip of no length, such as a single picture
        edges = np.repeat(edges, 2)
    answer = at_times(fusion, (edges[:-1] + edges[1:]) / 2)
    # The two kinds of answers by one number: a compound's, or below 0 an emotion's.
    kinds = np.where(answer.winner >= 0, answer.winner, -1 - answer.emotion)
    known = ~np.isnan(answer.basic[:, 0])
    runs = groupby(range(len(edges) - 1), key=lambda slice_: (bool(known[slice_]), int(kinds[slice_])))
    spans = [(is_known, list(run)) for (is_known, _), run in runs]
    return [_stretch(fusion, answer, edges, run[0], run[-1] + 1) for is_known, run in spans if is_known]


def _stretch(fusion: Fusion, answer: Moments, edges: Floats, first: int, end: int) -> Stretch:
    lengths = np.diff(edges)[first:end] if edges[end] > edges[first] else None
    sure, low, high = np.average(answer.sureness[first:end], axis=0, weights=lengths).tolist()
    blend = float(np.average(answer.blend[first:end], weights=lengths))
    basic = np.average(answer.basic[first:end], axis=0, weights=lengths)
    winner = int(answer.winner[first])
    return Stretch(
        float(edges[first]), float(edges[end]), fusion.compounds[winner].name if winner >= 0 else None,
        BASIC_EMOTIONS[int(basic.argmax())], sure, (low, high), blend, float(basic[BASIC_EMOTIONS.index("neutral")]),
    )  # fmt: skip
