"""A data set as a whole: how often labels and answers agree, the confusion matrix as a picture, the summary as Markdown."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.bootstrap import DRAWS, middle
from data.metrics import scores_of_counts, scores_of_draws
from reports.answer import title
from reports.dataset.clip_brief import BINS, Sure
from reports.documents import FailureEntry, Figures, Measure, Metrics, ReliabilityBin, ReliabilityFigures, SummaryDocument
from reports.markdown import escape, markdown_table

NO_ANSWER = "no answer"
LINE = re.compile(r"^(Line|Row) \d+: ")
MOST_REASONS = 50
"""Kinds of failures that a summary tells apart; the rest is counted together."""


class Tally:
    """How often each label (rows) met each answer (columns; the last one is no answer), counted as clips come by.

    counts: [C, C + 1]; clips: how many clips were counted.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes, self.clips = tuple(classes), 0
        self.counts = np.zeros((len(self.classes), len(self.classes) + 1), np.int64)
        self._draws: NDArray[np.int64] | None = None
        self._first: NDArray[np.int64] | None = None
        self._several_groups = False

    def add(self, label: str, answers: Mapping[str, int], weights: NDArray[np.int64] | None = None) -> None:
        """Count the answers of a clip with this label; a label that is none of the classes does not count."""
        self.add_pairs([(label, answer, count) for answer, count in answers.items()], weights)

    def add_pairs(self, pairs: Iterable[tuple[str, str, int]], weights: NDArray[np.int64] | None = None) -> None:
        """Count a clip's (label, answer, how often); `weights` of `data.bootstrap.times_drawn` let intervals be given."""
        known = [pair for pair in pairs if pair[0] in self.classes]
        self.clips += bool(known)
        if known and weights is not None:
            self._first = weights if self._first is None else self._first
            self._several_groups = self._several_groups or not np.array_equal(weights, self._first)
        for label, answer, count in known:
            row, column = self.classes.index(label), self.classes.index(answer) if answer in self.classes else -1
            self.counts[row, column] += count
            if weights is not None:
                if self._draws is None:
                    self._draws = np.zeros((*self.counts.shape, DRAWS), np.int64)
                self._draws[row, column] += count * weights

    def figures(self) -> Figures | None:
        """UAR, WAR, macro-F1, weighted F1 with their intervals, recall of each class, and the counts; None when nothing was
        counted.

        Means are over the classes that occur as labels; no answer counts as a wrong one.
        """
        if not self.counts.any():
            return None
        totals = self.counts.sum(1)
        recall = {
            name: round(float(self.counts[row, row] / totals[row]), 6)
            for row, name in enumerate(self.classes) if totals[row]
        }  # fmt: skip
        scores = {name: round(value, 6) for name, value in scores_of_counts(self.counts).items()}
        return {
            "items": int(totals.sum()), "clips": self.clips, "unanswered": int(self.counts[:, -1].sum()),
            "uar": scores["uar"], "war": scores["war"], "macro_f1": scores["macro_f1"], "weighted_f1": scores["weighted_f1"],
            "intervals": self.intervals(), "recall": recall,
            "classes": list(self.classes), "answers": [*self.classes, NO_ANSWER], "confusion": self.counts.tolist(),
        }  # fmt: skip

    def intervals(self) -> dict[str, list[float]]:
        """From where to where 95 % of the draws of each figure lie; empty with fewer than two groups or without weights."""
        return {name: interval(values) for name, values in self.draws().items()}

    def draws(self) -> dict[str, NDArray[np.float64]]:
        """Each figure in each draw [DRAWS], NaN in one that has nothing; empty with fewer than two groups or without weights."""
        if self._draws is None or not self._several_groups:
            return {}
        return scores_of_draws(np.moveaxis(self._draws, -1, 0))


def interval(draws: NDArray[np.float64]) -> list[float]:
    """The middle 95 % of the draws that have a value."""
    return [round(value, 6) for value in middle(draws)]


