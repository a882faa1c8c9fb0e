"""What the table and the figures of a whole data set need of one clip's answer: a few numbers for the journal."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from data.emotions import BASIC_EMOTIONS

BINS = 15
"""Equal steps of probability that reliability is counted in, as in `data.metrics.calibration_error`."""
Sure = Mapping[str, Sequence[Sequence[float]]]


def brief(result: Mapping[str, Any]) -> dict[str, Any]:
    """The content of result.json in short.

    confidence, none: means over the windows that have them, None where none has.
    likely: the mean probability of the strongest basic emotion. present: the modalities that answered.
    apart: the two modalities that differ most, see `most_apart`.
    window_sure, emotion_sure: for each answer of windows, how sure they were, see `binned`.
    """
    summary, windows = result["summary"], result["windows"]
    basic = [value for value in summary["basic"].values() if value is not None]
    return {
        "confidence": _short(summary["confidence"]),
        "none": _short(summary["none"]),
        "likely": _short(max(basic)) if basic else None,
        "present": [name for name, entry in result["modalities"].items() if entry["state"] == "present"],
        "apart": most_apart(result["modalities"]),
        "window_sure": binned((row["top"], row["compound"][row["top"]]) for row in windows if row["top"]),
        "emotion_sure": binned(_strongest(windows)),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _strongest(windows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """The likeliest basic emotion of each window that has evidence, and its probability."""
    for row in windows:
        known = {name: value for name, value in row["basic"].items() if value is not None}
        if known:
            yield max(known.items(), key=lambda item: item[1])


def binned(answers: Iterable[tuple[str, float]]) -> dict[str, list[list[float]]]:
    """For each answer a list of [bin, windows, sum of their probabilities], the bins from 0 to BINS - 1."""
    found: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for name, value in answers:
        place = min(int(value * BINS), BINS - 1)
        cell = found[name].setdefault(place, [place, 0, 0.0])
        cell[1] += 1
        cell[2] = round(cell[2] + value, 4)
    return {name: [cells[place] for place in sorted(cells)] for name, cells in found.items()}


def binned_hits(sure: Any, right: Any) -> list[list[float]]:
    """[bin, answers, right ones, sum of probabilities] of answers with probabilities `sure` [N], `right` [N] or not."""
    sure, right = np.asarray(sure, np.float64), np.asarray(right, bool)
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    cells = ((place, places == place) for place in np.unique(places))
    return [[int(place), int(here.sum()), int(right[here].sum()), round(float(sure[here].sum()), 4)] for place, here in cells]


def most_apart(modalities: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The two modalities whose mean probabilities differ most: {"distance": 0..1, "static_face": "happiness", "voice": "anger"}.

    The distance is half the sum of the absolute differences (total variation). None with fewer than two modalities.
    """
    means = {name: mean for name, entry in modalities.items() if (mean := _mean(entry["probabilities"])) is not None}
    pairs = [(float(np.abs(means[one] - means[other]).sum() / 2), one, other) for one, other in combinations(means, 2)]
    if not pairs:
        return None
    distance, *names = max(pairs)
    return {"distance": round(distance, 4)} | {name: BASIC_EMOTIONS[int(means[name].argmax())] for name in names}


def _mean(rows: Sequence[Sequence[float | None]]) -> Any:
    known = np.array([row for row in rows if None not in row], np.float64)
    return known.mean(0) if len(known) else None
