"""What a modality that a user adds is given about a clip, and how it answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.errors import InputError
from data.media.clip import Clip
from data.media.frames import Frame
from data.scores import Scores, Source
from data.windows import Windows


@dataclass(frozen=True, eq=False)
class Material:
    """A clip as far as it is taken apart before a modality answers; times are seconds from the clip's start.

    `windows` [N, 2]; `audio` is 16 kHz mono WAV, None without sound; `faces` and `words` are tables, a row a face or a phrase,
    empty where there are none; `crops`, uint8 [M, S, S, 3], has the picture of each row of `faces`; `options` are those of the
    settings, `added.<name>`; `pictures` is what `frames` calls.
    """

    modality: str
    clip: Clip
    windows: Windows
    pictures: Callable[[float | None], Iterator[Frame]]
    audio: Path | None
    faces: pd.DataFrame
    crops: Path | None
    words: pd.DataFrame
    options: Mapping[str, object]

    def frames(self, frames_per_second: float | None = None) -> Iterator[Frame]:
        """The sampled pictures (`rgb`: uint8 [H, W, 3]; `time_s`), by default all of them; none for a clip without a picture."""
        return self.pictures(frames_per_second)

    def answer(
        self, probabilities: ArrayLike, model: str, preprocessing: str = "", evidence: pd.DataFrame | None = None,
        quality: ArrayLike | None = None,
    ) -> Scores:  # fmt: skip
        """Scores from probabilities [N, 7] in the order of `data.emotions.BASIC_EMOTIONS`, NaN rows where absent.

        Rows are scaled to sum to 1; `evidence` is a table that people can read; `quality` [N] says how well each window could be
        judged (any numbers, more is better, NaN where unknown). InputError for another shape, negative numbers or rows of zeros.
        """
        values = np.array(probabilities, np.float32)
        if values.shape != (len(self.windows), 7):
            raise InputError(f"{self.modality} answered {values.shape}; it must be [{len(self.windows)}, 7], a row a window.")
        present: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1), np.bool_)
        if (values[present] < 0).any() or (values[present].sum(axis=1) <= 0).any():
            raise InputError(f"{self.modality} answered with negative numbers or a row of zeros; where it has none, give NaN.")
        values[~present] = np.nan
        values[present] /= values[present].sum(axis=1, keepdims=True)
        reason = "" if present.any() else "It has no answer for any window."
        table, source = pd.DataFrame() if evidence is None else evidence, Source("added", model, "", preprocessing)
        told = None if quality is None else np.array(quality, np.float32)
        if told is not None:
            if told.shape != present.shape:
                raise InputError(f"{self.modality} gave the quality of {told.shape}; it must be [{len(present)}], one a window.")
            told[~present] = np.nan
        return Scores(self.modality, self.windows, values, present, source, reason, evidence=table, quality=told)

    def absent(self, reason: str, remedy: str = "") -> Scores:
        """No answer for this clip: why, and what would give one, in sentences."""
        return Scores.absent(self.modality, self.windows, reason, remedy)
