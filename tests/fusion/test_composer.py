"""The learned composer: pairs of any table, none of them, fits that improve, its readable file; and windows over time."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.fused import Fusion
from data.scores import Scores
from data.windows import make_windows
from fusion.compose import METHODS, compound_distribution, method_named, winners
from fusion.composer import (
    ASSUMED_SHARE,
    PAIRS,
    Composer,
    default_composer,
    none_probability,
    pair_name,
    pair_probabilities,
    read_composer,
    state_probabilities,
    states_of,
    write_composer,
)
from fusion.fit_composer import StateRows, fit_composer, state_of_labels, state_of_votes
from fusion.fuse import fuse
from fusion.over_time import WAYS, at_times, geometric, in_context, joined, smoothed, timeline
from fusion.weights import FusionWeights

ONE = FusionWeights(("static_face",), BASIC_EMOTIONS, np.zeros((1, 1, 7)), np.zeros(1))
EVERY = [Compound(pair_name(pair).replace("+", "_"), *(BASIC_EMOTIONS[place] for place in pair)) for pair in PAIRS]
PAIR_SUM = Composer(1, 1, 0, 0, dict.fromkeys(BASIC_EMOTIONS, 0), dict.fromkeys(BASIC_EMOTIONS, 0), {})
rows_of_seven = arrays(np.float64, (3, 7), elements=st.floats(0.001, 1)).map(lambda raw: raw / raw.sum(1, keepdims=True))


def showing(**shares: float) -> np.ndarray:
    """A row [1, 7] with these emotions; the rest of 1 is spread over the others."""
    rest = (1 - sum(shares.values())) / (7 - len(shares))
    return np.array([[shares.get(word, rest) for word in BASIC_EMOTIONS]])


def fused(rows: list[np.ndarray], **options) -> Fusion:
    table = np.concatenate(rows).astype(np.float32)
    windows = make_windows(2.0 * len(table) + 2.0)
    return fuse([Scores("static_face", windows, table, ~np.isnan(table[:, 0]))], ONE, **options)


def drawn_rows(count: int, seed: int, pairs: float = 0.4) -> StateRows:
    """Rows whose probabilities gather around their state, as a good model's do."""
    random = np.random.default_rng(seed)
    state = np.where(random.random(count) < pairs, random.integers(7, 28, count), random.integers(0, 7, count))
    centre = np.full((count, 7), 0.4)
    for row, number in enumerate(state):
        centre[row, PAIRS[number - 7] if number >= 7 else number] += 3.0 if number >= 7 else 6.0
    return StateRows(np.array([random.dirichlet(around) for around in centre]), state)


def test_the_pair_sum_is_where_it_starts_from() -> None:
    basic = drawn_rows(50, 1).basic
    found = compound_distribution(pair_probabilities(PAIR_SUM, basic, ABAW_COMPOUNDS))
    np.testing.assert_allclose(found, compound_distribution(METHODS["ppa"](basic, ABAW_COMPOUNDS)), atol=1e-3)


def test_a_fit_improves_on_new_rows_and_finds_single_emotions() -> None:
    composer = fit_composer([drawn_rows(600, 2)], {"sources": "drawn"})
    new = drawn_rows(1500, 3)
    right = {name: (state_probabilities(given, new.basic).argmax(1) == new.state).mean()
             for name, given in (("fitted", composer), ("pair sum", PAIR_SUM))}  # fmt: skip
    assert right["fitted"] > right["pair sum"] + 0.05
    none = none_probability(composer, new.basic, EVERY, share=None)
    assert none[new.state < 7].mean() > none[new.state >= 7].mean() + 0.35
    # Calibrated: as many of those said to be a pair with such a probability are one.
    said = 1 - none
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        inside = (said >= low) & (said <= high)
        assert (new.state[inside] >= 7).mean() == pytest.approx(said[inside].mean(), abs=0.12)


