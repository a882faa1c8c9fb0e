"""Still faces relative to a person's usual face: log probabilities less a share of what is usual of this person alone.

A person whose mouth hangs looks sad to a network whatever they feel. So what their answers are on the mean, beyond everybody's
mean, is taken away by `SHARE`, as far as it is known from much and from varied answers (`modalities/reference.py`): of a person
who shows one thing nothing is taken. Answers are those of the network, before other priors.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.scores import Scores
from data.windows import Windows
from data.yaml_files import read_yaml
from modalities.faces.windows import window_means
from modalities.reference import WITHIN, Floats, Known, Moments, Reference, References, moments_of, shrunk

FILE = Path(__file__).parents[1] / "weights" / "static_face_reference.yaml"
"""Mean and spread of the answers to stills of many people (`./dyad benchmark derive_face_reference`)."""
SHARE = 0.75
LEAST = 1e-4
"""Probabilities below are taken for this."""
SECONDS = 2.0
"""Of a face, that count as one example: from one window to the next."""
NOTE = "relative to this person's usual face"


@cache
def training() -> Reference:
    """What answers are like over many people, from `FILE`."""
    known = read_yaml(FILE, "the usual answers")
    mean = np.array([known["mean"][word] for word in BASIC_EMOTIONS], np.float32)
    return Reference(mean, np.ones_like(mean), float(known["spread"]), 0.0)


def logs_of(probabilities: NDArray[np.floating]) -> Floats:
    """Logarithms [N, 7] of probabilities, less their mean over the emotions."""
    logs = np.log(np.maximum(probabilities, LEAST))
    return np.asarray(logs - logs.mean(1, keepdims=True), np.float32)


def moments(probabilities: NDArray[np.floating], examples: float | None = None) -> Moments:
    """What answers [N, 7] about one person add to what is known of them; `examples` as in `moments_of`."""
    logs = logs_of(probabilities)
    return moments_of(logs, logs, examples)


def beyond(own: Reference, wider: Reference) -> Reference:
    """A reference whose mean is only what it has beyond the wider one's."""
    return replace(own, mean=own.mean - wider.mean)


class FaceReferences(References):
    """References of a data set's persons; the mean of each is what it has beyond the data set's."""

    def __init__(self) -> None:
        super().__init__(training())

    def of(self, person: str) -> Known:
        """The reference of a person; nothing beyond everybody's for nobody."""
        known = super().of(person)
        return replace(known, reference=beyond(known.reference, super().of("").reference))


def add_clip(references: References, person: str, clip: str, faces: pd.DataFrame, windows: Windows) -> None:
    """Take in the answers to a clip's faces, its `static_face_evidence.parquet`."""
    basic = faces[list(BASIC_EMOTIONS)].to_numpy(np.float32)
    means = window_means("static_face", faces, basic, np.zeros((len(faces), 0), np.float32), windows, None)
    seen = means.probabilities[means.present]
    if len(seen):
        seconds = SECONDS * len(seen)
        references.add(person, clip, moments(seen), seconds)


def own_reference(seen: Scores) -> Known:
    """What a clip alone tells of its person."""
    shown = seen.probabilities[seen.present]
    return Known(beyond(shrunk(moments(shown), training(), WITHIN), training()), "clip", SECONDS * len(shown))


def relate(seen: Scores, known: Known) -> Scores:
    """Scores of one person's face relative to what is known of it; a note says so where that changes anything."""
    if known.reference.trust == 0 or seen.is_absent:
        return seen
    probabilities = seen.probabilities.copy()
    probabilities[seen.present] = related(probabilities[seen.present], known)
    told = f"{NOTE}, as {known.seconds:.0f} s of it show it"
    return replace(seen, probabilities=probabilities, notes=(*seen.notes, told))


def related(probabilities: NDArray[np.float32], known: Known) -> NDArray[np.float32]:
    """Probabilities [N, 7] of one person's face relative to what is known of it."""
    powers = np.maximum(probabilities, LEAST) * np.exp(-SHARE * known.reference.mean)
    result: NDArray[np.float32] = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return result


def relate_rows(basic: NDArray[np.float32], persons: Sequence[str]) -> NDArray[np.float32]:
    """Answers [N, 7] to single images, each relative to the other images of its person ('' where unknown); NaN rows stay so."""
    references, names = FaceReferences(), np.array(persons, object)
    there = ~np.isnan(basic).any(1)
    for person in dict.fromkeys(persons):
        own = there & (names == person)
        if own.any():
            references.add(person, person or "nobody", moments(basic[own]), SECONDS * own.sum())
    changed = basic.copy()
    for person in filter(None, dict.fromkeys(persons)):
        own = there & (names == person)
        known = references.of(person) if own.any() else None
        if known is not None and known.reference.trust > 0:
            changed[own] = related(basic[own], known)
    return changed