def gains(first: Tally, second: Tally) -> dict[str, list[float]]:
    """By how much each figure of the second exceeds the first's, then the interval of that: both are drawn together, since a
    group has the same weights in either; without the interval where there is none."""
    once, twice = scores_of_counts(first.counts), scores_of_counts(second.counts)
    drawn, again = first.draws(), second.draws()
    within = {name: interval(again[name] - drawn[name]) for name in drawn if name in again}
    return {name: [round(twice[name] - once[name], 6), *within.get(name, ())] for name in once}


class Reliability:
    """How often answers of some probability are right: how many there are, their hits and the sum of their probabilities, by bin.

    unit: what is counted, windows or frames.
    """

    def __init__(self, unit: str = "windows") -> None:
        self.unit, self.sums = unit, np.zeros(BINS)
        self.items, self.hits = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)

    def add(self, label: str, sure: Sure) -> None:
        """Count the windows of a clip with this label; `sure` as `reports.dataset.clip_brief.binned` gives it."""
        for answer, cells in sure.items():
            self.add_cells((number, items, items * (answer == label), total) for number, items, total in cells)

    def add_cells(self, cells: Iterable[Sequence[float]]) -> None:
        """Count (bin, items, hits, sum of probabilities)."""
        for number, items, hits, total in cells:
            self.items[int(number)] += int(items)
            self.hits[int(number)] += int(hits)
            self.sums[int(number)] += total

    def figures(self) -> ReliabilityFigures | None:
        """The expected calibration error (Guo et al. 2017) and the bins: from, to, items, mean probability, share of right
        answers; None when nothing was counted."""
        if not self.items.any():
            return None
        seen = np.flatnonzero(self.items)
        means, right = self.sums[seen] / self.items[seen], self.hits[seen] / self.items[seen]
        error = float((np.abs(means - right) * self.items[seen]).sum() / self.items.sum())
        bins: list[ReliabilityBin] = [
            {"from": round(int(number) / BINS, 4), "to": round((int(number) + 1) / BINS, 4), "items": int(self.items[number]),
             "probability": round(float(mean), 4), "right": round(float(share), 4)}
            for number, mean, share in zip(seen, means, right, strict=True)
        ]  # fmt: skip
        return {"unit": self.unit, "items": int(self.items.sum()), "ece": round(error, 6), "bins": bins}


@dataclass
class Failures:
    """Sentences of clips that failed, counted by what they say once the clip's own names are left out; that of one clip whole."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, clip_id: str, path: str) -> None:
        """Count a clip's reason."""
        # The path before the name in it, or what is left of the path would tell clips apart.
        kind = LINE.sub("", reason.replace(path, "…").replace(path.rpartition("/")[2], "…").replace(clip_id, "…"))
        kind = kind[:1].upper() + kind[1:]
        if kind not in self.counts and len(self.counts) >= MOST_REASONS:
            kind = "other reasons (see status.csv)"
        self.counts[kind] += 1
        self.examples.setdefault(kind, clip_id)
        self.first.setdefault(kind, reason)

    def table(self) -> list[FailureEntry]:
        """Reasons, the most frequent first, each with one clip that has it."""
        said = {kind: self.first[kind] if n == 1 else kind for kind, n in self.counts.items()}
        return [{"reason": said[kind], "clips": n, "example": self.examples[kind]} for kind, n in self.counts.most_common()]


def trained_on_sentence(found: Mapping[str, Mapping[str, int]]) -> str:
    """What `trained_on` of summary.json means for the figures, in a sentence; '' where no model knows a corpus."""
    models = ", ".join(
        f"{modality.replace('_', ' ')} on {' and '.join(f'{corpus} ({clips} clips)' for corpus, clips in corpora.items())}"
        for modality, corpora in found.items()
    )
    return f"Trained on this: {models}. Figures of these clips say little about others." if models else ""


