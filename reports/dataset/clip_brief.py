"""What the table and the figures of a whole data set need of one clip's answer: a few numbers for the journal."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, groupby
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.emotions import BASIC_EMOTIONS
from reports.answer import answer_name
from reports.documents import ModalityEntry, PersonEntry, ResultDocument, WindowEntry

BINS = 15
"""Equal steps of probability that reliability is counted in, as in `data.metrics.calibration_error`."""
CELLS = 30
"""Parts of a clip's time that the data set's page shows it by."""
Sure = Mapping[str, Sequence[Sequence[float]]]
"""By answer, how sure its windows were: see `binned`."""
Apart = Mapping[str, float | str]
"""The distance of two modalities, and what each finds likeliest: see `most_apart`."""


class ClipBrief(TypedDict, total=False):
    """A clip's answer in short, as the journal keeps it: what `brief` gives, and what the batch adds (`flows.batch.one_clip`).

    top, emotion: the clip's compound and the strongest basic emotion; duration: s; seconds: by compound; windows,
    window_emotions, frames, frame_emotions: how many have which answer; broken: the modalities that failed; frame_pairs,
    frame_sure: of frames with labels, see `flows.batch.clips`.
    """

    sureness: float | None
    none: float | None
    likely: float | None
    present: Sequence[str]
    people: Sequence[str]
    apart: Apart | None
    ribbon: Sequence[tuple[str, int]]
    window_sure: Sure
    emotion_sure: Sure
    top: str | None
    emotion: str | None
    duration: float
    seconds: Mapping[str, float]
    windows: Mapping[str, int]
    window_emotions: Mapping[str, int]
    frames: Mapping[str, int]
    frame_emotions: Mapping[str, int]
    broken: Sequence[str]
    frame_pairs: Sequence[tuple[str, str, int]]
    frame_sure: Sequence[Sequence[float]]


def brief(result: ResultDocument) -> ClipBrief:
    """The content of result.json in short.

    sureness: of the clip's answer; none: mean over the windows with evidence; None where none has.
    likely: the mean probability of the strongest basic emotion. present: the modalities that answered.
    people: what each person shows, by the mean over the clip; '' for one without an answer.
    apart: the two modalities that differ most, see `most_apart`.
    ribbon: what is shown over time, see `ribbon`.
    window_sure, emotion_sure: for each answer of windows, how sure they were, see `binned`.
    """
    summary, windows = result["summary"], result["windows"]
    basic = [value for value in summary["basic"].values() if value is not None]
    return {
        "sureness": _short(summary.get("sureness")),
        "none": _short(summary["none"]),
        "likely": _short(max(basic)) if basic else None,
        "present": [name for name, entry in result["modalities"].items() if entry["state"] == "present"],
        "people": [_person(one) for one in result.get("people", ())],
        "apart": most_apart(result["modalities"]),
        "window_sure": binned(_winners(windows)),
        "emotion_sure": binned(_strongest(windows)),
        "ribbon": ribbon(result),
    }


def ribbon(result: ResultDocument) -> list[tuple[str, int]]:
    """The answers over time in `CELLS` equal parts of the clip: each with how many parts it lasts, '' without evidence."""
    length = max(float(result["clip"]["duration"]), 1e-9)
    middles = [(number + 0.5) * length / CELLS for number in range(CELLS)]
    rows = result["timeline"]
    shown = [next((answer_name(row) for row in rows if row["start"] <= time < row["end"]), "") for time in middles]
    return [(name, len(list(same))) for name, same in groupby(shown)]


def _person(one: PersonEntry) -> str:
    answer = one.get("answer")
    return (answer["summary"]["top"] or answer["summary"]["emotion"] or "") if answer else ""


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _winners(windows: Iterable[WindowEntry]) -> Iterator[tuple[str, float]]:
    """The winner of each window that has one, and how sure it is."""
    for row in windows:
        if row["top"] and (value := row.get("sureness")) is not None:
            yield row["top"], value


def _strongest(windows: Iterable[WindowEntry]) -> Iterator[tuple[str, float]]:
    """The likeliest basic emotion of each window that has evidence, and its probability."""
    for row in windows:
        known = {name: value for name, value in row["basic"].items() if value is not None}
        if known:
            yield max(known.items(), key=lambda item: item[1])


def binned(answers: Iterable[tuple[str, float]]) -> dict[str, list[list[float]]]:
    """For each answer a list of [bin, windows, sum of their probabilities], the bins from 0 to BINS - 1."""
    found: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for name, value in answers:
        number = min(int(value * BINS), BINS - 1)
        cell = found[name].setdefault(number, [number, 0, 0.0])
        cell[1] += 1
        cell[2] = round(cell[2] + value, 4)
    return {name: [cells[number] for number in sorted(cells)] for name, cells in found.items()}


def binned_hits(sure: ArrayLike, right: ArrayLike) -> list[list[float]]:
    """[bin, answers, right ones, sum of probabilities] of answers with probabilities `sure` [N], `right` [N] or not."""
    probabilities, hits = np.asarray(sure, np.float64), np.asarray(right, bool)
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    cells = ((number, bins == number) for number in np.unique(bins))
    return [
        [int(number), int(here.sum()), int(hits[here].sum()), round(float(probabilities[here].sum()), 4)]
        for number, here in cells
    ]


def most_apart(modalities: Mapping[str, ModalityEntry]) -> Apart | None:
    """The two modalities whose mean probabilities differ most: {"distance": 0..1, "static_face": "happiness", "voice": "anger"}.

    The distance is half the sum of the absolute differences (total variation). None with fewer than two modalities.
    """
    means = {name: mean for name, entry in modalities.items() if (mean := _mean(entry["probabilities"])) is not None}
    pairs = [(float(np.abs(means[one] - means[other]).sum() / 2), one, other) for one, other in combinations(means, 2)]
    if not pairs:
        return None
    distance, *names = max(pairs)
    return {"distance": round(distance, 4)} | {name: BASIC_EMOTIONS[int(means[name].argmax())] for name in names}


def _mean(rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64] | None:
    known: NDArray[np.float64] = np.array([row for row in rows if None not in row], np.float64)
    return known.mean(0) if len(known) else None
