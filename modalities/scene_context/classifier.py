"""Descriptions of a scene read by a text classifier."""

import pandas as pd

from data.batches import BATCH
from data.scores import Scores
from data.windows import Windows
from modalities.loading.batching import Batches, in_batches
from modalities.scene_context.embedded import scores_of_windows
from modalities.text.classifier import score_rows
from modalities.text.models import TextClassifier


def recognise_descriptions(
    model: TextClassifier, descriptions: pd.DataFrame, windows: Windows, *, batches: Batches = in_batches, batch: int = BATCH
) -> Scores:
    """Score descriptions of a scene (`start`, `end` (s), `text`, perhaps `window`, `author` or `source`) for each window.

    What several descriptions of one window count is as in `modalities.scene_context.embedded`.
    """
    described = descriptions.reset_index(drop=True)
    scores, features = score_rows(model, described["text"].tolist(), batches, batch)
    return scores_of_windows(described, scores, features, windows, model.source)
