"""One entry to fusion and composition: the modalities' scores in, the fused compounds with their reasons out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.fused import Fusion, Pooled
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
    """What a composition answers: scores and distribution [N, K], winner [N], what it is made of [N, 2] and [N, M]."""

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
    """Both steps at once: `pool_modalities`, then `compose_compounds` with the features that the scores bring."""
    features = {item.modality: item.features for item in scores if item.features is not None}
    return compose_compounds(pool_modalities(scores, weights), compounds, method, features, centroids)


def pool_modalities(scores: Sequence[Scores], weights: FusionWeights | None = None) -> Pooled:
    """Fuse the modalities' scores into basic emotions with MHPF; `weights` default to the shipped ones.

    A modality that the weights know and `scores` lack is absent; the order of `scores` has no influence. InputError
    when the scores are of different windows, or scores and weights do not fit together.
    """
    weights = weights or read_weights()
    windows = _check(scores, weights)
    probabilities, present = _stack(scores, weights.modalities, len(windows))
    weighed = weigh(weights, probabilities, present)
    return Pooled(
        windows=windows,
        modalities=weights.modalities,
        weights=weights.description,
        basic=pool(weighed, present),
        weighed=weighed,
        matrices=matrices(weights, present),
        presence=present.T,
        coverage=present.T @ collapse(weights).mean(1),
    )


def compose_compounds(
    pooled: Pooled,
    compounds: Sequence[Compound] = ABAW_COMPOUNDS,
    method: str = "ppa",
    features: Mapping[str, Features] | None = None,
    centroids: Mapping[str, Features] | None = None,
) -> Fusion:
    """Compose compounds from fused basic emotions by one of `fusion.compose.METHODS`.

    PFSA needs `features` [N, D] and `centroids` [7, D] by modality and uses those that both give. InputError for an
    unknown method, an empty table of compounds, or features and centroids that do not fit.
    """
    chosen = method_named(method)
    if chosen.on_features:
        composed = _from_features(pooled, chosen, compounds, features or {}, centroids or {})
    else:
        composed = _from_probabilities(pooled, chosen, compounds)
    present = ~np.isnan(pooled.basic[:, 0])
    return Fusion(
        windows=pooled.windows,
        modalities=pooled.modalities,
        compounds=tuple(compounds),
        method=method,
        weights=pooled.weights,
        basic=pooled.basic,
        present=present,
        confidence=confidence_of(pooled.basic, composed.winner, compounds),
        matrices=pooled.matrices,
        presence=pooled.presence,
        coverage=pooled.coverage,
        reasons=_reasons(present, composed.winner, NO_FEATURES if chosen.on_features else NOTHING_ABOVE_CHANCE),
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


def _from_probabilities(pooled: Pooled, method: Method, compounds: Sequence[Compound]) -> Composed:
    scores = method(pooled.basic, compounds)
    compound, winner = compound_distribution(scores), winners(scores)
    shares = emotion_shares(method.parts(pooled.basic, compounds), winner, _of_winner(compound, winner))
    contributions = linear_contributions(pooled.weighed, shares, winner, compounds)
    return Composed(scores, compound, winner, shares, contributions)


def _from_features(
    pooled: Pooled,
    method: Method,
    compounds: Sequence[Compound],
    features: Mapping[str, Features],
    centroids: Mapping[str, Features],
) -> Composed:
    values, known = _similarities(pooled, features, centroids)

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
    pooled: Pooled, features: Mapping[str, Features], centroids: Mapping[str, Features]
) -> tuple[Floats, Flags]:
    """Similarities [M, N, 7] and where they are known [M, N], in the order of the pooled modalities."""
    if not centroids:
        raise InputError("PFSA compares features with centroids, and none were given; compose by ppa instead.")
    values = np.full((*pooled.presence.T.shape, len(BASIC_EMOTIONS)), np.nan)
    known = np.zeros(pooled.presence.T.shape, bool)
    for place, name in enumerate(pooled.modalities):
        if name in features and name in centroids:
            values[place] = similarities(name, features[name], centroids[name])
            known[place] = pooled.presence[:, place] & np.isfinite(values[place]).all(1)
    return values, known


def _of_winner(compound: Floats, winner: Integers) -> Floats:
    return np.where(winner >= 0, compound[np.arange(len(winner)), winner], np.nan)


def _reasons(present: Flags, winner: Integers, undecided: str) -> tuple[str, ...]:
    """Why a window has no winner; empty where it has one."""
    why = np.where(present, undecided, NOTHING_PRESENT)
    return tuple(np.where(winner >= 0, "", why).tolist())
