"""What fusion and composition answer for a clip: per window, per moment, and as a timeline of stretches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, Compound
from data.windows import Windows

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fusion:
    """The fused answer for N windows, M modalities and K compounds; NaN and -1 where there is none.

    `basic` [N, 7] and `compound` [N, K] are distributions; `scores` [N, K] is what the composition computed before
    it was normalised. `winner` [N] is a position in `compounds`, or -1 with a sentence in `reasons` that says why.
    `contributions` [N, M] (0 for an absent modality) and `emotion_shares` [N, 2] (the winner's first and second
    emotion) each add up to the winner's `compound` probability. `matrices` [N, M, 7] says how much of each emotion
    was taken from which modality (columns sum to 1), `presence` [N, M] which modalities answered, `coverage` [N] the
    part of the fusion's full trust that they hold (0..1). `confidence` [N] is 4 p q in 0..1, with p and q the fused
    probabilities of the winner's two emotions: 1 when the two share all the evidence equally, near 0 when one of them
    stands alone or neutral rules.
    """

    windows: Windows
    modalities: tuple[str, ...]
    compounds: tuple[Compound, ...]
    method: str
    weights: str
    basic: Floats
    scores: Floats
    compound: Floats
    present: NDArray[np.bool_]
    winner: NDArray[np.int64]
    confidence: Floats
    contributions: Floats
    emotion_shares: Floats
    matrices: Floats
    presence: NDArray[np.bool_]
    coverage: Floats
    reasons: tuple[str, ...]

    @property
    def neutral(self) -> Floats:
        """Fused probability of neutral [N]: how little a window shows at all, whichever compound wins it."""
        return self.basic[:, BASIC_EMOTIONS.index("neutral")]

    @property
    def is_absent(self) -> bool:
        """True when no window has a winning compound."""
        return not bool((self.winner >= 0).any())


@dataclass(frozen=True, eq=False)
class Moments:
    """The answer at T points in time (s): means over the windows around each; NaN and -1 where no window answers."""

    times: Floats
    basic: Floats
    compound: Floats
    winner: NDArray[np.int64]
    confidence: Floats


@dataclass(frozen=True)
class Stretch:
    """A stretch of time (s) with one winning compound; `confidence` and `neutral` are means over it, 0..1."""

    start: float
    end: float
    compound: str
    confidence: float
    neutral: float
