"""The reference by which a voice (or a face) is judged: a person's own, as far as it is much and varied."""

import numpy as np
import pytest

from modalities.reference import ABROAD, OPEN, PRIOR, WITHIN, Moments, Reference, References, moments_of, shrunk

WIDTH = 32


def speaker(count: int, moods: int, seed: int, throat: float = 0.0) -> np.ndarray:
    """States of a speaker who shows so many of seven moods, each in one of the first seven numbers, and a voice in the others."""
    chance = np.random.default_rng(seed)
    states = chance.normal(0, 0.3, (count, WIDTH))
    states[np.arange(count), np.arange(count) % moods] += 3.0
    states[:, 7:] += throat
    return states.astype(np.float32)


def moments(states: np.ndarray, amount: float | None = None) -> Moments:
    """Moments of states whose answers are the first seven numbers."""
    return moments_of(states, states[:, :7], amount)


TRAINING = Reference(np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32), 1.0, 0.0)


@pytest.fixture
def everybody() -> Reference:
    three = [speaker(56, 7, seed, throat) for seed, throat in enumerate((-1, 0, 1))]
    return shrunk(moments(np.concatenate(three)), TRAINING, OPEN)


def test_one_mood_keeps_the_wider_reference(everybody: Reference) -> None:
    one = shrunk(moments(speaker(40, 1, 5, throat=2.0)), everybody, WITHIN)
    assert one.trust == 0
    np.testing.assert_array_equal(one.mean, everybody.mean)
    np.testing.assert_array_equal(one.variance, everybody.variance)
    angry = one.standardised(speaker(5, 1, 6, throat=2.0))
    assert (angry[:, :7].argmax(1) == 0).all(), "the mood stays what it was"


def test_all_moods_take_the_persons_own_the_more_the_longer(everybody: Reference) -> None:
    few, many = (shrunk(moments(speaker(count, 7, 5, throat=2.0)), everybody, WITHIN) for count in (14, 140))
    assert few.trust == pytest.approx(14 / (14 + PRIOR))
    assert many.trust == pytest.approx(140 / (140 + PRIOR))
    away = [abs(reference.standardised(speaker(70, 7, 9, throat=2.0))[:, 7:].mean()) for reference in (everybody, few, many)]
    assert away == sorted(away, reverse=True), "the throat is taken out"
    assert away[-1] < 0.3 * away[0]


def test_windows_that_overlap_are_less_than_they_look(everybody: Reference) -> None:
    assert shrunk(moments(speaker(28, 7, 5), amount=14), everybody, WITHIN).trust == pytest.approx(14 / (14 + PRIOR))


def test_far_from_the_training_less_variety_is_asked_for(everybody: Reference) -> None:
    faint = moments(0.6 * speaker(40, 7, 5))
    assert shrunk(faint, everybody, WITHIN).trust == 0
    assert shrunk(faint, everybody, ABROAD).trust > 0


def test_one_utterance_or_none_tells_nothing(everybody: Reference) -> None:
    assert shrunk(moments(speaker(1, 1, 3)), everybody, WITHIN).trust == 0
    nothing = shrunk(moments(speaker(1, 1, 3)[:0]), everybody, OPEN)
    assert nothing.trust == 0
    np.testing.assert_array_equal(nothing.mean, everybody.mean)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    states = speaker(40, 7, 5)
    whole, parts = moments(states), moments(states[:13]) + moments(states[13:])
    assert (parts.rows, parts.amount) == (40, 40)
    assert parts.spread == pytest.approx(whole.spread) == pytest.approx(
        (states[:, :7] - states[:, :7].mean(1, keepdims=True)).var(0, ddof=1).mean(), rel=1e-4
    )
    np.testing.assert_allclose(parts.squares, whole.squares)


def test_a_person_is_known_by_all_clips_and_nobody_by_the_data_set() -> None:
    references = References(TRAINING)
    assert references.of("Anna").whose == "training"
    references.add("Anna", "one", moments(speaker(28, 7, 1, throat=2.0)), 56.0)
    assert references.of("Anna").whose == "training", "one clip is no data set"
    references.add("Anna", "two", moments(speaker(28, 7, 2, throat=2.0)), 56.0)
    references.add("", "three", moments(speaker(28, 7, 3, throat=-2.0)), 50.0)
    anna, nobody = references.of("Anna"), references.of("")
    assert (anna.whose, anna.seconds) == ("speaker", 112.0)
    assert (nobody.whose, nobody.seconds) == ("data set", 162.0)
    assert anna.reference.mean[7:].mean() > nobody.reference.mean[7:].mean() > 0
