"""How common each emotion was where a network learned, and what its probabilities are where it is another.

A network learns how common an emotion is as well as what it looks like: of web stills 33 % are neutral and 1.6 % disgust. With
the training's shares and those that are expected, and a strength s from 0 to 1,

    p'[c] is proportional to p[c] (expected[c] / training[c])^s

Strength 1 would be Bayes' rule for other priors, right where the probabilities are exact; they are not, so less is better.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.yaml_files import read_yaml

Floats = NDArray[np.float64]
Priors = Literal["training", "balanced", "estimated"] | Mapping[str, float]
FILE = Path(__file__).parent / "weights" / "priors.yaml"
"""The training's shares of each of our own networks (`./dyad benchmark derive_priors`)."""
ROUNDS = 200
ENOUGH = 20.0
"""As many answers weigh as much as the training's shares do in an estimate."""


@cache
def training_shares(modality: str) -> tuple[float, ...] | None:
    """The shares of the emotions among what our own network of a modality learned; None where it is not known."""
    known = read_yaml(FILE, "shares by modality").get(modality)
    return None if known is None else tuple(float(known[word]) for word in BASIC_EMOTIONS)


def with_priors(probabilities: NDArray[np.float32], modality: str, priors: Priors, strength: float) -> NDArray[np.float32]:
    """Probabilities [N, 7] of our own network with other priors than it learned; rows of NaN stay so."""
    shares = training_shares(modality)
    if priors == "training" or shares is None:
        return probabilities
    learned = np.array(shares)
    expected = expected_shares(np.asarray(probabilities, np.float64), learned, priors)
    changed = probabilities * (expected / learned) ** strength
    result: NDArray[np.float32] = (changed / changed.sum(1, keepdims=True)).astype(np.float32)
    return result


def without_priors(
    probabilities: NDArray[np.float32], modality: str, expected: Mapping[str, float], strength: float
) -> NDArray[np.float32]:
    """What `with_priors` was given, from what it made of it [N, 7] with these shares."""
    learned = np.array(training_shares(modality))
    before = probabilities * (learned / expected_shares(np.zeros((0, len(BASIC_EMOTIONS))), learned, expected)) ** strength
    result: NDArray[np.float32] = (before / before.sum(1, keepdims=True)).astype(np.float32)
    return result


def expected_shares(probabilities: Floats, learned: Floats, priors: Priors) -> Floats:
    """The shares [7] that a setting expects."""
    if priors == "balanced":
        return np.full(len(BASIC_EMOTIONS), 1.0 / len(BASIC_EMOTIONS))
    if priors == "estimated":
        return estimated_shares(probabilities, learned)
    if isinstance(priors, str):
        return learned
    shares = np.array([float(priors[word]) for word in BASIC_EMOTIONS])
    return np.asarray(shares / shares.sum())


def estimated_shares(probabilities: Floats, learned: Floats) -> Floats:
    """The shares [7] of the emotions among answers [N, 7], by expectation and maximisation (Saerens et al. 2002).

    `learned` [7] are the training's shares, towards which few answers are shrunk.
    """
    known = probabilities[~np.isnan(probabilities).any(1)]
    shares = learned
    for _ in range(ROUNDS):
        weighed = known * (shares / learned)
        found = (weighed / np.maximum(weighed.sum(1, keepdims=True), 1e-12)).sum(0)
        shares = (found + ENOUGH * learned) / (len(known) + ENOUGH)
    return shares
