"""Votes of several people about one face: which two emotions they see in it."""

import numpy as np
from numpy.typing import NDArray

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS


def pair_of_votes(votes: NDArray[np.floating], least: float = 3.0) -> NDArray[np.int64]:
    """The two basic emotions [N, 2] that faces show by votes [N, 7 or more], the one with more votes first; -1, -1 for none.

    Both have `least` votes, and no third class as many as the weaker. A face with a tie for the second emotion is left out:
    nothing says which of its pairs is meant. The composer is fitted on these pairs, and every benchmark measures on them.
    """
    order = np.argsort(-votes, axis=1, kind="stable")
    _, second, third = np.take_along_axis(votes, order, 1)[:, :3].T
    clear = (second >= least) & (third < second) & (order[:, :2].max(1) < len(BASIC_EMOTIONS))
    pairs: NDArray[np.int64] = np.where(clear[:, None], order[:, :2], -1)
    return pairs


def compound_of_votes(votes: NDArray[np.floating], least: float = 3.0) -> NDArray[np.int64]:
    """Compound [N] (ABAW order, -1: none) of votes [N, 7 or more]: that of the two emotions of `pair_of_votes`."""
    pairs, found = np.sort(pair_of_votes(votes, least), axis=1), np.full(len(votes), -1)
    for number, compound in enumerate(ABAW_COMPOUNDS):
        found[(pairs == sorted(compound.pair)).all(1)] = number
    return found
