"""The modalities' scores fused by weights that `dyad fuse fit` fitted to somebody's own table."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.fused import Pooled
from data.scores import Scores
from fusion.arrays import Flags, Floats, ratio
from fusion.contributions import shapley_contributions
from fusion.tables.fit import Fitted, apply_fusion
from fusion.tables.fitted import FoldedFusion
from fusion.tables.long_table import UNKNOWN, LongTable


def pool_fitted(scores: Sequence[Scores], fusion: FoldedFusion) -> Pooled:
    """Fuse scores into basic emotions by the fit on all rows of its table; each modality is a model of the fit.

    A conditional fit sees each window's quality, centred and scaled as the fit stored it; unknown counts as usual.
    `weighed` [N, M, 7] are Shapley values of each emotion's fused probability, whatever the way of pooling: exact, and below 0
    where a modality spoke against the emotion. InputError where the fit lacks a modality that answers, or has other classes.
    """
    fitted = fusion.whole
    _check(scores, fitted)
    table = _table(scores, fitted)
    weighed = _weighed(fitted, table)
    return Pooled(
        windows=scores[0].windows,
        modalities=fitted.models,
        weights=f"{fitted.method} fitted to {fusion.fitted_on.get('table', 'a table')}",
        basic=_basic(fitted, table),
        weighed=weighed,
        matrices=_matrices(weighed, table.present),
        presence=table.present,
        coverage=table.present.mean(1),
    )


def _check(scores: Sequence[Scores], fitted: Fitted) -> None:
    unknown = [item.modality for item in scores if item.modality not in fitted.models and item.present.any()]
    if unknown:
        raise InputError(
            f"The fitted fusion does not know {unknown[0]}, only {', '.join(fitted.models)}; fit it with a table that has it."
        )
    if set(fitted.classes) != set(BASIC_EMOTIONS):
        raise InputError(
            f"The fitted fusion is for the classes {', '.join(fitted.classes)}; a video needs {', '.join(BASIC_EMOTIONS)}."
        )


def _table(scores: Sequence[Scores], fitted: Fitted) -> LongTable:
    """The windows as rows of a table with the fit's models, and classes as a video has them."""
    count = len(scores[0].windows)
    probabilities = np.full((count, len(fitted.models), len(BASIC_EMOTIONS)), np.nan)
    quality = np.full((count, len(fitted.models)), np.nan)
    for item in scores:
        if item.modality in fitted.models:
            index = fitted.models.index(item.modality)
            probabilities[:, index] = np.where(item.present[:, None], item.probabilities, np.nan)
            quality[:, index] = np.nan if item.quality is None else item.quality
    none = np.full(count, "", object)
    return LongTable(
        fitted.models, BASIC_EMOTIONS, none, probabilities, ~np.isnan(probabilities[:, :, 0]),
        np.full(count, UNKNOWN), none, none, none, quality,
    )  # fmt: skip


def _basic(fitted: Fitted, table: LongTable) -> Floats:
    """Fused probabilities [N, 7] in the order of a video's classes; NaN where no model answers."""
    fused: Floats = apply_fusion(fitted, table)[:, [fitted.classes.index(name) for name in BASIC_EMOTIONS]]
    return fused


def _matrices(weighed: Floats, present: Flags) -> Floats:
    """How much of each emotion was taken from which model [N, M, 7], over all windows with the same models present.

    Columns sum to 1; what a model said against an emotion counts as 0.
    """
    result = np.zeros(weighed.shape)
    for pattern in np.unique(present, axis=0):
        rows = (present == pattern).all(1)
        total = np.maximum(weighed[rows], 0.0).sum(0)
        result[rows] = ratio(total, total.sum(0, keepdims=True))
    return result


def _weighed(fitted: Fitted, table: LongTable) -> Floats:
    """What each model adds to each emotion, [N, M, 7]."""

    def worth(coalition: Flags) -> Floats:
        """Fused probabilities [N, 7] of some models alone; 0 from none."""
        alone = np.where(coalition[..., None], table.probabilities, np.nan)
        return np.nan_to_num(_basic(fitted, replace(table, probabilities=alone, present=coalition)))

    return shapley_contributions(worth, table.present)
