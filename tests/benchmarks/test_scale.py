"""The short form of `./dyad benchmark scale`: what a clip of a data set costs does not grow, nor does memory."""

import pytest

from benchmarks.scale import GOALS, WORK, costs, measure


@pytest.fixture(scope="module")
def found(prefect_session: None) -> dict[int, dict[str, float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK, "0.005")
        return {clips: measure(clips, workers=4) for clips in (40, 400)}


def test_a_clip_costs_no_more_in_a_large_set_than_in_a_small_one(found: dict[int, dict[str, float]]) -> None:
    small, large = (costs(found[clips], 0.005, 4)["milliseconds"] for clips in (40, 400))
    assert large <= GOALS["milliseconds"]
    assert large <= GOALS["slope"] * small


def test_memory_stays_flat(found: dict[int, dict[str, float]]) -> None:
    assert found[400]["growth"] <= GOALS["growth"]
