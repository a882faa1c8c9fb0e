"""Dynamic time warping, which finds when each token was said, without a compiler.

whisper has its own compiled by numba: three seconds of processor time in every process, for a path that arrays find at once.
"""

import numpy as np
from numpy.typing import NDArray

BOTH, FIRST, SECOND = 0, 1, 2
"""Steps of a path: in both sequences, in the first alone, in the second alone."""


def cheapest_path(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The path [2, L] of least cost from the first pair to the last, through the cost of each pair of two sequences [N, M].

    As whisper.timing.dtw_cpu: of steps that cost the same, one in the second sequence goes before the others.
    """
    count, length = costs.shape
    total = np.full((count + 1, length + 1), np.inf)
    total[0, 0] = 0.0
    steps = np.full((count + 1, length + 1), SECOND, np.int8)
    steps[1:, 0] = FIRST
    # Pairs on one diagonal do not depend on each other: they are taken together.
    for diagonal in range(2, count + length + 1):
        first = np.arange(max(1, diagonal - length), min(count, diagonal - 1) + 1)
        second = diagonal - first
        both, up, left = total[first - 1, second - 1], total[first - 1, second], total[first, second - 1]
        in_both, in_first = (both < up) & (both < left), (up < both) & (up < left)
        before = np.where(in_both, both, np.where(in_first, up, left))
        total[first, second] = costs[first - 1, second - 1] + before
        steps[first, second] = np.where(in_both, BOTH, np.where(in_first, FIRST, SECOND))
    path, at, there = [], count, length
    while at > 0 or there > 0:
        path.append((at - 1, there - 1))
        step = steps[at, there]
        at -= step != SECOND
        there -= step != FIRST
    return np.array(path[::-1], np.int64).reshape(-1, 2).T
