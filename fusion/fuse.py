"""One entry to fusion and composition: the modalities' scores in, the fused compounds with their reasons out."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.fused import Fusion, Pooled, strongest
from data.scores import Scores
from data.windows import Windows
from fusion.arrays import Flags, Floats, Integers
from fusion.compose import Features, Method, compound_distribution, mean_similarity, method_named, similarities, winners
from fusion.composer import Composer, default_composer, none_probability
from fusion.contributions import brought_to, emotion_shares, linear_contributions, shapley_contributions
from fusion.log_linear import pool_by
from fusion.mhpf import collapse, matrices
from fusion.over_time import WAYS, abstaining, blend_of, in_context, smoothed
from fusion.sureness import sureness_of
from fusion.weights import FusionWeights, read_weights

NOTHING_PRESENT = "No modality answers for this window."
NOTHING_ABOVE_CHANCE = "No emotion of any compound is above chance in this window."
NO_FEATURES = "No modality that answers for this window brings features that centroids are known for."


class Composed(NamedTuple):
    """What a composition answers before a winner is chosen.

    Scores and distribution [N, K], the two emotions' parts [N, K, 2], and the function that divides the winner's shares
    [N, 2] among the modalities [N, M].
    """

    scores: Floats
    compound: Floats
    parts: Floats
    divide: Callable[[Integers, Floats], Floats]


def fuse(
    scores: Sequence[Scores],
    weights: FusionWeights | None = None,
    compounds: Sequence[Compound] = ABAW_COMPOUNDS,
    method: str = "ppa",
    centroids: Mapping[str, Features] | None = None,
    *,
    composer: Composer | None = None,
    none_threshold: float = 1.0,
    over_time: str = "plain",
    context_seconds: float = 0.0,
) -> Fusion:
    """Both steps at once: `pool_modalities`, then `compose_compounds` with the features that the scores bring."""
    features = {item.modality: item.features for item in scores if item.features is not None}
    return compose_compounds(
        pool_modalities(scores, weights), compounds, method, features, centroids,
        composer=composer, none_threshold=none_threshold, over_time=over_time, context_seconds=context_seconds,
    )  # fmt: skip


def pool_modalities(scores: Sequence[Scores], weights: FusionWeights | None = None) -> Pooled:
    """Fuse the modalities' scores into basic emotions; `weights` default to the shipped ones and say how they are pooled.

    A modality that the weights know and `scores` lack is absent; the order of `scores` has no influence. InputError
    when the scores are of different windows, or scores and weights do not fit together.
    """
    weights = weights or read_weights()
    windows = _check(scores, weights)
    probabilities, present = _stack(scores, weights.modalities, len(windows))
    basic, weighed = pool_by(weights, probabilities, present)
    return Pooled(
        windows=windows,
        modalities=weights.modalities,
        weights=weights.description,
        basic=basic,
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
    *,
    composer: Composer | None = None,
    none_threshold: float = 1.0,
    over_time: str = "plain",
    context_seconds: float = 0.0,
) -> Fusion:
    """Compose compounds from fused basic emotions by one of `fusion.compose.METHODS`.

    PFSA needs `features` [N, D] and `centroids` [7, D] by modality and uses those that both give. `composer` (default: the
    shipped one) tells for every method how likely none of the compounds is; above `none_threshold` (0..1) a window has no
    winner. `over_time`: one of `fusion.over_time.WAYS`. `context_seconds`: how far windows hear the ones around them
    (`fusion.over_time.in_context`; 0: not at all, and not with the way `neighbours`, which hears them already). InputError for an
    unknown method or way, a threshold outside 0..1, an empty table of compounds, or features and centroids that do not fit.
    """
    chosen = method_named(method, composer)
    _check_options(none_threshold, over_time)
    if chosen.on_features:
        composed = _from_features(pooled, chosen, compounds, features or {}, centroids or {})
    else:
        composed = _from_probabilities(pooled, chosen, compounds)
    scores, compound = composed.scores, composed.compound
    none = none_probability(composer or default_composer(), pooled.basic, compounds)
    if over_time == "neighbours" or context_seconds > 0:
        by_markov = over_time == "neighbours"
        compound, none = (
            smoothed(compound, none, pooled.windows) if by_markov else in_context(compound, none, pooled.windows, context_seconds)
        )
        # The composition knew nothing of the windows around: the scores must rank the compounds as their distribution now does.
        scores = compound * (1.0 - none)[:, None]
    likeliest = winners(scores)
    winner = abstaining(likeliest, none, none_threshold)
    shares = emotion_shares(composed.parts, winner, _of_winner(compound, winner))
    present = ~np.isnan(pooled.basic[:, 0])
    undecided = NO_FEATURES if chosen.on_features else NOTHING_ABOVE_CHANCE
    return Fusion(
        windows=pooled.windows,
        modalities=pooled.modalities,
        compounds=tuple(compounds),
        method=method,
        weights=pooled.weights,
        basic=pooled.basic,
        scores=scores,
        compound=compound,
        present=present,
        winner=winner,
        sureness=sureness_of(pooled.basic, compound, none, winner),
        blend=blend_of(pooled.basic, winner, compounds),
        contributions=_contributions(pooled, winner, composed.divide(winner, shares)),
        emotion_shares=shares,
        matrices=pooled.matrices,
        presence=pooled.presence,
        coverage=pooled.coverage,
        none=none,
        none_threshold=none_threshold,
        over_time=over_time,
        context_seconds=context_seconds,
        reasons=_reasons(pooled.basic, none, likeliest, winner, undecided),
    )


def _check_options(none_threshold: float, over_time: str) -> None:
    if not 0.0 <= none_threshold <= 1.0:
        raise InputError(f"The threshold for none of the compounds is {none_threshold}; give a number from 0 to 1.")
    if over_time not in WAYS:
        raise InputError(f"'{over_time}' is not a way to join windows over time; use one of: {', '.join(WAYS)}.")


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
        if item.windows.shape != scores[0].windows.shape or not np.allclose(item.windows, scores[0].windows, atol=1e-6):
            raise InputError(f"The windows of {item.modality} and {names[0]} differ; score both with the same windows.")
    return scores[0].windows


def _stack(scores: Sequence[Scores], modalities: Sequence[str], count: int) -> tuple[Floats, Flags]:
    """Probabilities [M, N, 7] and presence [M, N] in the order of `modalities`."""
    probabilities = np.full((len(modalities), count, len(BASIC_EMOTIONS)), np.nan)
    present = np.zeros((len(modalities), count), bool)
    for item in scores:
        index = modalities.index(item.modality)
        probabilities[index], present[index] = item.probabilities, item.present
    return probabilities, present


def _from_probabilities(pooled: Pooled, method: Method, compounds: Sequence[Compound]) -> Composed:
    parts, scores = method.parts(pooled.basic, compounds), method(pooled.basic, compounds)
    return Composed(
        scores, compound_distribution(scores), parts,
        lambda winner, shares: linear_contributions(pooled.weighed, shares, winner, compounds),
    )  # fmt: skip


def _from_features(
    pooled: Pooled,
    method: Method,
    compounds: Sequence[Compound],
    features: Mapping[str, Features],
    centroids: Mapping[str, Features],
) -> Composed:
    values, known = _similarities(pooled, features, centroids)
    evidence = mean_similarity(values, known)
    compound = method(evidence, compounds)

    def divide(winner: Integers, shares: Floats) -> Floats:
        """Shapley values of the winner's probability, brought to what it is after neighbours were heard."""

        def worth(coalition: Flags) -> Floats:
            """The winner's probability [N] from the features of some modalities alone; 0 from none."""
            return np.nan_to_num(_of_winner(method(mean_similarity(values, coalition.T), compounds), winner))

        return np.where((winner >= 0)[:, None], brought_to(shapley_contributions(worth, known.T), shares.sum(1)), np.nan)

    # Cosines may be negative: 1 + cosine measures the two emotions' parts from 0.
    return Composed(compound, compound, method.parts(1.0 + evidence, compounds), divide)


