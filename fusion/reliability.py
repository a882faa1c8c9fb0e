"""Default fusion weights from what each modality's model was measured to reach on data that it never saw.

Two heads, mixed equally: what a modality is good at, and how good it is on the whole,

    head 1:  W[m, c] = logit(r[m, c]),   r[m, c] = the mean of the recall of class c and the UAR, of modality m
    head 2:  W[m, c] = logit(UAR[m]),    the same for every class

The log-odds of being right are the weight that a vote deserves when voters err independently (Nitzan and Paroush,
1982), and after the softmax of MHPF a modality has a share in proportion to its odds. The recall of one class is
measured on few examples and rises when a model cries that class too often: hence the mean with the UAR, and the second
head. Chance, being the same for all, drops out of the softmax. A modality without a measurement gets the mean of the
others' weights.

What this cannot know: that two modalities make the same mistakes (both face models), and that the measured data differ
between modalities. Weights fitted on clips that have all of them would.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.scores import MODALITIES
from fusion.arrays import Floats
from fusion.weights import FusionWeights

CERTAIN = 0.98
"""Recall is held within 1 - CERTAIN and CERTAIN: no finite test shows a model to be always right, or never."""


class MeasuredCard(TypedDict, total=False):
    """What is read of a model card: the recall of each class and the figures (`uar`) on held-out data, 0..1."""

    per_class_recall: Mapping[str, float] | None
    metrics: Mapping[str, float] | None


def derive_weights(
    cards: Mapping[str, MeasuredCard],
    date: str = "",
    modalities: Sequence[str] = MODALITIES,
    classes: Sequence[str] = BASIC_EMOTIONS,
) -> FusionWeights:
    """MHPF weights from model cards: for each modality a mapping with `per_class_recall` {class: 0..1}.

    `metrics` may give the `uar`; the mean of the known recalls otherwise. A class without a recall counts with the UAR.
    InputError when no card belongs to a modality, or a card gives no usable recall.
    """
    measured = [name for name in modalities if name in cards]
    if not measured:
        raise InputError(f"No model card belongs to one of {', '.join(modalities)}; train the models first.")
    heads = {name: _log_odds(name, cards[name], classes) for name in measured}
    neutral: Floats = np.mean(list(heads.values()), axis=0)
    table = np.stack([heads.get(name, neutral) for name in modalities], axis=1)
    text = _in_words(cards, measured, [name for name in modalities if name not in cards])
    return FusionWeights(tuple(modalities), tuple(classes), table, np.zeros(2), text, date)


def _log_odds(name: str, card: MeasuredCard, classes: Sequence[str]) -> Floats:
    """The two heads of one modality, [2, C]."""
    uar, recalls = uar_of(name, card), card.get("per_class_recall") or {}
    per_class = np.array([float(recalls.get(word, np.nan)) for word in classes])
    per_class = (np.where(np.isnan(per_class), uar, per_class) + uar) / 2
    return _logit(np.stack([per_class, np.full(len(classes), uar)]))


def uar_of(name: str, card: MeasuredCard) -> float:
    """The unweighted average recall that a card states, 0..1, or the mean of its per-class recalls."""
    known = [float(value) for value in (card.get("per_class_recall") or {}).values()]
    stated = (card.get("metrics") or {}).get("uar")
    uar = float(stated) if stated is not None else float(np.nanmean(known)) if known else np.nan
    if not 0.0 <= uar <= 1.0 or any(value < 0.0 or value > 1.0 for value in known):
        raise InputError(f"The model card of {name} gives no recall between 0 and 1; train the model again.")
    return uar


def _logit(recall: Floats) -> Floats:
    bounded = np.clip(recall, 1.0 - CERTAIN, CERTAIN)
    odds: Floats = np.log(bounded / (1.0 - bounded))
    return odds


def _in_words(cards: Mapping[str, MeasuredCard], measured: Sequence[str], unmeasured: Sequence[str]) -> str:
    reached = ", ".join(f"{name} {100 * uar_of(name, cards[name]):.1f}" for name in measured)
    text = (
        f"derived from the models' held-out recall (UAR %: {reached}) as log-odds of being right: of the mean of class "
        "recall and UAR in head 1, of the UAR in head 2"
    )
    if not unmeasured:
        return text
    return f"{text}; {', '.join(unmeasured)}: no measurement, so the mean of the others"
