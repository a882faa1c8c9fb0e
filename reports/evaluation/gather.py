"""Labels and answers of a data set, taken in clip by clip; memory does not grow with the frames."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.bootstrap import times_drawn
from data.emotions import BASIC_EMOTIONS
from reports.dataset.clip_brief import binned_hits
from reports.dataset.figures import Reliability, Tally, gains
from reports.documents import Figures, Metrics
from reports.evaluation.document import AgreementFigures, EvaluationFigures, Gains, ModalityFigures

LEVELS = ("clips", "windows", "frames")
Weights = NDArray[np.int64] | None


class Said(NamedTuple):
    """One kind of answer of a clip, its windows and its frames; '' where there is none. Also labels, whatever their kind."""

    clips: Sequence[str]
    windows: Sequence[str]
    frames: Sequence[str]


Answers = Mapping[str, Said]
"""By kind: compounds, emotions."""


class Raters(NamedTuple):
    """What each rater says of the clip and its windows."""

    clips: Mapping[str, str]
    windows: Mapping[str, Sequence[str]]


class Variants(NamedTuple):
    """What a clip's fusion answers with all modalities, with each that is there alone, and without each."""

    together: Answers
    alone: Mapping[str, Answers]
    without: Mapping[str, Answers]


class ClipMeasured(NamedTuple):
    """A labelled clip: what most raters say, what each says, the stored answer and by kind how sure its windows are (NaN where
    there is none), and what is answered with and without each modality.

    group: whose clips the bootstrap draws together; speaker: '' where nobody names one.
    """

    labels: Said
    raters: Raters
    answers: Answers
    sure: Mapping[str, Sequence[float]]
    variants: Variants | None
    group: str
    speaker: str


class Tallies:
    """Labels and answers by kind and level."""

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        self.of = {(kind, level): Tally(names) for kind, names in classes.items() for level in LEVELS}

    def add(self, labels: Said, answers: Answers, weights: Weights = None, answered: bool = False) -> None:
        """Count a clip; `answered`: only what there is evidence for, which then has an emotion."""
        for (kind, level), tally in self.of.items():
            rows = zip(getattr(labels, level), getattr(answers[kind], level), getattr(answers["emotions"], level), strict=True)
            pairs = Counter((label, answer) for label, answer, emotion in rows if label and (emotion or not answered))
            tally.add_pairs([(label, answer, count) for (label, answer), count in pairs.items()], weights)

    def metrics(self) -> dict[str, dict[str, Figures]]:
        """The figures of what has labels."""
        found: dict[str, dict[str, Figures]] = {}
        for (kind, level), tally in self.of.items():
            if figures := tally.figures():
                found.setdefault(kind, {})[level] = figures
        return found


