"""Which modality and which of its two emotions made a compound win: parts that add up to its probability."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from math import comb

import numpy as np

from data.emotions import Compound
from fusion.arrays import Flags, Floats, Integers, ratio
from fusion.compose import pairs_of


def emotion_shares(parts: Floats, winner: Integers, probability: Floats) -> Floats:
    """Split the winner's `probability` [N] between its two emotions [N, 2], in proportion to their `parts` [N, K, 2].

    Equal halves where both parts are 0; NaN where `probability` is.
    """
    own = parts[np.arange(len(winner)), winner]
    return ratio(own, own.sum(1, keepdims=True), 0.5) * probability[:, None]


def linear_contributions(weighed: Floats, shares: Floats, winner: Integers, compounds: Sequence[Compound]) -> Floats:
    """Contributions [N, M] of the modalities where a score is the sum of its two emotions' parts (PPA, AVCER).

    Each emotion's share [N, 2] is divided the way its fused probability is made up, by `weighed` [N, M, C], which is
    A[m, c] p[m, c]; AVCER's mask counts as given. Exact: a row adds up to the shares, so to the winner's probability.
    Neighbours may have made that probability another one than the window's own: see `brought_to`.
    """
    pair = pairs_of(compounds)[winner]
    taken = np.take_along_axis(weighed, pair[:, None, :], axis=2)
    contributions: Floats = brought_to(taken, shares).sum(2)
    return contributions


def brought_to(parts: Floats, total: Floats) -> Floats:
    """Parts [N, M, ...] that add up to `total` [N, ...]: what is missing is divided in proportion to their sizes.

    Parts of one sign keep their proportions. Where modalities speak for and against, a total near 0 would make factors without
    bound; so none changes by more than what is missing.
    """
    sizes = np.abs(parts)
    changed: Floats = parts + ratio(sizes, sizes.sum(1, keepdims=True)) * (total - parts.sum(1))[:, None]
    return changed


def shapley_contributions(value: Callable[[Flags], Floats], present: Flags) -> Floats:
    """Shapley values [N, M] of the modalities present [N, M] for any `value` of a coalition (flags [N, M] -> [N]).

    A value of [N, C] gives [N, M, C]. All coalitions of the modalities that are present anywhere are computed, so a row adds up
    exactly to the value of everything present less that of nothing. An absent modality gets 0.
    """
    players = np.flatnonzero(present.any(0)).tolist()
    coalitions = chain.from_iterable(combinations(players, size) for size in range(len(players) + 1))
    worth = {frozenset(members): value(present & np.isin(range(present.shape[1]), members)) for members in coalitions}
    result = np.zeros(present.shape + worth[frozenset()].shape[1:])
    for members in worth:
        for player in members:
            others = members - {player}
            # A player is as likely to come at any place in the queue, after any set of others of that size.
            weight = 1.0 / (len(players) * comb(len(players) - 1, len(others)))
            result[:, player] += weight * (worth[members] - worth[others])
    return result
