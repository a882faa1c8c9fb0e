"""Three array operations that all of fusion is written in, each with a stated answer where the plain one has none."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]


def ratio(numerator: Floats, denominator: Floats, otherwise: float = 0.0) -> Floats:
    """Quotient, broadcast; `otherwise` where the denominator is not above 0."""
    over, under = np.broadcast_arrays(numerator, denominator)
    result: Floats = np.divide(over, under, out=np.full(over.shape, otherwise), where=under > 0)
    return result


def softmax(values: Floats, axis: int = -1, keep: Flags | None = None) -> Floats:
    """Softmax along `axis` over the entries flagged in `keep` (default: all); the rest, and lines with none, are 0."""
    values, kept = np.broadcast_arrays(values, np.True_ if keep is None else keep)
    top = np.max(values, axis=axis, keepdims=True, initial=-np.inf, where=kept)
    powers = np.exp(np.subtract(values, top, out=np.full(values.shape, -np.inf), where=kept))
    return ratio(powers, powers.sum(axis, keepdims=True))


def as_distribution(scores: Floats) -> Floats:
    """Scale rows [..., K] of non-negative scores to sum to 1; a row that is all zero or NaN has none and is NaN."""
    return ratio(scores, scores.sum(-1, keepdims=True), np.nan)
