"""From basic emotions to compounds: PPA, AVCER's two rules, PFSA, and the learned composer, for any table of compounds.

Every method adds two parts, one for each emotion of the pair, computed from evidence [N, 7] for the basic emotions:
fused probabilities, or for PFSA similarities of features to the emotions' centroids. Rows of NaN stay NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, Compound
from data.errors import InputError
from fusion.arrays import Flags, Floats, Integers, as_distribution, ratio, softmax
from fusion.composer import Composer, default_composer, pair_probabilities

Features = NDArray[np.float32]
Parts = Callable[[Floats, Sequence[Compound]], Floats]

TEMPERATURE = 1.0
"""Of the softmax over compounds in PFSA."""


def pairs_of(compounds: Sequence[Compound]) -> Integers:
    """Positions of the two emotions of each compound [K, 2]; InputError for an empty table."""
    if not compounds:
        raise InputError("The table of compounds is empty; give at least one pair of basic emotions.")
    return np.array([compound.pair for compound in compounds], np.int64)


def pair_parts(evidence: Floats, compounds: Sequence[Compound]) -> Floats:
    """PPA (RAS): the two probabilities themselves, [N, K, 2]; the score is their plain sum."""
    parts: Floats = evidence[:, pairs_of(compounds)]
    return parts


def masked_parts(evidence: Floats, compounds: Sequence[Compound]) -> Floats:
    """AVCER rule 1: only probabilities strictly above chance (1/C) count, the others are 0."""
    chance = 1.0 / evidence.shape[1]
    return pair_parts(np.where((evidence > chance) | np.isnan(evidence), evidence, 0.0), compounds)


def rarity(compounds: Sequence[Compound]) -> Floats:
    """AVCER rule 2: the weights [K, 2] of the two emotions of each compound, summing to 1.

    With n_e of the K compounds holding emotion e, d_e = K - n_e and the weights are d_e / (d_e1 + d_e2): surprise,
    which five of the seven ABAW compounds hold, tells little. Halves where every compound holds both emotions.
    """
    pairs = pairs_of(compounds)
    counts = np.bincount(pairs.ravel(), minlength=len(BASIC_EMOTIONS))
    scarce = (len(pairs) - counts)[pairs].astype(np.float64)
    return ratio(scarce, scarce.sum(1, keepdims=True), 0.5)


def weighted_parts(evidence: Floats, compounds: Sequence[Compound]) -> Floats:
    """AVCER rule 2: probabilities weighted by how rare the emotion is, S = (d1 p1 + d2 p2) / (d1 + d2)."""
    return pair_parts(evidence, compounds) * rarity(compounds)


def masked_weighted_parts(evidence: Floats, compounds: Sequence[Compound]) -> Floats:
    """AVCER rules 1 and 2 together: the mask first, then the weights."""
    return masked_parts(evidence, compounds) * rarity(compounds)


def learned_parts(evidence: Floats, compounds: Sequence[Compound], composer: Composer | None = None) -> Floats:
    """Learned composer (`fusion.composer`): the pair's probability, divided in proportion to its two emotions'."""
    probability = pair_probabilities(composer or default_composer(), evidence, compounds)
    both = pair_parts(evidence, compounds)
    return ratio(both, both.sum(-1, keepdims=True), 0.5) * probability[..., None]


@dataclass(frozen=True)
class Method:
    """A way to compose: its title, its two parts [N, K, 2], and whether its evidence are similarities of features."""

    title: str
    parts: Parts
    on_features: bool = False

    def __call__(self, evidence: Floats, compounds: Sequence[Compound]) -> Floats:
        """Scores [N, K] of the compounds from evidence [N, 7]; for a method on features already a distribution."""
        scores: Floats = self.parts(evidence, compounds).sum(-1)
        if not self.on_features:
            return scores
        return np.where(np.isnan(scores), np.nan, softmax(np.nan_to_num(scores) / TEMPERATURE))


METHODS: dict[str, Method] = {
    "learned": Method("learned composer, from votes and texts with two emotions", learned_parts),
    "ppa": Method("pair sum of the fused probabilities (PPA)", pair_parts),
    "pfsa": Method("pair sum of feature similarities (PFSA, our reconstruction)", pair_parts, on_features=True),
    "avcer_rule1": Method("pair sum of probabilities above chance (AVCER rule 1)", masked_parts),
    "avcer_rule2": Method("pair mean weighted by rarity (AVCER rule 2)", weighted_parts),
    "avcer_both": Method("above chance, weighted by rarity (AVCER rules 1 and 2)", masked_weighted_parts),
}


def method_named(name: str, composer: Composer | None = None) -> Method:
    """Look up a method, the learned one with the given composer (default: the shipped); InputError listing the known ones."""
    if name not in METHODS:
        raise InputError(f"'{name}' is not a way to compose emotions; use one of: {', '.join(METHODS)}.")
    method = METHODS[name]
    if name != "learned" or composer is None:
        return method
    return replace(method, parts=partial(learned_parts, composer=composer))


def compound_distribution(scores: Floats) -> Floats:
    """Scores [N, K] scaled to sum to 1; NaN where no compound has any (rule 1: no emotion passed the mask)."""
    return as_distribution(scores)


def winners(scores: Floats) -> Integers:
    """Position of each row's highest score [N, K], the lowest of a tie; -1 where no compound has any score."""
    answered = np.nan_to_num(scores).max(1, initial=0.0) > 0
    return np.where(answered, np.nan_to_num(scores, nan=-np.inf).argmax(1), -1)


def similarities(name: str, features: Features, centroids: Features) -> Floats:
    """Cosine similarity [N, 7] of features [N, D] to the emotions' centroids [7, D], for PFSA; NaN for a zero row.

    RAS names PFSA but publishes no equation; this follows what its files let one see: s_e = cos(z, mu_e) with mu_e the
    mean feature of emotion e, S_k = s_e1 + s_e2, softmax over the compounds. InputError, naming the modality `name`,
    when features and centroids do not fit.
    """
    rows, targets = np.asarray(features, np.float64), np.asarray(centroids, np.float64)
    expected = (len(BASIC_EMOTIONS), rows.shape[1])
    if targets.shape != expected or not np.isfinite(targets).all():
        raise InputError(
            f"The centroids of {name} have the shape {targets.shape} or hold gaps, but its features need finite ones "
            f"of shape {expected}; use centroids and features of the same weights."
        )
    units = ratio(rows, np.linalg.norm(rows, axis=1, keepdims=True), np.nan)
    cosines: Floats = units @ ratio(targets, np.linalg.norm(targets, axis=1, keepdims=True)).T
    return cosines


def mean_similarity(values: Floats, known: Flags) -> Floats:
    """Mean of [M, N, 7] over the modalities where they are `known` [M, N]; NaN where none is."""
    sums = np.where(known[..., None], values, 0.0).sum(0)
    return ratio(sums, known.sum(0)[:, None].astype(np.float64), np.nan)
