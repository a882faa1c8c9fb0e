"""`./dyad benchmark scale` in short: neither what a clip of a data set costs nor memory grows; what is done costs less."""

import pytest

from benchmarks.scale import GOALS, WORK, costs, measure

pytestmark = [pytest.mark.slow, pytest.mark.timing]


@pytest.fixture(scope="module")
def found(prefect_session: None) -> dict[int, dict[str, float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK, "0.005")
        return {clips: measure(clips, workers=4) for clips in (20, 120)}


def test_a_clip_costs_no_more_in_a_large_set_than_in_a_small_one(found: dict[int, dict[str, float]]) -> None:
    small, large = (costs(found[clips], 0.005, 4)["milliseconds"] for clips in (20, 120))
    assert large <= GOALS["slope"] * small


def test_what_is_done_is_left_alone(found: dict[int, dict[str, float]]) -> None:
    assert {clips: one["left alone"] for clips, one in found.items()} == {20: 20, 120: 120}


def test_memory_stays_flat(found: dict[int, dict[str, float]]) -> None:
    assert found[120]["growth"] <= GOALS["growth"]