def main_figures(metrics: Metrics) -> tuple[str, Figures] | None:
    """What the confusion of a data set is shown of, with its name: compounds before emotions, clips before windows and frames;
    None without labels."""
    return next(((f"{kind} by {level}", found) for kind, levels in metrics.items() for level, found in levels.items()), None)


def confusion_picture(figures: Figures, heading: str) -> bytes:
    """A confusion matrix (of `Tally.figures`) as a PNG: shares of each label, with the counts written in."""
    from matplotlib.figure import Figure

    counts = np.array(figures["confusion"])
    rows, columns = counts.shape
    figure = Figure(figsize=(2.6 + 0.8 * columns, 2.2 + 0.6 * rows), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [title(name) for name in figures["answers"]], rotation=40, ha="right")
    axes.set_yticks(range(rows), [title(name) for name in figures["classes"]])
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    scores = f"macro-F1 {figures['macro_f1']:.3f}, UAR {figures['uar']:.3f}, n = {figures['items']}"
    axes.set_title(f"{heading}: {scores}", fontsize=10)
    for row, column in np.argwhere(counts):
        written = f"{100 * shares[row, column]:.0f} %\n{counts[row, column]}"
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, written, ha="center", va="center", fontsize=8, color=colour)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=110)
    return stream.getvalue()


def dataset_markdown(summary: SummaryDocument) -> str:
    """The content of summary.json for a person: counts, metrics, slowest stages, compounds, failures with reasons."""
    clips = summary["clips"]
    slowest = sorted(summary["seconds"]["stages"].items(), key=lambda item: -item[1]["total"])
    parts = [
        f"# {escape(summary['manifest'])}",
        markdown_table(["clips", "done", "degraded", "failed", "rejected", "of them before"],
               [[str(clips[name]) for name in ("total", "done", "degraded", "failed", "rejected", "skipped")]]),
        *_metric_parts(summary),
        *_reliability_parts(summary["reliability"]),
        "## Slowest stages",
        markdown_table(["stage", "seconds", "a clip"],
               [[title(name), f"{seconds['total']:.1f}", f"{seconds['mean']:.2f}"] for name, seconds in slowest]),
        "## Compounds",
        markdown_table(["compound", "clips", "seconds"],
               [[title(name), str(row["clips"]), f"{row['seconds']:.1f}"] for name, row in summary["compounds"].items()]),
        *_failure_parts(summary["failures"]),
        "All clips stand in a table in report.html, in the folder of the results.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _metric_parts(summary: SummaryDocument) -> list[str]:
    shown: tuple[Measure, ...] = ("macro_f1", "uar", "war")
    rows = [
        [kind, by, str(found["items"]), *(_figure(found, name) for name in shown)]
        for kind, levels in summary["metrics"].items()
        for by, found in levels.items()
    ]
    table = markdown_table(["labels", "by", "n", "macro-F1", "UAR", "WAR"], rows)
    drawn = "In brackets 95 % of a bootstrap over speakers, or over files where nobody is named."
    seen = trained_on_sentence(summary["trained_on"])
    return ["## Metrics", *([f"**{escape(seen)}**"] if seen else []), table, drawn] if rows else []


def _figure(found: Figures, name: Measure) -> str:
    low, high = found["intervals"].get(name, (None, None))
    return f"{found[name]:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _reliability_parts(reliability: Mapping[str, ReliabilityFigures]) -> list[str]:
    rows = [[kind, found["unit"], str(found["items"]), f"{found['ece']:.3f}"] for kind, found in reliability.items()]
    return ["## Reliability", markdown_table(["labels", "by", "n", "expected calibration error"], rows)] if rows else []


def _failure_parts(failures: Sequence[FailureEntry]) -> list[str]:
    rows = [[str(row["clips"]), escape(row["reason"]), escape(row["example"])] for row in failures]
    return ["## Failures", markdown_table(["clips", "reason", "for example"], rows)] if rows else []
