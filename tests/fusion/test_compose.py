"""Composition: methods for any table of compounds, and the answer over time."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.fused import Composition, Fusion
from data.scores import Scores
from data.windows import Windows, make_windows, windows_of
from fusion.compose import METHODS, compound_distribution, mean_similarity, rarity, similarities, winners
from fusion.contributions import brought_to, linear_contributions, shapley_contributions
from fusion.fuse import NOTHING_ABOVE_CHANCE, fuse
from fusion.over_time import at_times, blend_of, forward_fill, spans_at, spread, timeline
from fusion.weights import FusionWeights

ONE = FusionWeights(("static_face",), BASIC_EMOTIONS, np.zeros((1, 1, 7)), np.zeros(1))
NAMES = [compound.name for compound in ABAW_COMPOUNDS]


def face(rows: list[dict[str, float] | None], windows: Windows | None = None) -> Scores:
    """A face that shows these emotions in its windows; None where there is no face, the rest of 1 is neutral."""
    table = np.full((len(rows), 7), np.nan, np.float32)
    for place, row in enumerate(rows):
        if row is not None:
            table[place] = [row.get(word, 0.0) for word in BASIC_EMOTIONS]
            table[place, 0] += 1 - table[place].sum()
    windows = make_windows(2.0 * len(rows) + 2.0) if windows is None else windows
    return Scores("static_face", windows, table, ~np.isnan(table[:, 0]))


FEARFULLY, HAPPILY = {"fear": 0.45, "surprise": 0.45}, {"happiness": 0.4, "surprise": 0.4}


def fused(rows: list[dict[str, float] | None], method: str = "ppa", windows: Windows | None = None) -> Fusion:
    return fuse([face(rows, windows)], ONE, method=method)


@pytest.mark.parametrize("method", ["learned", "ppa", "avcer_rule1", "avcer_rule2", "avcer_both"])
@pytest.mark.parametrize("compound", ABAW_COMPOUNDS, ids=NAMES)
def test_two_emotions_shown_at_once_make_their_compound(method: str, compound: Compound) -> None:
    fusion = fused([{compound.first: 0.45, compound.second: 0.45}], method)
    assert fusion.compounds[fusion.winner[0]] == compound
    assert fusion.blend[0] == pytest.approx(0.81, abs=1e-6)


def test_the_settings_know_every_way_to_compose() -> None:
    assert tuple(METHODS) == get_args(Composition)


def test_pfsa_finds_the_pair_whose_centroids_the_features_lie_between() -> None:
    centroids = np.eye(7, dtype=np.float32)
    for compound in ABAW_COMPOUNDS:
        between = centroids[list(compound.pair)].mean(0, keepdims=True)
        scores = METHODS["pfsa"](similarities("voice", between, centroids), ABAW_COMPOUNDS)
        assert ABAW_COMPOUNDS[int(winners(scores)[0])] == compound
        assert scores.sum() == pytest.approx(1.0)


def test_similarities_are_cosines_and_refuse_centroids_of_other_features() -> None:
    features = np.array([[2.0, 0.0], [0.0, 0.0], [-1.0, 0.0]], np.float32)
    centroids = np.tile(np.array([[3.0, 0.0]], np.float32), (7, 1))
    found = similarities("voice", features, centroids)
    np.testing.assert_allclose(found[[0, 2]], [[1.0] * 7, [-1.0] * 7])
    assert np.isnan(found[1]).all()
    with pytest.raises(InputError, match="centroids of voice"):
        similarities("voice", features, np.zeros((7, 3), np.float32))
    known = np.array([[True, False, False]])
    np.testing.assert_allclose(mean_similarity(found[None], known)[0], 1.0)
    assert np.isnan(mean_similarity(found[None], known)[1:]).all()


def test_any_table_of_compounds_can_be_used() -> None:
    words = BASIC_EMOTIONS[1:]
    every = [Compound(f"{a}_{b}", a, b) for place, a in enumerate(words) for b in words[place + 1 :]]
    assert len(every) == 15
    fusion = fuse([face([{"disgust": 0.5, "happiness": 0.4}])], ONE, every)
    assert fusion.compounds[fusion.winner[0]].name == "disgust_happiness"
    np.testing.assert_allclose(rarity(every), 0.5)
    np.testing.assert_allclose(rarity(every[:1]), 0.5)
    with pytest.raises(InputError, match="empty"):
        fuse([face([FEARFULLY])], ONE, [])


@given(arrays(np.float64, (4, 7), elements=st.floats(0.001, 1)), st.integers(0, 6), st.sampled_from(list(METHODS)))
def test_more_of_both_emotions_never_lowers_their_compound(raw: np.ndarray, place: int, method: str) -> None:
    basic = raw / raw.sum(1, keepdims=True)
    toward = np.zeros(7)
    toward[list(ABAW_COMPOUNDS[place].pair)] = 0.5
    before, after = (METHODS[method](rows, ABAW_COMPOUNDS)[:, place] for rows in (basic, 0.8 * basic + 0.2 * toward))
    held = basic[:, list(ABAW_COMPOUNDS[place].pair)].max(1) <= 0.5  # nothing above is drawn down towards a half
    assert (after[held] >= before[held] - 1e-12).all()


def test_rule_1_without_any_emotion_above_chance_is_absent_with_its_reason() -> None:
    fusion = fused([{"neutral": 0.9}, FEARFULLY], "avcer_rule1")
    assert fusion.winner.tolist() == [-1, 0]
    assert fusion.reasons == (NOTHING_ABOVE_CHANCE, "")
    assert np.isnan(fusion.compound[0]).all()
    assert np.isnan(compound_distribution(np.zeros((1, 7)))).all()


def test_ties_go_to_the_lowest_index() -> None:
    assert winners(np.array([[0.0, 0.4, 0.4], [np.nan] * 3, [0.0] * 3])).tolist() == [1, -1, -1]


@given(arrays(np.float64, 7, elements=st.floats(0.001, 1)), st.integers(0, 6))
def test_blend_is_a_part_of_one_and_full_only_for_an_equal_pair(raw: np.ndarray, place: int) -> None:
    found = blend_of((raw / raw.sum())[None], np.array([place]), ABAW_COMPOUNDS)[0]
    assert 0.0 <= found < 1.0
    equal = np.zeros((1, 7))
    equal[0, list(ABAW_COMPOUNDS[place].pair)] = 0.5
    assert blend_of(equal, np.array([place]), ABAW_COMPOUNDS)[0] == 1.0


def test_one_emotion_alone_or_neutral_is_no_blend() -> None:
    fusion = fused([{"happiness": 0.97, "surprise": 0.01}, {"neutral": 0.9, "fear": 0.05, "surprise": 0.05}])
    assert (fusion.blend < 0.05).all()
    np.testing.assert_allclose(fusion.neutral, [0.02, 0.9], atol=1e-6)


def test_frames_take_the_mean_of_the_windows_around_them() -> None:
    fusion = fused([FEARFULLY, HAPPILY, None])
    moments = at_times(fusion, np.array([0.0, 1.9, 3.0, 4.0, 5.9, 6.0, 7.9, 8.5]))
    assert moments.winner[:2].tolist() == [0, 0]
    np.testing.assert_allclose(moments.basic[2], fusion.basic[:2].mean(0))
    assert moments.winner[[3, 4]].tolist() == [1, 1]
    assert moments.winner[5:].tolist() == [-1, -1, -1]
    assert np.isnan(moments.blend[5:]).all()
    np.testing.assert_allclose(moments.compound[:5].sum(1), 1.0)


@given(st.floats(1.0, 40.0), st.integers(1, 200))
def test_spans_are_the_membership_of_data_windows(duration: float, count: int) -> None:
    windows, times = make_windows(duration), np.sort(np.random.default_rng(count).uniform(0, duration + 1, count))
    expected = windows_of(times, windows)
    for row, (first, end) in zip(expected, spans_at(windows, times), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), np.arange(first, end))


def test_spread_leaves_gaps_where_nothing_answers() -> None:
    found = spread(np.array([[1.0], [3.0], [np.nan]]), np.array([[0, 3], [2, 4], [0, 6]]), 6)
    np.testing.assert_array_equal(found[:, 0], [1, 1, 2, 3, np.nan, np.nan])


def test_forward_fill_never_crosses_clips() -> None:
    rows, known = [[1.0], [0.0], [0.0], [4.0], [0.0]], [True, False, False, True, False]
    np.testing.assert_array_equal(forward_fill(rows, known, list("aabbb"))[:, 0], [1, 1, np.nan, 4, 4])
    np.testing.assert_array_equal(forward_fill(rows, known)[:, 0], [1, 1, 1, 4, 4])
    assert np.isnan(forward_fill([[5.0]], [False])).all()


def test_the_timeline_joins_neighbours_and_leaves_out_what_has_no_answer() -> None:
    stretches = timeline(fused([FEARFULLY, FEARFULLY, HAPPILY, None, None, None, HAPPILY]))
    assert [(s.start, s.end, s.compound) for s in stretches] == [
        (0.0, 6.0, "fearfully_surprised"),
        (6.0, 8.0, "happily_surprised"),
        (12.0, 16.0, "happily_surprised"),
    ]
    assert stretches[2].blend == pytest.approx(0.64, abs=1e-6)
    assert 0 < stretches[2].sureness_range[0] <= stretches[2].sureness <= stretches[2].sureness_range[1] < 1
    assert stretches[2].neutral == pytest.approx(0.2, abs=1e-6)
    alone, mixed = 0.81, 4 * (0.45 / 2) * (0.45 + 0.4) / 2
    assert stretches[0].blend == pytest.approx((4 * alone + 2 * mixed) / 6, abs=1e-6)


def test_a_stretch_weighs_its_moments_by_the_time_they_last() -> None:
    (stretch,) = timeline(fused([FEARFULLY, FEARFULLY, {"fear": 0.3, "surprise": 0.3}], windows=make_windows(7.0)))
    assert (stretch.start, stretch.end) == (0.0, 7.0)
    sure, mixed, unsure = 0.81, 4 * 0.375**2, 4 * 0.3**2  # for 4 s, for the 2 s of two windows, and for the last second
    assert stretch.blend == pytest.approx((4 * sure + 2 * mixed + unsure) / 7, abs=1e-6)
    assert stretch.neutral == pytest.approx((4 * 0.1 + 2 * 0.25 + 0.4) / 7, abs=1e-6)


@given(st.lists(st.sampled_from([None, FEARFULLY, HAPPILY, {"sadness": 0.6, "anger": 0.3}]), min_size=1, max_size=12))
def test_a_timeline_is_ordered_disjoint_and_covers_all_that_has_an_answer(rows) -> None:
    windows = make_windows(2.0 * len(rows) + 1.5)[: len(rows)]
    fusion = fused(rows, windows=windows)
    stretches = timeline(fusion)
    for one, other in zip(stretches, stretches[1:], strict=False):
        assert one.end <= other.start
        assert one.end < other.start or one.compound != other.compound
    times = np.linspace(0, float(windows.max()), 97)[:-1]
    answered = at_times(fusion, times).winner
    for time, winner in zip(times, answered, strict=True):
        found = [s.compound for s in stretches if s.start <= time < s.end]
        assert found == ([NAMES[winner]] if winner >= 0 else [])


def test_a_clip_without_any_answer_has_an_empty_timeline() -> None:
    fusion = fused([None, None])
    assert timeline(fusion) == []
    assert fusion.is_absent


def test_shapley_values_share_a_joint_effect_equally_and_give_the_absent_nothing() -> None:
    present = np.array([[True, True, True], [True, False, True]])

    def value(coalition: np.ndarray) -> np.ndarray:
        one, two, _ = coalition.T
        return 0.2 * one + 0.6 * (one & two)

    np.testing.assert_allclose(shapley_contributions(value, present), [[0.5, 0.3, 0.0], [0.2, 0.0, 0.0]], atol=1e-12)


def test_each_emotion_is_credited_to_the_modality_that_showed_it() -> None:
    compound = Compound("fearfully_surprised", "fear", "surprise")
    weighed = np.zeros((1, 2, 7))
    weighed[0, 0, BASIC_EMOTIONS.index("fear")] = 0.3
    weighed[0, 1, BASIC_EMOTIONS.index("surprise")] = 0.3
    found = linear_contributions(weighed, np.array([[0.5, 0.2]]), np.array([0]), (compound,))
    np.testing.assert_allclose(found, [[0.5, 0.2]])


PARTS = arrays(np.float64, (4, 3), elements=st.floats(-1, 1).filter(lambda value: value == 0 or abs(value) > 1e-9))


@given(PARTS, arrays(np.float64, 4, elements=st.floats(0, 1)))
def test_parts_for_and_against_add_up_without_growing_beyond_what_is_missing(parts: np.ndarray, total: np.ndarray) -> None:
    changed = brought_to(parts, total)
    heard = np.abs(parts).sum(1) > 0
    np.testing.assert_allclose(changed.sum(1)[heard], total[heard], atol=1e-9)
    missing = np.abs(total - parts.sum(1))[:, None]
    assert (np.abs(changed - parts) <= missing + 1e-9).all()
    assert (changed[parts == 0] == 0).all(), "who said nothing adds nothing"


def test_parts_of_one_sign_keep_their_proportions() -> None:
    np.testing.assert_allclose(brought_to(np.array([[0.1, 0.3, 0.0]]), np.array([0.8])), [[0.2, 0.6, 0.0]])
    nearly_cancelled = brought_to(np.array([[0.5, -0.498]]), np.array([0.4]))
    assert np.abs(nearly_cancelled).max() < 0.9, "scaling would have made a hundred of it"


def test_scaling_the_scores_leaves_distribution_and_winner() -> None:
    fusion = fused([FEARFULLY, HAPPILY])
    np.testing.assert_allclose(compound_distribution(3 * fusion.scores), fusion.compound)
    assert dataclasses.replace(fusion, winner=winners(3 * fusion.scores)).winner.tolist() == fusion.winner.tolist()


def test_a_clip_without_length_still_has_its_one_stretch() -> None:
    fusion = fused([FEARFULLY], windows=make_windows(0.0))
    (stretch,) = timeline(fusion)
    assert (stretch.start, stretch.end, stretch.compound) == (0.0, 0.0, "fearfully_surprised")
    assert stretch.blend == pytest.approx(0.81, abs=1e-6)
    assert at_times(fusion, np.array([0.0])).winner.tolist() == [0]
    assert at_times(fusion, np.array([])).compound.shape == (0, 7)
