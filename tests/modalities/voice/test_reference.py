"""The reference by which a voice is judged: a person's own, as far as it is much and varied."""

import numpy as np
import pytest

from modalities.voice.reference import PRIOR, Reference, persons_reference, reference_of, spread_of

WIDTH = 32
LAYER = np.eye(7, WIDTH, dtype=np.float32)
"""The answers are the first seven numbers of the states."""


def speaker(count: int, moods: int, seed: int, throat: float = 0.0) -> np.ndarray:
    """States of a speaker who shows so many of seven moods, each in one of the first seven numbers, and a voice in the others."""
    chance = np.random.default_rng(seed)
    states = chance.normal(0, 0.3, (count, WIDTH))
    states[np.arange(count), np.arange(count) % moods] += 3.0
    states[:, 7:] += throat
    return states.astype(np.float32)


@pytest.fixture
def everybody() -> Reference:
    return reference_of(np.concatenate([speaker(28, 7, seed, throat) for seed, throat in enumerate((-1.0, 0.0, 1.0))]), LAYER)


def test_one_mood_keeps_the_wider_reference(everybody: Reference) -> None:
    one = persons_reference(speaker(40, 1, 5, throat=2.0), everybody, LAYER)
    assert one.trust == 0
    np.testing.assert_array_equal(one.mean, everybody.mean)
    np.testing.assert_array_equal(one.variance, everybody.variance)
    angry = one.standardised(speaker(5, 1, 6, throat=2.0))
    assert (angry[:, :7].argmax(1) == 0).all(), "the mood stays what it was"


def test_all_moods_take_the_persons_own_the_more_the_longer(everybody: Reference) -> None:
    few, many = (persons_reference(speaker(count, 7, 5, throat=2.0), everybody, LAYER) for count in (14, 140))
    assert few.trust == pytest.approx(14 / (14 + PRIOR))
    assert many.trust == pytest.approx(140 / (140 + PRIOR))
    away = [abs(reference.standardised(speaker(70, 7, 9, throat=2.0))[:, 7:].mean()) for reference in (everybody, few, many)]
    assert away == sorted(away, reverse=True), "the throat is taken out"
    assert away[-1] < 0.3 * away[0]


def test_one_utterance_tells_nothing(everybody: Reference) -> None:
    assert persons_reference(speaker(1, 1, 3), everybody, LAYER).trust == 0


def test_spread_is_of_the_answers_not_of_the_voice() -> None:
    calm = speaker(40, 1, 2)
    loud = calm + np.random.default_rng(0).normal(0, 5, (40, WIDTH)).astype(np.float32) * (np.arange(WIDTH) >= 7)
    assert spread_of(loud, LAYER) == pytest.approx(spread_of(calm, LAYER))
    assert spread_of(calm + 2, LAYER) == pytest.approx(spread_of(calm, LAYER), rel=1e-3), "what all answers share is none"