def _similarities(
    pooled: Pooled, features: Mapping[str, Features], centroids: Mapping[str, Features]
) -> tuple[Floats, Flags]:
    """Similarities [M, N, 7] and where they are known [M, N], in the order of the pooled modalities."""
    if not centroids:
        raise InputError("PFSA compares features with centroids, and none were given; compose by ppa instead.")
    values = np.full((*pooled.presence.T.shape, len(BASIC_EMOTIONS)), np.nan)
    known = np.zeros(pooled.presence.T.shape, bool)
    for index, name in enumerate(pooled.modalities):
        if name in features and name in centroids:
            values[index] = similarities(name, features[name], centroids[name])
            known[index] = pooled.presence[:, index] & np.isfinite(values[index]).all(1)
    return values, known


def _contributions(pooled: Pooled, winner: Integers, to_winner: Floats) -> Floats:
    """What each modality gave to the winner, or where none wins to the strongest emotion, [N, M]; NaN where it is absent."""
    emotion = np.maximum(strongest(pooled.basic), 0)
    taken = np.take_along_axis(pooled.weighed, emotion[:, None, None], axis=2)[..., 0]
    to_emotion = brought_to(taken, np.take_along_axis(pooled.basic, emotion[:, None], axis=1)[:, 0])
    return np.where(pooled.presence, np.where((winner >= 0)[:, None], to_winner, to_emotion), np.nan)


def _of_winner(compound: Floats, winner: Integers) -> Floats:
    return np.where(winner >= 0, compound[np.arange(len(winner)), winner], np.nan)


def _reasons(basic: Floats, none: Floats, likeliest: Integers, winner: Integers, undecided: str) -> tuple[str, ...]:
    """Why each window has no winner; empty where it has one."""
    reasons = []
    for row, chosen in enumerate(winner):
        if chosen >= 0:
            reasons.append("")
        elif np.isnan(basic[row, 0]):
            reasons.append(NOTHING_PRESENT)
        elif likeliest[row] < 0:
            reasons.append(undecided)
        else:
            most = int(basic[row].argmax())
            strongest = f"most of the evidence is for {BASIC_EMOTIONS[most]} ({100 * basic[row, most]:.0f} %)"
            reasons.append(f"None of the compounds ({100 * none[row]:.0f} % likely); {strongest}.")
    return tuple(reasons)
