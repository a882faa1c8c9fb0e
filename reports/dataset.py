"""A data set as a whole: how often labels and answers agree, the confusion matrix as a picture, the summary as Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import atomic_path
from data.metrics import scores_of_counts
from reports.markdown import escape, title

NO_ANSWER = "no answer"
MOST_REASONS = 50
"""Kinds of failures that a summary tells apart; the rest is counted together."""


@dataclass
class Tally:
    """How often each label (rows) met each answer (columns; the last one is no answer), counted as clips come by."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.classes), len(self.classes) + 1), np.int64)

    def add(self, label: str, answers: Mapping[str, int]) -> None:
        """Count the answers of something with this label; a label that is none of the classes does not count."""
        if label not in self.classes:
            return
        for answer, count in answers.items():
            column = self.classes.index(answer) if answer in self.classes else -1
            self.counts[self.classes.index(label), column] += count

    def figures(self) -> dict[str, Any] | None:
        """UAR, WAR, macro-F1, weighted F1, recall of each class, and the counts; None when nothing was counted.

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
            "items": int(totals.sum()), "unanswered": int(self.counts[:, -1].sum()), **scores, "recall": recall,
            "classes": list(self.classes), "answers": [*self.classes, NO_ANSWER], "confusion": self.counts.tolist(),
        }  # fmt: skip


@dataclass
class Failures:
    """Sentences of clips that failed, counted by what they say once the clip's own names are left out."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, clip_id: str, path: str) -> None:
        """Count a clip's reason."""
        kind = reason.replace(path, "…").replace(path.rpartition("/")[2], "…").replace(clip_id, "…")
        if kind not in self.counts and len(self.counts) >= MOST_REASONS:
            kind = "other reasons (see status.csv)"
        self.counts[kind] += 1
        self.examples.setdefault(kind, clip_id)

    def table(self) -> list[dict[str, Any]]:
        """Reasons, the most frequent first, each with one clip that has it."""
        return [{"reason": kind, "clips": n, "example": self.examples[kind]} for kind, n in self.counts.most_common()]


def draw_confusion(path: Path, figures: Mapping[str, Any], heading: str) -> None:
    """Draw a confusion matrix (of `Tally.figures`) as a PNG: shares of each label, with the counts written in."""
    from matplotlib.figure import Figure

    counts = np.array(figures["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows, columns = counts.shape
    figure = Figure(figsize=(2.6 + 0.8 * columns, 2.2 + 0.6 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [title(name) for name in figures["answers"]], rotation=40, ha="right")
    axes.set_yticks(range(rows), [title(name) for name in figures["classes"]])
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    scores = f"macro-F1 {figures['macro_f1']:.3f}, UAR {figures['uar']:.3f}, n = {figures['items']}"
    axes.set_title(f"{heading}: {scores}", fontsize=10)
    for row, column in np.ndindex(rows, columns):
        if counts[row, column]:
            written = f"{shares[row, column]:.0%}\n{counts[row, column]}"
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, written, ha="center", va="center", fontsize=8, color=colour)
    with atomic_path(path) as aside:
        figure.savefig(aside, dpi=110)


def dataset_markdown(summary: Mapping[str, Any]) -> str:
    """The content of summary.json for a person: counts, metrics, slowest stages, compounds, failures with reasons."""
    clips = summary["clips"]
    parts = [
        f"# {escape(summary['manifest'])}",
        _table(["clips", "done", "degraded", "failed", "rejected", "of them before"],
               [[str(clips[name]) for name in ("total", "done", "degraded", "failed", "rejected", "skipped")]]),
        *_metric_parts(summary["metrics"]),
        "## Slowest stages",
        _table(["stage", "seconds", "a clip"], [_stage(*item) for item in _by_value(summary["seconds"]["stages"])]),
        "## Compounds",
        _table(["compound", "clips", "seconds"],
               [[title(name), str(row["clips"]), f"{row['seconds']:.1f}"] for name, row in summary["compounds"].items()]),
        *_failure_parts(summary["failures"]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _metric_parts(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        [kind, by, str(found["items"]), *(f"{found[name]:.3f}" for name in ("macro_f1", "uar", "war"))]
        for kind, levels in metrics.items()
        for by, found in levels.items()
    ]
    return ["## Metrics", _table(["labels", "by", "n", "macro-F1", "UAR", "WAR"], rows)] if rows else []


def _failure_parts(failures: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [[str(row["clips"]), escape(row["reason"]), escape(row["example"])] for row in failures]
    return ["## Failures", _table(["clips", "reason", "for example"], rows)] if rows else []


def _by_value(values: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Mapping[str, float]]]:
    return sorted(values.items(), key=lambda item: -item[1]["total"])


def _stage(name: str, seconds: Mapping[str, float]) -> list[str]:
    return [title(name), f"{seconds['total']:.1f}", f"{seconds['mean']:.2f}"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
