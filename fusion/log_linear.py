"""Log-linear pooling: modalities multiply, each by its share of MHPF's weights, and exact for missing modalities as it is.

    l[m, c] = log(p[m, c] + floor) / T[m], less its mean over the classes; T is 1 for a modality that is alone
    o[c] is proportional to exp( sqrt(n) sum over present m of A[m, c] l[m, c] ),     n the number of modalities present

A is MHPF's matrix of the present modalities (`fusion.mhpf.collapse`), T how over-sure each is. Two modalities that each find an
emotion likely outvote one that is sure of another, which no mean lets them. With the exponent n modalities would count as if they
never erred together, with 1 as if always; the square root has the least log loss in nearly every table of models that was tried.
One alone is taken at its word: there is nothing to weigh it against.
"""

import numpy as np

from fusion.arrays import Flags, Floats, softmax
from fusion.contributions import shapley_contributions
from fusion.mhpf import matrices, pool, weigh
from fusion.weights import FusionWeights

FLOOR = 1e-4
"""Added to probabilities before their logarithm: nobody's zero is a veto."""


def log_linear(weights: FusionWeights, probabilities: Floats, present: Flags) -> Floats:
    """Fuse probabilities [M, N, C] with presence [M, N] into distributions [N, C]; NaN where nothing is present."""
    count = present.sum(0)
    over = np.array(weights.temperatures or np.ones(len(weights.modalities)))[:, None]
    logs = np.log(np.where(present[..., None], probabilities, 1.0) + FLOOR) / np.where(count == 1, 1.0, over)[..., None]
    evidence = np.where(present[..., None], logs - logs.mean(-1, keepdims=True), 0.0)
    summed = np.einsum("nmc,mnc->nc", matrices(weights, present), evidence) * np.sqrt(count)[:, None]
    return np.where((count > 0)[:, None], softmax(summed), np.nan)


def pool_by(weights: FusionWeights, probabilities: Floats, present: Flags) -> tuple[Floats, Floats]:
    """Fused distributions [N, C] by the weights' own pooling, and what each modality adds to each of them [N, M, C].

    Of a mean the parts are those of MHPF; of a product they are Shapley values, below 0 for a modality that spoke against.
    """
    if weights.pooling == "mean":
        weighed = weigh(weights, probabilities, present)
        return pool(weighed, present), weighed

    def worth(coalition: Flags) -> Floats:
        """Fused probabilities [N, C] of some modalities alone; 0 from none."""
        return np.nan_to_num(log_linear(weights, probabilities, coalition.T))

    return log_linear(weights, probabilities, present), shapley_contributions(worth, present.T)
