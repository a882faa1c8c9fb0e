"""Sureness: one number for a compound and for an emotion alone, read off answers whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.derive.sureness import reliability
from data.errors import InputError
from fusion.sureness import DEFAULT_SURENESS, Calibration, Reliability, default_calibration, read_calibration, sureness_of

BASIC = np.array([[0.1, 0.6, 0.1, 0.05, 0.05, 0.05, 0.05], [0.9, *[0.1 / 6] * 6], [np.nan] * 7])
COMPOUND = np.array([[0.0, 0.0, 0.0, 0.0, 0.75, 0.0, 0.25], [1 / 7] * 7, [np.nan] * 7])
NONE, WINNER = np.array([0.2, 0.9, np.nan]), np.array([4, -1, -1])
AS_TOLD = Reliability((1.0,), (1.0,), (0.5,), (1.0,), (9,))


def test_answers_are_shares_of_one_whole_and_no_evidence_is_no_number() -> None:
    plain = sureness_of(BASIC, COMPOUND, NONE, WINNER, Calibration(AS_TOLD, AS_TOLD, "nothing"))
    np.testing.assert_allclose(plain[:, 0], [0.8 * 0.75, 0.9 * 0.9, np.nan])
    np.testing.assert_allclose(plain[:2, 1], plain[:2, 0] / 2)


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_has_more_of_the_whole_is_never_less_sure_and_lies_in_its_range(one: float, other: float) -> None:
    for kind in (default_calibration().compounds, default_calibration().emotions):
        (sure, low, high), (more, *_) = kind.at(np.array(sorted((one, other))))
        assert low <= sure <= high <= 1
        assert sure <= more


def test_answers_as_right_as_they_say_are_calibrated_to_themselves() -> None:
    draw = np.random.default_rng(3)
    share = draw.uniform(0.2, 0.95, 6000)
    found = reliability(share, (draw.random(6000) < share).astype(float), np.ones(6000))
    np.testing.assert_allclose(found.right, found.share, atol=0.05)
    assert all(low < right < high for low, right, high in zip(found.low, found.right, found.high, strict=True))
    assert sum(found.items) == 6000


def test_a_file_that_does_not_rise_is_refused_by_name(tmp_path: Path) -> None:
    content = json.loads(DEFAULT_SURENESS.read_text(encoding="utf-8"))
    content["compounds"]["right"].reverse()
    (tmp_path / "own.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"own\.json.*do not rise"):
        read_calibration(tmp_path / "own.json")
