"""How far a figure would vary with other people: the bootstrap of every interval that is told.

In each of DRAWS imagined data sets a speaker (or a file, or whatever else belongs together: a group) occurs 0, 1, 2, ... times,
Poisson with mean 1, and everything of it with it. How often depends on the group's name alone, so the same answers have the same
interval wherever they are measured, two results of the same people are drawn together, and nothing of a clip needs to be kept
(Chamandy et al. 2012, Estimating Uncertainty for Massive Data Streams). A draw in which a figure has no value does not count;
means over classes are over those that a draw has (`data.metrics.scores_of_draws`).
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import exp, factorial
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.metrics import scores_of_draws

DRAWS = 1000
SEED = 7
AT_ONCE = 4096
"""Groups whose draws are held in memory together."""


@cache
def _counts() -> NDArray[np.int64]:
    """The counts of 65,536 equally likely numbers: to draw those is ten times as fast as to draw from the distribution."""
    below = np.cumsum([exp(-1.0) / factorial(count) for count in range(9)])
    return np.searchsorted(below, (np.arange(65536) + 0.5) / 65536)


def times_drawn(group: str) -> NDArray[np.int64]:
    """How often what belongs to `group` occurs in each draw, [DRAWS]."""
    random = np.random.default_rng([SEED, crc32(group.encode())])
    chosen: NDArray[np.int64] = _counts()[random.integers(0, 65536, DRAWS, np.uint16)]
    return chosen


def middle(draws: NDArray[np.floating]) -> tuple[float, float]:
    """From where to where 95 % of the draws lie that have a value."""
    low, high = np.nanpercentile(draws, (2.5, 97.5)).tolist()
    return low, high


def drawn_sums(values: ArrayLike, groups: Sequence[object] | NDArray[np.generic]) -> NDArray[np.float64]:
    """Sums of values [N, K] in each draw of their groups [N], [DRAWS, K]."""
    names, index = np.unique([str(group) for group in groups], return_inverse=True)
    rows = np.asarray(values, np.float64)
    sums, total = np.zeros((len(names), rows.shape[1])), np.zeros((DRAWS, rows.shape[1]))
    np.add.at(sums, index, rows)
    for first in range(0, len(names), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        total += np.stack([times_drawn(name) for name in names[part]], 1) @ sums[part]
    return total


def drawn_scores(
    truth: NDArray[np.integer], answer: NDArray[np.integer], classes: int, groups: Sequence[object] | NDArray[np.generic]
) -> dict[str, NDArray[np.float64]]:
    """`data.metrics.scores_of` of two vectors [N] in each draw of their groups [N], each figure [DRAWS].

    Answers below 0 or not below `classes` are none of the classes, and wrong.
    """
    column = np.where((answer >= 0) & (answer < classes), answer, classes)
    cells = np.eye(classes * (classes + 1))[truth * (classes + 1) + column]
    return scores_of_draws(drawn_sums(cells, groups).reshape(DRAWS, classes, classes + 1))


def drawn_figures(
    figure: Callable[[NDArray[np.int64]], float], groups: Sequence[object] | NDArray[np.generic]
) -> NDArray[np.float64]:
    """Any figure of chosen rows in each draw of their groups [N], [DRAWS]; NaN where a draw has no row."""
    names, index = np.unique([str(group) for group in groups], return_inverse=True)
    times = np.stack([times_drawn(name) for name in names])
    drawn = (np.repeat(np.arange(len(index)), times[index, draw]) for draw in range(DRAWS))
    return np.array([figure(rows) if len(rows) else np.nan for rows in drawn])
