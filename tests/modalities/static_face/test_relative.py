"""A still face relative to its person's usual face: what is usual goes, one mood stays, and nobody changes another."""

import numpy as np
import pytest

from data.scores import Scores
from data.windows import make_windows
from modalities.static_face.relative import FaceReferences, logs_of, moments, own_reference, relate, relate_rows, training


def answers(shown: list[int], seed: int, sad: float = 0.0) -> np.ndarray:
    """Answers to a person who shows these emotions, and whose face looks a little sad whatever it shows."""
    logs = np.random.default_rng(seed).normal(0, 0.3, (len(shown), 7)) + training().mean
    logs[:, 5] += sad
    logs[np.arange(len(shown)), shown] += 4.5
    powers = np.exp(logs)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


ALL = list(range(7)) * 4


def test_what_is_usual_of_a_person_is_taken_away_and_one_mood_is_kept() -> None:
    anna, ben, angry = answers(ALL, 1, sad=4.5), answers(ALL, 2), answers([1] * 28, 3)
    basic = np.concatenate([anna, ben, angry, np.full((1, 7), np.nan, np.float32)])
    found = relate_rows(basic, ["Anna"] * 28 + ["Ben"] * 28 + ["Cem"] * 28 + ["Anna"])
    right = [(rows[:28].argmax(1) == ALL).mean() for rows in (anna, found)]
    assert right[1] > right[0] + 0.2
    assert (found[28:56].argmax(1) == ALL).mean() >= (ben.argmax(1) == ALL).mean()
    np.testing.assert_array_equal(found[56:84], angry)
    assert np.isnan(found[84]).all()
    np.testing.assert_allclose(found[:84].sum(1), 1, rtol=1e-5)


def test_nobody_who_is_named_stays_as_they_are() -> None:
    basic = answers(ALL, 1, sad=4.5)
    np.testing.assert_array_equal(relate_rows(basic, [""] * 28), basic)


def test_a_person_is_known_by_what_they_have_beyond_all() -> None:
    references = FaceReferences()
    references.add("Anna", "one", moments(answers(ALL, 1, sad=2.0)), 56.0)
    references.add("Ben", "two", moments(answers(ALL, 2)), 56.0)
    anna, nobody = references.of("Anna"), references.of("")
    assert anna.reference.mean.argmax() == 5
    np.testing.assert_array_equal(nobody.reference.mean, np.zeros(7))


def test_within_a_clip_a_varied_face_is_related_and_one_mood_keeps_its_scores() -> None:
    windows = make_windows(16.0)

    def seen(shown: list[int]) -> Scores:
        basic = answers(shown, 4, sad=2.0)
        return Scores("static_face", windows, basic, np.ones(len(windows), bool))

    held, varied = seen([4] * len(windows)), seen(ALL[: len(windows)])
    assert relate(held, own_reference(held)) is held
    related = relate(varied, own_reference(varied))
    assert related.notes == (f"relative to this person's usual face, as {2 * len(windows)} s of it show it",)
    assert (logs_of(related.probabilities)[:, 5] < logs_of(varied.probabilities)[:, 5]).all()
    assert related.probabilities[varied.present].sum() == pytest.approx(len(windows), rel=1e-5)
