"""Other priors than a network learned: balanced, given, estimated; where they apply, and what is refused."""

import numpy as np
import pytest

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from flows.backends.base import by_priors
from modalities.priors import estimated_shares, training_shares, with_priors

LEARNED = np.array(training_shares("static_face"))
SOME = np.array([[0.5, 0.1, 0.1, 0.05, 0.1, 0.1, 0.05], [np.nan] * 7], np.float32)


def test_balanced_priors_divide_by_a_power_of_the_trainings() -> None:
    found = with_priors(SOME, "static_face", "balanced", 0.25)
    expected = SOME[0] / LEARNED**0.25
    np.testing.assert_allclose(found[0], expected / expected.sum(), rtol=1e-5)
    assert np.isnan(found[1]).all()
    assert with_priors(SOME, "static_face", "training", 0.25) is SOME
    np.testing.assert_allclose(with_priors(SOME, "static_face", "balanced", 0.0)[0], SOME[0], rtol=1e-5)
    assert with_priors(SOME, "voice", "balanced", 1.0) is SOME, "it learned all emotions alike"


def test_given_shares_are_bayes_rule_at_full_strength() -> None:
    shares = dict(zip(BASIC_EMOTIONS, np.linspace(1, 7, 7).tolist(), strict=True))
    found = with_priors(SOME, "static_face", shares, 1.0)[0]
    expected = SOME[0] * np.linspace(1, 7, 7) / LEARNED
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)


def test_the_shares_of_many_answers_are_found_and_few_keep_the_trainings() -> None:
    drawn, shares = np.random.default_rng(1), np.array([0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
    seen = 0.05 + 0.65 * np.eye(7)  # a face of emotion c looks like x with probability seen[c, x]
    looks = np.array([drawn.choice(7, p=seen[shown]) for shown in drawn.choice(7, 4000, p=shares)])
    likelihood = seen[:, looks].T
    posterior = likelihood * LEARNED / (likelihood * LEARNED).sum(1, keepdims=True)
    found = estimated_shares(posterior, LEARNED)
    assert np.abs(found - shares).max() < np.abs(LEARNED - shares).max() / 3
    np.testing.assert_allclose(estimated_shares(posterior[:1], LEARNED), LEARNED, atol=0.06)
    np.testing.assert_allclose(estimated_shares(np.full((2, 7), np.nan), LEARNED), LEARNED)


def test_only_our_own_networks_follow_the_setting() -> None:
    assert by_priors(SOME, "static_face", load_settings())[0, 2] > SOME[0, 2], "disgust is rare in the training alone"
    for other in ({"backend": "transformers"}, {"weights": "mine.safetensors"}, {"priors": "training"}):
        assert by_priors(SOME, "static_face", load_settings(overrides={"static_face": other})) is SOME
    assert by_priors(SOME, "scene_labels", load_settings()) is SOME
    read = load_settings(overrides={"scene_context": {"priors": "balanced", "backend": "transformers"}})
    assert by_priors(SOME, "scene_context", read) is not SOME, "whoever describes, our network reads"


@pytest.mark.parametrize("shares", [{"fear": 1.0}, dict.fromkeys(BASIC_EMOTIONS, 0.0), "even"])
def test_shares_that_are_none_are_refused(shares: object) -> None:
    with pytest.raises(InputError, match="priors"):
        load_settings(overrides={"text": {"priors": shares}})
