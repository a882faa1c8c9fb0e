"""Dynamic time warping: the path that whisper's own finds."""

import numpy as np
import pytest

from modalities.transcript.warping import cheapest_path


def test_the_path_follows_what_is_cheap() -> None:
    costs = np.ones((3, 6))
    for token, frames in enumerate([(0, 1), (2, 3, 4), (5,)]):
        costs[token, frames] = -1.0
    assert cheapest_path(costs).tolist() == [[0, 0, 1, 1, 1, 2], [0, 1, 2, 3, 4, 5]]


@pytest.mark.slow  # numba compiles for seconds
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 1), (12, 300), (60, 50)])
@pytest.mark.parametrize("values", [2, 1_000_000])
def test_whispers_own_finds_the_same(shape: tuple[int, int], values: int) -> None:
    from importlib import reload

    from whisper import timing

    own = reload(timing).dtw_cpu  # not ours, which hearing words sets
    costs = np.random.default_rng(shape[1]).integers(0, values, shape) / values  # few values: many ties
    assert cheapest_path(costs).tolist() == own(costs).tolist()
