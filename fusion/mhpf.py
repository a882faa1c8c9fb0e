"""Multi-Head Probability Fusion (MHPF, RAS, arXiv 2507.02205), exact for missing modalities.

    alpha[h, m, c] = softmax over the present modalities m of head_weights[h, m, c]
    o[c] = sum_h beta[h] sum_m alpha[h, m, c] p[m, c],     beta = softmax(head_combine)

A modality that is absent from a window leaves the softmax of that window, so the result is that of an MHPF which never
had it. All heads together amount to one matrix A [M, C] with columns that sum to 1 (`collapse`).
"""

import numpy as np

from fusion.arrays import Flags, Floats, as_distribution, softmax
from fusion.weights import FusionWeights


def head_shares(weights: FusionWeights, present: Flags) -> Floats:
    """Each head's shares of the modalities [..., H, M, C] for presence flags [..., M]; 0 for an absent modality."""
    return softmax(weights.head_weights, axis=-2, keep=present[..., None, :, None])


def collapse(weights: FusionWeights, present: Flags | None = None) -> Floats:
    """The one matrix [..., M, C] that all heads amount to for presence flags [..., M] (default: all present).

    Columns sum to 1, rows of absent modalities are 0.
    """
    if present is None:
        present = np.ones(len(weights.modalities), bool)
    matrix: Floats = np.einsum("h,...hmc->...mc", softmax(weights.head_combine), head_shares(weights, present))
    return matrix


def matrices(weights: FusionWeights, present: Flags) -> Floats:
    """`collapse` for every window: presence [M, N] -> [N, M, C]; each pattern of presence is computed once."""
    patterns, index = np.unique(present.T, axis=0, return_inverse=True)
    return collapse(weights, patterns)[index.reshape(-1)]


def weigh(weights: FusionWeights, probabilities: Floats, present: Flags) -> Floats:
    """What each modality adds to each class, A[m, c] p[m, c], as [N, M, C]; 0 for an absent modality.

    `probabilities` [M, N, C] may hold anything where `present` [M, N] is False.
    """
    known = np.where(present[..., None], probabilities, 0.0)
    return matrices(weights, present) * known.transpose(1, 0, 2)


def pool(weighed: Floats, present: Flags, normalise: bool = True) -> Floats:
    """Add `weighed` [N, M, C] up over the modalities: [N, C], distributions unless `normalise` is False.

    NaN where `present` [M, N] has nothing. The authors' fused vector does not quite sum to 1; ours does.
    """
    answered: Flags = np.logical_or.reduce(present)
    fused = np.where(answered[:, None], weighed.sum(1), np.nan)
    return as_distribution(fused) if normalise else fused


def mhpf(weights: FusionWeights, probabilities: Floats, present: Flags | None = None, normalise: bool = True) -> Floats:
    """Fuse probabilities [M, N, C] with presence [M, N] (default: all) into [N, C]; NaN where nothing is present."""
    if present is None:
        present = np.ones(probabilities.shape[:2], bool)
    return pool(weigh(weights, probabilities, present), present, normalise)