class Evaluation:
    """The labels and answers of a folder of results."""

    def __init__(self, compounds: Sequence[str]) -> None:
        self.classes = {"compounds": tuple(compounds), "emotions": BASIC_EMOTIONS}
        self.all, self.sure = Tallies(self.classes), {kind: Reliability() for kind in self.classes}
        self.speakers: dict[str, Tallies] = {}
        self.together = Tallies(self.classes)
        self.alone: dict[str, Tallies] = {}
        self.without: dict[str, Tallies] = {}
        self._names = (*compounds, *BASIC_EMOTIONS)
        self._votes: dict[str, list[tuple[NDArray[np.int64], tuple[str, str]]]] = {"clips": [], "windows": []}
        self._raters: set[str] = set()
        self._whole = True

    @property
    def level(self) -> str:
        """What labels are given for: clips, or where some are of a part of one, windows."""
        return "clips" if self._whole else "windows"

    def add(self, clip: ClipMeasured) -> None:
        """Take in a clip."""
        weights = times_drawn(clip.group)
        self._whole = self._whole and bool(clip.raters.clips) and clip.raters.clips.keys() >= clip.raters.windows.keys()
        self.all.add(clip.labels, clip.answers, weights)
        if clip.speaker:
            self.speakers.setdefault(clip.speaker, Tallies(self.classes)).add(clip.labels, clip.answers)
        if clip.variants:
            self.together.add(clip.labels, clip.variants.together, weights)
            for name, answers in clip.variants.alone.items():
                self.alone.setdefault(name, Tallies(self.classes)).add(clip.labels, answers, weights, answered=True)
            for name, answers in clip.variants.without.items():
                self.without.setdefault(name, Tallies(self.classes)).add(clip.labels, answers, weights)
        for kind, names in self.classes.items():
            rows = zip(clip.labels.windows, clip.answers[kind].windows, clip.sure[kind], strict=True)
            known = [(sure, label == answer) for label, answer, sure in rows if label in names and answer and not np.isnan(sure)]
            if known:
                self.sure[kind].add_cells(binned_hits(*map(list, zip(*known, strict=True))))
        self._count_votes(clip)

    def _count_votes(self, clip: ClipMeasured) -> None:
        self._raters |= {name for name in clip.raters.windows if name}
        whole = [list(clip.raters.clips.values())]
        parts = [list(labels) for labels in zip(*clip.raters.windows.values(), strict=True)]
        compounds, emotions = clip.answers["compounds"], clip.answers["emotions"]
        for level, units in (("clips", whole), ("windows", parts)):
            for said, *answers in zip(units, getattr(compounds, level), getattr(emotions, level), strict=False):
                votes = [self._names.index(label) for label in said if label]
                if len(votes) > 1:
                    counts = np.bincount(votes, minlength=len(self._names))
                    self._votes[level].append((counts, (answers[0], answers[1])))

    def figures(self, results: str, clips: Mapping[str, int], notes: Sequence[str]) -> EvaluationFigures:
        """Everything that the clips give."""
        metrics = self.all.metrics()
        return {
            "results": results, "clips": clips, "level": self.level, "metrics": metrics, "trivial": _trivial(metrics),
            "reliability": {kind: found for kind, sure in self.sure.items() if (found := sure.figures())},
            "speakers": {name: own for name, tallies in sorted(self.speakers.items()) if (own := self._at_level(tallies))},
            "modalities": {kind: self._modalities(kind) for kind in metrics if self.without},
            "agreement": self._agreement(),
            "notes": notes,
        }  # fmt: skip

    def _at_level(self, tallies: Tallies) -> dict[str, Figures]:
        return {kind: levels[self.level] for kind, levels in tallies.metrics().items() if self.level in levels}

    def _modalities(self, kind: str) -> dict[str, ModalityFigures]:
        """What each modality is good for, where labels are given."""
        place, found = (kind, self.level), dict[str, ModalityFigures]()
        for name in self.without:
            without = self.without[name].of[place]
            if name in self.alone and without.counts.any():
                adds = gains(without, self.together.of[place])
                found[name] = {"alone": self.alone[name].of[place].figures(), "without": without.figures(), "adds": adds}
        return found

    def _agreement(self) -> AgreementFigures | None:
        """Of what two raters or more labelled; Dyad says a compound, or the emotion where none is shown or none is asked for."""
        votes = self._votes[self.level]
        if not votes:
            return None
        counts = np.array([count for count, _ in votes])
        of_compounds = bool(counts[:, : len(self.classes["compounds"])].any())
        with_dyad = counts.copy()
        for row, (_, (compound, emotion)) in enumerate(votes):
            if answer := (compound or emotion) if of_compounds else emotion:
                with_dyad[row, self._names.index(answer)] += 1
        return {
            "raters": sorted(self._raters), "unit": self.level, "units": len(votes), "alpha": alpha(counts),
            "alpha_with_dyad": alpha(with_dyad),
        }  # fmt: skip


def differences(first: Evaluation, second: Evaluation) -> dict[str, dict[str, Gains]]:
    """By how much the second's figures exceed the first's, by kind and level."""
    found: dict[str, dict[str, Gains]] = {}
    for (kind, level), tally in first.all.of.items():
        other = second.all.of[kind, level]
        if tally.counts.any() and other.counts.any():
            found.setdefault(kind, {})[level] = gains(tally, other)
    return found


def alpha(counts: NDArray[np.int64]) -> float | None:
    """Krippendorff's alpha of nominal values, from how many raters gave a unit which, [units, values].

    1 - the disagreement within units / that of values drawn from all; None where it is not defined: no unit has two raters, or
    only one value occurs. Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, C. The package of that name is under
    the GPL, which would bind whoever hands Dyad on.
    """
    paired = counts[counts.sum(1) > 1].astype(float)
    raters, values = paired.sum(1, keepdims=True), paired.sum(0)
    expected = (values * (values.sum() - values)).sum()
    if expected == 0:
        return None
    observed = (paired * (raters - paired) / (raters - 1)).sum()
    return round(float(1 - (values.sum() - 1) * observed / expected), 6)


def _trivial(metrics: Metrics) -> dict[str, dict[str, float]]:
    """The share of the most frequent label."""
    return {
        kind: {level: round(max(map(sum, found["confusion"])) / found["items"], 6) for level, found in levels.items()}
        for kind, levels in metrics.items()
    }
