"""Default fusion weights from what each modality's model was measured to reach on data that it never saw.

A modality is trusted with an emotion by the odds of its being right there:

    W[m, c] = log(r / (1 - r)) / 2,   r = (n[m, c] recall[m, c] + k u[m]) / (n[m, c] + k)
                                      u[m] = (n[m] UAR[m] + j C u) / (n[m] + j C)

n counts people or films, not frames of them, and u is the mean of all modalities' UAR: so where evidence is thin, an emotion is
trusted as its modality is, and a modality as all others are. k is much larger than j: the recall of one emotion rests on few
people, and is high also where a model says it too often; a UAR is neither. The log-odds are what a vote deserves when voters
err independently (Nitzan and Paroush, 1982); voters do not quite, and half of them, so shares by the root of the odds, lost in
no table tried (`./dyad benchmark fusion_ways`). A modality without a measurement gets the mean of the others' weights.

What this cannot know: that two modalities make the same mistakes (both face models), and that the measured data differ
between modalities. Weights fitted on clips that have all of them would.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.metrics import per_class_recall
from data.scores import MODALITIES
from fusion.arrays import Floats, Integers, as_distribution
from fusion.log_linear import FLOOR
from fusion.weights import FusionWeights

CERTAIN = 0.98
"""Recall is held within 1 - CERTAIN and CERTAIN: no finite test shows a model to be always right, or never."""
ENOUGH = 20.0
"""As many people or films with an emotion weigh as much as what is known without them, of a temperature."""
Pulls = tuple[float, float]
PULLS: Pulls = (80.0, 5.0)
"""k and j above, by `./dyad benchmark fusion_ways --curve`."""
OVERSURE = 2.0
"""The temperature of a model whose probabilities away from home are not at hand."""
TEMPERATURES = np.geomspace(0.5, 8.0, 33)


class MeasuredCard(TypedDict, total=False):
    """What is read of a model card, or measured: all of data that the model did not learn, best of another corpus.

    The recall of each class and the figures (`uar`), 0..1; how many people or films each class was seen in (`counts`; where
    nothing is said of it, the UAR is taken as it is and a class counts half as much); the `temperature` that answers need.
    """

    per_class_recall: Mapping[str, float] | None
    metrics: Mapping[str, float] | None
    counts: Mapping[str, float] | None
    temperature: float


def derive_weights(
    cards: Mapping[str, MeasuredCard],
    date: str = "",
    modalities: Sequence[str] = MODALITIES,
    classes: Sequence[str] = BASIC_EMOTIONS,
    pulls: Pulls = PULLS,
) -> FusionWeights:
    """Weights of a log-linear pooling from model cards: for each modality a mapping with `per_class_recall` {class: 0..1}.

    `metrics` may give the `uar`; the mean of the known recalls otherwise. A class without a recall counts with the UAR.
    InputError when no card belongs to a modality, or a card gives no usable recall.
    """
    measured = [name for name in modalities if name in cards]
    if not measured:
        raise InputError(f"No model card belongs to one of {', '.join(modalities)}; train the models first.")
    usual = float(np.mean([uar_of(name, cards[name]) for name in measured]))
    heads = {name: _log_odds(name, cards[name], usual, classes, pulls) / 2 for name in measured}
    mean: Floats = np.mean(list(heads.values()), axis=0)
    table = np.stack([heads.get(name, mean) for name in modalities])[None]
    text = _in_words(cards, measured, [name for name in modalities if name not in cards])
    temperatures = tuple(float(cards.get(name, {}).get("temperature", OVERSURE)) for name in modalities)
    return FusionWeights(tuple(modalities), tuple(classes), table, np.zeros(1), text, date, "product", temperatures)


def measured_card(probabilities: Floats, labels: Integers, groups: Sequence[object], classes: Sequence[str]) -> MeasuredCard:
    """What answers [N, C] to labels [N] show of a model; each of `groups` [N] is a person or a film."""
    recalls = per_class_recall(labels, probabilities.argmax(1), len(classes))
    names = np.unique(np.array([str(group) for group in groups]), return_inverse=True)[1]
    counts = [float(len(set(names[labels == number].tolist()))) for number in range(len(classes))]
    known = dict(zip(classes, recalls.tolist(), strict=True))
    return {
        "per_class_recall": {word: recall for word, recall in known.items() if not np.isnan(recall)},
        "counts": dict(zip(classes, counts, strict=True)),
        "temperature": temperature_of(probabilities, labels, sum(counts) / (ENOUGH * len(classes))),
    }


def temperature_of(probabilities: Floats, labels: Integers, evidence: float) -> float:
    """The temperature with the least log loss of answers [N, C] to labels [N], drawn towards `OVERSURE`.

    `evidence` says how often it counts against that once (both by their logarithms).
    """
    held = probabilities + FLOOR

    def loss(temperature: float) -> float:
        tempered = as_distribution(held ** (1.0 / temperature))
        return float(-np.log(tempered[np.arange(len(labels)), labels]).mean())

    best = min(TEMPERATURES.tolist(), key=loss)
    return float(np.exp((evidence * np.log(best) + np.log(OVERSURE)) / (evidence + 1.0)))


def _log_odds(name: str, card: MeasuredCard, usual: float, classes: Sequence[str], pulls: Pulls) -> Floats:
    """Log-odds [C] of one modality's being right, shrunk to its UAR, and this to the `usual` one."""
    uar, recalls, counts = uar_of(name, card), card.get("per_class_recall") or {}, card.get("counts") or {}
    known = np.array([float(recalls.get(word, np.nan)) for word in classes])
    to_uar, to_usual = pulls[0], pulls[1] * len(classes)
    count = np.where(np.isnan(known), 0.0, [float(counts.get(word, to_uar / 2)) for word in classes])
    own = (count.sum() * uar + to_usual * usual) / (count.sum() + to_usual) if counts else uar
    recall = np.clip((count * np.nan_to_num(known) + to_uar * own) / (count + to_uar), 1.0 - CERTAIN, CERTAIN)
    odds: Floats = np.log(recall / (1.0 - recall))
    return odds


def uar_of(name: str, card: MeasuredCard) -> float:
    """The unweighted average recall that a card states, 0..1, or the mean of its per-class recalls."""
    known = [float(value) for value in (card.get("per_class_recall") or {}).values()]
    stated = (card.get("metrics") or {}).get("uar")
    uar = float(stated) if stated is not None else float(np.nanmean(known)) if known else np.nan
    if not 0.0 <= uar <= 1.0 or any(value < 0.0 or value > 1.0 for value in known):
        raise InputError(f"The model card of {name} gives no recall between 0 and 1; train the model again.")
    return uar


def _in_words(cards: Mapping[str, MeasuredCard], measured: Sequence[str], unmeasured: Sequence[str]) -> str:
    reached = ", ".join(f"{name} {100 * uar_of(name, cards[name]):.1f}" for name in measured)
    text = (
        f"derived from the models' held-out recall (UAR %: {reached}) as half the log-odds of being right, shrunk to the "
        "modality's UAR and the mean of all where it was seen in few people or films"
    )
    if not unmeasured:
        return text
    return f"{text}; {', '.join(unmeasured)}: no measurement, so the mean of the others"
