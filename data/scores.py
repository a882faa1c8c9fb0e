"""Scores: the one value object that every modality returns, and its parquet form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.added_modalities import BUILT_IN, added_modalities
from data.emotions import BASIC_EMOTIONS
from data.windows import Windows

MODALITIES: tuple[str, ...] = (*BUILT_IN, *added_modalities())
"""The modalities that ship and those that the user adds, in the order of every table."""
OF_THE_SCENE = ("scene_labels", "scene_context")
"""Those that look at whole pictures, whoever is in them."""


@dataclass(frozen=True)
class Source:
    """What made the scores: backend, model, its revision (or digest), and its preprocessing in words."""

    backend: str
    model: str
    revision: str = ""
    preprocessing: str = ""


@dataclass(frozen=True)
class Scores:
    """One modality's answer: probabilities [N, 7] for windows [N, 2] (s); rows where `present` is False are NaN.

    `features` [N, D] may hold the network's embedding of each window; `evidence` is a table a person can read, with the
    window's number in its column `window` where a row belongs to one. A modality with no answer at all says why
    (`reason`) and what would give one (`remedy`), both whole sentences. `quality` [N] says how well the modality could see or
    hear each window (`modalities.quality`; more is better, NaN where unknown); None where nothing says it. `notes` are sentences
    about how what a user gave was understood. `expected` are the shares of the emotions that were estimated and are expected in
    the probabilities (`modalities.priors`); None where none were.
    """

    modality: str
    windows: Windows
    probabilities: NDArray[np.float32]
    present: NDArray[np.bool_]
    source: Source | None = None
    reason: str = ""
    remedy: str = ""
    features: NDArray[np.float32] | None = None
    evidence: pd.DataFrame = field(default_factory=pd.DataFrame)
    quality: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    expected: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        count = len(self.windows)
        if self.modality not in MODALITIES:
            raise ValueError(f"'{self.modality}' is not a modality")
        if self.probabilities.shape != (count, len(BASIC_EMOTIONS)) or self.present.shape != (count,):
            raise ValueError(f"{self.modality}: {self.probabilities.shape} scores for {count} windows")
        if self.features is not None and len(self.features) != count:
            raise ValueError(f"{self.modality}: {len(self.features)} features for {count} windows")
        if self.quality is not None and self.quality.shape != (count,):
            raise ValueError(f"{self.modality}: the quality of {self.quality.shape} windows instead of {count}")
        shown = self.probabilities[self.present]
        if shown.size and not np.allclose(shown.sum(1), 1.0, atol=1e-3):
            raise ValueError(f"{self.modality}: the probabilities of a present window do not sum to 1")
        if not np.isnan(self.probabilities[~self.present]).all():
            raise ValueError(f"{self.modality}: an absent window must be NaN")

    @classmethod
    def absent(cls, modality: str, windows: Windows, reason: str, remedy: str = "", source: Source | None = None) -> Self:
        """A modality without an answer for any window."""
        probabilities = np.full((len(windows), len(BASIC_EMOTIONS)), np.nan, np.float32)
        return cls(modality, windows, probabilities, np.zeros(len(windows), bool), source, reason, remedy)

    @property
    def is_absent(self) -> bool:
        """True when no window has an answer."""
        return not bool(self.present.any())
