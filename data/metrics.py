"""The field's metrics: UAR, WAR, macro-F1, weighted F1, expected calibration error."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def scores_of(truth: ArrayLike, predicted: ArrayLike, classes: Sequence[int] | None = None) -> dict[str, float]:
    """UAR (mean recall), WAR (accuracy), macro-F1 and weighted F1 of two integer vectors [N].

    Means are over those of `classes` that occur as truth: one without an example has no recall, so a bootstrap draw that
    lacks it says nothing of it. Answers of another class are wrong ones. Without `classes` means are as scikit-learn's, over
    every label of truth or prediction: one that is predicted but never true counts with recall 0.
    """
    from sklearn.metrics import f1_score, recall_score

    truth, predicted = np.asarray(truth), np.asarray(predicted)
    labels = [label for label in classes if (truth == label).any()] if classes is not None else None
    return {
        "uar": float(recall_score(truth, predicted, labels=labels, average="macro", zero_division=0)),
        "war": float((truth == predicted).mean()),
        "macro_f1": float(f1_score(truth, predicted, labels=labels, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(truth, predicted, labels=labels, average="weighted", zero_division=0)),
    }


def per_class_recall(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Recall of each of `classes` classes; NaN for a class without a true example."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    with np.errstate(invalid="ignore"):
        return np.array([np.mean(predicted[truth == k] == k) if (truth == k).any() else np.nan for k in range(classes)])


def calibration_error(probabilities: ArrayLike, truth: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of [N, C] probabilities against labels [N] (Guo et al. 2017, equal-width bins)."""
    probabilities, truth = np.asarray(probabilities), np.asarray(truth)
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)  # an answer of probability 1 belongs to the last one
    members = [bin_of == number for number in np.unique(bin_of)]
    return float(sum(abs(hit[own].mean() - confidence[own].mean()) * own.mean() for own in members))


def scores_of_counts(counts: ArrayLike) -> dict[str, float]:
    """What `scores_of` gives, from a confusion matrix [C, C or C + 1]: rows are truth, columns predictions, a last one no answer.

    Means are over the classes that occur as truth. For data sets whose vectors would not fit in memory.
    """
    return {name: float(value) for name, value in scores_of_draws(np.asarray(counts)).items()}


def scores_of_draws(counts: NDArray[np.generic]) -> dict[str, NDArray[np.float64]]:
    """`scores_of_counts` of many matrices [..., C, C or C + 1] at once, each figure [...]; NaN for one without any count."""
    counts = counts.astype(np.float64)
    truth, predicted = counts.sum(-1), counts.sum(-2)[..., : counts.shape[-2]]
    hits, seen, total = np.diagonal(counts, axis1=-2, axis2=-1), truth > 0, truth.sum(-1)
    recall = np.where(seen, hits / np.where(seen, truth, 1.0), 0.0)
    f1 = np.where(seen, 2 * hits / np.where(seen, truth + predicted, 1.0), 0.0)
    with np.errstate(invalid="ignore"):
        return {
            "uar": recall.sum(-1) / seen.sum(-1),
            "war": hits.sum(-1) / total,
            "macro_f1": f1.sum(-1) / seen.sum(-1),
            "weighted_f1": (f1 * truth).sum(-1) / total,
        }