def test_diffuse_probabilities_are_the_compound_that_the_pair_sum_says() -> None:
    basic = drawn_rows(400, 4).basic ** (1 / 3)
    diffuse = 0.4 * basic / basic.sum(1, keepdims=True) + 0.6 / 7
    learned, summed = (winners(METHODS[name](diffuse, ABAW_COMPOUNDS)) for name in ("learned", "ppa"))
    assert (learned == summed).mean() > 0.9


def test_a_composer_needs_both_kinds_of_rows() -> None:
    with pytest.raises(InputError, match="rows of two emotions and rows of one"):
        fit_composer([drawn_rows(50, 1, pairs=0.0)])


@given(rows_of_seven)
def test_the_states_are_a_distribution_and_none_is_what_the_table_leaves(basic: np.ndarray) -> None:
    composer = default_composer()
    np.testing.assert_allclose(state_probabilities(composer, basic).sum(1), 1.0)
    pairs = pair_probabilities(composer, basic, ABAW_COMPOUNDS).sum(1)
    np.testing.assert_allclose(none_probability(composer, basic, ABAW_COMPOUNDS, None), 1 - pairs)
    few, more = (none_probability(composer, basic, ABAW_COMPOUNDS, share) for share in (0.1, 0.9))
    assert (few > more).all()
    assert ((few >= 0) & (few <= 1)).all()


@given(rows_of_seven, st.permutations(range(7)))
def test_the_order_of_the_table_does_not_matter(basic: np.ndarray, order: list[int]) -> None:
    shuffled = [ABAW_COMPOUNDS[place] for place in order]
    straight = METHODS["learned"](basic, ABAW_COMPOUNDS)
    np.testing.assert_allclose(METHODS["learned"](basic, shuffled), straight[:, order])
    turned = [Compound(compound.name, compound.second, compound.first) for compound in ABAW_COMPOUNDS]
    np.testing.assert_allclose(METHODS["learned"](basic, turned), straight)


def test_any_pairs_can_be_composed_but_not_an_emotion_with_itself() -> None:
    basic = showing(disgust=0.45, happiness=0.45)
    assert EVERY[int(winners(METHODS["learned"](basic, EVERY))[0])].name == "disgust_happiness"
    assert none_probability(default_composer(), basic, [EVERY[12]])[0] < 1
    with pytest.raises(InputError, match="joins fear with itself"):
        states_of([Compound("fear_fear", "fear", "fear")])


@pytest.mark.parametrize("emotion", BASIC_EMOTIONS)
def test_one_emotion_alone_is_none_of_them_and_two_are_one(emotion: str) -> None:
    assert none_probability(default_composer(), showing(**{emotion: 0.9}), ABAW_COMPOUNDS)[0] > 0.5
    for compound in ABAW_COMPOUNDS:
        both = showing(**{compound.first: 0.42, compound.second: 0.42})
        assert none_probability(default_composer(), both, ABAW_COMPOUNDS)[0] < 0.2


def test_a_neutral_window_names_no_compound_and_says_why() -> None:
    fusion = fused([showing(neutral=0.7), showing(fear=0.42, surprise=0.42)], method="learned", none_threshold=0.5)
    assert fusion.winner.tolist() == [-1, 0]
    assert fusion.reasons[0].startswith("None of the compounds (")
    assert "neutral (70 %)" in fusion.reasons[0]
    assert np.nansum(fusion.contributions[0]) == pytest.approx(0.7), "they add up to the emotion's probability"
    assert fused([showing(neutral=0.7)], none_threshold=1.0).winner[0] >= 0
    assert [stretch.compound or stretch.emotion for stretch in timeline(fusion)] == ["neutral", "fearfully_surprised"]
    with pytest.raises(InputError, match="from 0 to 1"):
        fused([showing(neutral=0.7)], none_threshold=1.5)
    with pytest.raises(InputError, match="plain, geometric, neighbours"):
        fused([showing(neutral=0.7)], over_time="magic")


