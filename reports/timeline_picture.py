"""A clip's timeline as a picture: what is shown over time, how sure the answer is, and what each modality gave to it."""

import io
from typing import TYPE_CHECKING

import numpy as np

from data.emotions import BASIC_EMOTIONS
from reports.answer import answer_name
from reports.documents import ResultDocument
from reports.grid import as_float, columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#b07d48", "#6b5fb5", "#2aa198", "#d95f02")
"""Of compounds, told apart by people who see colours differently (Paul Tol's bright scheme, and some more)."""
GREYS = {word: f"#{shade:02x}{shade:02x}{shade + 8:02x}" for word, shade in zip(BASIC_EMOTIONS, range(150, 220, 10), strict=True)}
"""Of emotions alone: behind the compounds, and named by their letters."""
MODALITIES = ("#33506b", "#8aa5bd", "#55603f", "#a9b18c", "#74482a", "#c9a67c")
"""Of modalities in their order, as on the page."""
INK = "#757b84"
"""Of letters and lines: a grey that can be read on a dark and on a light page, since the picture has no ground of its own."""
LARGEST = 100_000
"""Bytes; Prefect's UI also prints a data address as text."""
ROOM = 0.08
"""The share of the width that a name needs to be written into its band."""


def timeline_picture(result: ResultDocument) -> bytes:
    """The content of `result.json` drawn as a PNG of less than 100 kB, 750 pixels wide."""
    for dots in (100, 75, 50):
        drawn = _drawn(result, dots)
        if len(drawn) < LARGEST:
            break
    return drawn


def _drawn(result: ResultDocument, dots: int) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    band, sure, parts = figure.subplots(3, 1, sharex=True, height_ratios=(0.9, 1.2, 2.0))
    _draw_answers(band, result)
    _draw_sureness(sure, result)
    _draw_contributions(parts, result)
    band.set_xlim(0, max(float(result["clip"]["duration"]), 0.1))
    parts.set_xlabel("seconds", color=INK)
    for axes in (band, sure, parts):
        _plain(axes)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots, transparent=True)
    return stream.getvalue()


def _draw_answers(axes: "Axes", result: ResultDocument) -> None:
    """A band in the colours of the compounds, grey for emotions alone, with names where there is room."""
    length = max(float(result["clip"]["duration"]), 0.1)
    names = list(dict.fromkeys(answer_name(row) for row in result["timeline"]))
    compounds = list(dict.fromkeys(row["compound"] for row in result["timeline"] if row["compound"]))
    for name in names:
        spans = [(row["start"], row["end"] - row["start"]) for row in result["timeline"] if answer_name(row) == name]
        colour = _colour(compounds.index(name)) if name in compounds else GREYS.get(name, INK)
        axes.broken_barh(spans, (0, 1), facecolors=colour, edgecolors="none", label=name.replace("_", " "))
        for start, wide in spans:
            if wide / length > ROOM * max(len(name) / 9, 1) and name not in compounds:
                axes.text(start + wide / 2, 0.5, name, ha="center", va="center", fontsize=8, color="#1b1f24")
    if not result["timeline"]:
        axes.text(length / 2, 0.5, "no evidence", ha="center", va="center", color=INK, fontsize=9)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    _legend(axes, names)


def _draw_sureness(axes: "Axes", result: ResultDocument) -> None:
    """A step a stretch of the timeline, with its range."""
    for row in result["timeline"]:
        sure, within = row.get("sureness"), row.get("sureness_range", (None, None))
        if sure is not None:
            if within[0] is not None and within[1] is not None:
                axes.fill_between((row["start"], row["end"]), within[0], within[1], color=INK, alpha=0.25, linewidth=0)
            axes.hlines(sure, row["start"], row["end"], colors=INK, linewidth=2.5)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("sureness", color=INK)


def _draw_contributions(axes: "Axes", result: ResultDocument) -> None:
    """What each modality gave to the answer, stacked, on the grid of the timeline."""
    grid = columns(result["windows"])
    names = [name for name in result["modalities"] if any(row["contributions"].get(name) for row in result["windows"])]
    table = [[as_float(row["contributions"].get(name)) for name in names] for row in result["windows"]]
    if names:
        parts = np.nan_to_num(grid.mean(table)).T
        labels = [name.replace("_", " ") for name in names]
        colours = [MODALITIES[list(result["modalities"]).index(name) % len(MODALITIES)] for name in names]
        # Each value holds from its edge to the next, so that the steps lie under the band's.
        held = np.concatenate([parts, parts[:, -1:]], axis=1)
        axes.stackplot(grid.edges, held, labels=labels, colors=colours, step="post", linewidth=0)
    axes.set_ylabel("contribution", color=INK)
    _legend(axes, names)


def _legend(axes: "Axes", names: list[str]) -> None:
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, labelcolor=INK, fontsize=9)


def _plain(axes: "Axes") -> None:
    axes.tick_params(colors=INK, labelsize=9)
    for side, line in axes.spines.items():
        line.set_visible(side == "bottom")
        line.set_color(INK)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
