"""One entry to fusion and composition: the modalities' scores in, the fused compounds with their reasons out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.fused import Fusion
from data.scores import Scores
from data.windows import Windows
from fusion.arrays import Flags, Floats, Integers
from fusion.compose import (
    Features,
    Method,
    compound_distribution,
    mean_similarity,
    method_named,
    similarities,
    winners,
)
from fusion.contributions import emotion_shares, linear_contributions, shapley_contributions
from fusion.mhpf import collapse, matrices, pool, weigh
from fusion.over_time import confidence_of
from fusion.weights import FusionWeights, read_weights

NOTHING_PRESENT = "No modality answers for this window."
NOTHING_ABOVE_CHANCE = "No emotion of any compound is above chance in this window."
NO_FEATURES = "No modality that answers for this window brings features that centroids are known for."


class Composed(NamedTuple):
    """What a composition answers: scores and distribution [N, K], winner [N], and what it is made of [N, 2], [N, M]."""

    scores: Floats
    compound: Floats
    winner: Integers
    emotion_shares: Floats
    contributions: Floats


def fuse(
    scores: Sequence[Scores],
    weights: FusionWeights | None = None,
    compounds: Sequence[Compound] = ABAW_COMPOUNDS,
    method: str = "ppa",
    centroids: Mapping[str, Features] | None = None,
) -> Fusion:
    """Fuse the modalities' scores with MHPF and compose compounds by one of `fusion.compose.METHODS`.

    `weights` default to the shipped ones; a modality that they know and `scores` lack is absent. PFSA also needs
    `centroids` [7, D] by modality. The order of `scores` has no influence. InputError when they do not fit together.
    """
    weights, chosen = weights or read_weights(), method_named(method)
    windows = _check(scores, weights)
    probabilities, present = _stack(scores, weights.modalities, len(windows))
    weighed = weigh(weights, probabilities, present)
    answered: Flags = np.logical_or.reduce(present)
    basic = pool(weighed, answered)
    if chosen.on_features:
        composed = _from_features(scores, weights.modalities, len(windows), chosen, compounds, centroids or {})
    else:
        composed = _from_probabilities(basic, weighed, chosen, compounds)
    return Fusion(
        windows=windows,
        modalities=weights.modalities,
        compounds=tuple(compounds),
        method=method,
        weights=weights.description,
        basic=basic,
        present=answered,
        confidence=confidence_of(basic, composed.winner, compounds),
        matrices=matrices(weights, present),
        presence=present.T,
        coverage=present.T @ collapse(weights).mean(1),
        reasons=_reasons(answered, composed.winner, NO_FEATURES if chosen.on_features else NOTHING_ABOVE_CHANCE),
        **composed._asdict(),
    )


def _check(scores: Sequence[Scores], weights: FusionWeights) -> Windows:
    """The windows that all scores share; InputError where scores, or scores and weights, do not fit together."""
    names = [item.modality for item in scores]
    if not names:
        raise InputError("There are no scores to fuse; give those of at least one modality, absent or not.")
    if weights.classes != BASIC_EMOTIONS:
        raise InputError(
            f"The fusion weights are for the classes {', '.join(weights.classes)}; use some that were made for "
            f"{', '.join(BASIC_EMOTIONS)}."
        )
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"The modality {name} occurs {names.count(name)} times among the scores; give it once.")
        if name not in weights.modalities:
            known = ", ".join(weights.modalities)
            raise InputError(f"The fusion weights do not know {name}, only {known}; leave it out or use other weights.")
    for item in scores:
        if not _same(item.windows, scores[0].windows):
            raise InputError(f"The windows of {item.modality} and {names[0]} differ; score both with the same windows.")
    return scores[0].windows


def _same(one: Windows, other: Windows) -> bool:
    return one.shape == other.shape and np.allclose(one, other, atol=1e-6)


def _stack(scores: Sequence[Scores], modalities: Sequence[str], count: int) -> tuple[Floats, Flags]:
    """Probabilities [M, N, 7] and presence [M, N] in the order of `modalities`."""
    probabilities = np.full((len(modalities), count, len(BASIC_EMOTIONS)), np.nan)
    present = np.zeros((len(modalities), count), bool)
    for item in scores:
        place = modalities.index(item.modality)
        probabilities[place], present[place] = item.probabilities, item.present
    return probabilities, present


def _from_probabilities(basic: Floats, weighed: Floats, method: Method, compounds: Sequence[Compound]) -> Composed:
    scores = method(basic, compounds)
    compound, winner = compound_distribution(scores), winners(scores)
    shares = emotion_shares(method.parts(basic, compounds), winner, _of_winner(compound, winner))
    return Composed(scores, compound, winner, shares, linear_contributions(weighed, shares, winner, compounds))


def _from_features(
    scores: Sequence[Scores],
    modalities: Sequence[str],
    count: int,
    method: Method,
    compounds: Sequence[Compound],
    centroids: Mapping[str, Features],
) -> Composed:
    values, known = _similarities(scores, modalities, count, centroids)

    def worth(coalition: Flags) -> Floats:
        """The winner's probability [N] from the features of some modalities alone; 0 from none."""
        return np.nan_to_num(_of_winner(method(mean_similarity(values, coalition.T), compounds), winner))

    evidence = mean_similarity(values, known)
    compound = method(evidence, compounds)
    winner = winners(compound)
    # Cosines may be negative: 1 + cosine measures the two emotions' parts from 0.
    shares = emotion_shares(method.parts(1.0 + evidence, compounds), winner, _of_winner(compound, winner))
    contributions = np.where((winner >= 0)[:, None], shapley_contributions(worth, known.T), np.nan)
    return Composed(compound, compound, winner, shares, contributions)


def _similarities(
    scores: Sequence[Scores], modalities: Sequence[str], count: int, centroids: Mapping[str, Features]
) -> tuple[Floats, Flags]:
    """Similarities [M, N, 7] and where they are known [M, N], in the order of `modalities`."""
    if not centroids:
        raise InputError("PFSA compares features with centroids, and none were given; compose by ppa instead.")
    values = np.full((len(modalities), count, len(BASIC_EMOTIONS)), np.nan)
    known = np.zeros((len(modalities), count), bool)
    for item in scores:
        if item.features is not None and item.modality in centroids:
            place, name = modalities.index(item.modality), item.modality
            found, flags = similarities({name: item.features}, centroids, {name: item.present})
            values[place], known[place] = found[0], flags[0]
    return values, known


def _of_winner(compound: Floats, winner: Integers) -> Floats:
    return np.where(winner >= 0, compound[np.arange(len(winner)), winner], np.nan)


def _reasons(present: Flags, winner: Integers, undecided: str) -> tuple[str, ...]:
    """Why a window has no winner; empty where it has one."""
    why = np.where(present, undecided, NOTHING_PRESENT)
    return tuple(np.where(winner >= 0, "", why).tolist())