@given(rows_of_seven, st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_only_takes_winners_away(basic: np.ndarray, one: float, other: float) -> None:
    strict, lax = (fused([basic], none_threshold=value).winner for value in sorted((one, other)))
    assert ((strict == lax) | (strict == -1)).all()


def test_votes_and_labels_become_states() -> None:
    votes = np.array([
        [0, 0, 0, 5, 0, 0, 5, 0], [9, 1, 0, 0, 0, 0, 0, 0], [4, 3, 3, 0, 0, 0, 0, 0],
        [0, 5, 0, 0, 0, 0, 0, 5], [2, 2, 2, 2, 2, 0, 0, 0], [5, 0, 0, 0, 0, 4, 1, 0],
    ], float)  # fmt: skip
    named = {number: pair_name(pair) for number, pair in enumerate(PAIRS, 7)}
    found = state_of_votes(votes)
    assert [named.get(state, state) for state in found.tolist()] == ["fear+surprise", 0, -1, -1, -1, "neutral+sadness"]
    labels = np.array([[0, 1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]], float)
    assert [named.get(state, state) for state in state_of_labels(labels).tolist()] == ["anger+sadness", 4, -1]


def test_a_composer_comes_back_from_its_file_and_faults_are_named(tmp_path: Path) -> None:
    path, composer = tmp_path / "c.json", default_composer()
    write_composer(path, composer)
    assert read_composer(path) == composer
    content = json.loads(path.read_text())
    assert content["fitted_on"]["command"].startswith("./dyad benchmark derive_composer")
    assert set(content["alone"]) == set(BASIC_EMOTIONS)
    assert len(content["shares"]) == 21
    spoilt = {**content, "alone": {**content["alone"], "fear": "much"}}
    for text, words in (("{", "cannot be read"), ("[]", "is not a composer"), (json.dumps(spoilt), "lacks or spoils")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_composer(path)
    with pytest.raises(InputError, match="no composer at"):
        read_composer(tmp_path / "none.json")


def test_another_composer_can_be_given() -> None:
    basic = showing(fear=0.5, surprise=0.3)
    other = dataclasses.replace(default_composer(), pair_offset=3.0)
    assert method_named("learned", other)(basic, ABAW_COMPOUNDS).sum() > METHODS["learned"](basic, ABAW_COMPOUNDS).sum()
    rare, frequent = (fused([basic], composer=given).none[0] for given in (default_composer(), other))
    assert frequent < rare


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, (5, 7), elements=st.floats(0.001, 1)), st.sampled_from(WAYS), st.sampled_from(["learned", "ppa"]),
    st.sampled_from([0.0, 8.0]),
)  # fmt: skip
def test_parts_add_up_whatever_the_way(raw: np.ndarray, way: str, method: str, context: float) -> None:
    rows = [raw / raw.sum(1, keepdims=True)]
    fusion = fused(rows, method=method, over_time=way, none_threshold=0.6, context_seconds=context)
    won = np.flatnonzero(fusion.winner >= 0)
    probability = fusion.compound[won, fusion.winner[won]]
    np.testing.assert_allclose(np.nansum(fusion.contributions[won], axis=1), probability)
    np.testing.assert_allclose(fusion.emotion_shares[won].sum(1), probability)
    np.testing.assert_allclose(joined(fusion.compound, fusion.none).sum(1), 1.0)
    moments = at_times(fusion, np.array([0.0, 3.0]))
    np.testing.assert_allclose(joined(moments.compound, moments.none).sum(1), 1.0)


def test_neighbours_correct_one_doubtful_window_but_not_a_clear_one() -> None:
    clear, other = showing(fear=0.45, surprise=0.45), showing(happiness=0.45, surprise=0.45)
    doubtful = showing(fear=0.18, surprise=0.4, happiness=0.36)
    alone, heard = (
        fused([clear, clear, doubtful, clear, clear], method="learned", over_time=way) for way in ("plain", "neighbours")
    )
    assert ABAW_COMPOUNDS[alone.winner[2]].name == "happily_surprised"
    assert set(heard.winner.tolist()) == {0}
    held = fused([clear, clear, other, other, clear, clear], method="learned", over_time="neighbours")
    assert held.winner.tolist() == [0, 0, 1, 1, 0, 0]


def test_context_carries_a_doubtful_window_and_leaves_a_sudden_change_where_it_is() -> None:
    clear, other = showing(fear=0.45, surprise=0.45), showing(happiness=0.45, surprise=0.45)
    doubtful = showing(fear=0.22, surprise=0.4, happiness=0.3)
    alone, heard = (
        fused([clear] * 3 + [doubtful] + [clear] * 3, method="learned", context_seconds=seconds) for seconds in (0.0, 8.0)
    )
    assert ABAW_COMPOUNDS[alone.winner[3]].name == "happily_surprised"
    assert set(heard.winner.tolist()) == {0}
    cut = fused([clear] * 4 + [other] * 2 + [clear] * 4, method="learned", none_threshold=0.5, context_seconds=8.0)
    assert cut.winner.tolist() == [0] * 4 + [1] * 2 + [0] * 4
    assert cut.compound[3, 0] > 0.85, "what comes after the cut hardly counts before it"


def test_context_is_a_mean_by_distance_and_likeness() -> None:
    windows, none = np.array([[0.0, 4.0], [3.0, 7.0], [20.0, 24.0]]), np.array([0.1, 0.4, 0.2])
    compound = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]])
    answers, middles = joined(compound, none), windows.mean(1)
    weights = np.exp(-0.5 * ((middles[:, None] - middles) / 4.0) ** 2) * (np.sqrt(answers) @ np.sqrt(answers).T) ** 2
    weights[:2, 2] = weights[2, :2] = 0.0  # more than three standard deviations away
    found = joined(*in_context(compound, none, windows, 4.0, likeness=2.0))
    np.testing.assert_allclose(found, weights @ answers / weights.sum(1, keepdims=True))
    np.testing.assert_allclose(joined(*in_context(compound, none, windows, 0.0)), answers)


def test_nothing_is_heard_across_a_window_without_an_answer() -> None:
    compound, none = np.array([[0.9, 0.1], [np.nan, np.nan], [0.4, 0.6]]), np.array([0.1, np.nan, 0.3])
    found, shown = in_context(compound, none, make_windows(8.0), 8.0)
    np.testing.assert_allclose(found, compound)
    np.testing.assert_allclose(shown, none)


def test_a_lone_window_keeps_its_answer_and_a_gap_stays_a_gap() -> None:
    compound, none = np.array([[0.7, 0.3]]), np.array([0.2])
    again, still = smoothed(compound, none, make_windows(3.0))
    np.testing.assert_allclose(again, compound)
    np.testing.assert_allclose(still, none)
    gaps = np.array([[0.9, 0.1], [np.nan, np.nan], [0.5, 0.5]])
    found, _ = smoothed(gaps, np.array([0.1, np.nan, 0.3]), make_windows(8.0))
    assert np.isnan(found[1]).all()
    assert found[2, 0] > 0.5, "what was seen before the gap is still likelier"


def test_neighbours_are_heard_as_the_hidden_markov_model_says() -> None:
    windows, usual = make_windows(8.0), np.array([ASSUMED_SHARE / 2, ASSUMED_SHARE / 2, 1 - ASSUMED_SHARE])
    compound, none = np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]]), np.array([0.2, 0.5, 0.7])
    evidence, stays = joined(compound, none) / usual, np.exp(-2.0 / 8.0)
    follows = stays * np.eye(3) + (1 - stays) * usual
    expected = np.zeros((3, 3))
    for path in itertools.product(range(3), repeat=3):
        prior = usual[path[0]] * follows[path[0], path[1]] * follows[path[1], path[2]]
        for window in range(3):
            told = [evidence[other, path[other]] ** (1.0 if other == window else 0.4) for other in range(3)]
            expected[window, path[window]] += prior * np.prod(told)
    found = joined(*smoothed(compound, none, windows, dwell=8.0, trust=0.4))
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True))


def test_a_window_that_rules_an_answer_out_is_heard_in_the_geometric_mean() -> None:
    distributions = np.array([[0.6, 0.39, 0.01], [0.02, 0.4, 0.58]])
    found = geometric(distributions, np.array([[0, 2], [1, 3]]), 4)
    np.testing.assert_allclose(found[0], distributions[0])
    assert found[1].argmax() == 1
    assert np.isnan(found[3]).all()
