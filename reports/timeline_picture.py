"""A clip's timeline as a picture: the compounds over time, how sure the answer is, and what each modality gave to it."""

import io
from typing import TYPE_CHECKING

import numpy as np

from reports.documents import ResultDocument

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#b07d48", "#6b5fb5", "#2aa198", "#d95f02")
"""Told apart by people who see colours differently (Paul Tol's bright scheme, and some more)."""
INK = "#757b84"
"""Of letters and lines: a grey that can be read on a dark and on a light page, since the picture has no ground of its own."""
MOST_BARS = 150
LARGEST = 100_000
"""Bytes; Prefect's UI also prints a data address as text."""


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
    band, sure, parts = figure.subplots(3, 1, sharex=True, height_ratios=(0.7, 1.2, 2.2))
    _draw_compounds(band, result)
    _draw_confidence(sure, result)
    _draw_contributions(parts, result)
    band.set_xlim(0, max(float(result["clip"]["duration"]), 0.1))
    parts.set_xlabel("seconds", color=INK)
    for axes in (band, sure, parts):
        _plain(axes)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots, transparent=True)
    return stream.getvalue()


def _draw_compounds(axes: "Axes", result: ResultDocument) -> None:
    """A band in the colours of the compounds, and which is which."""
    names = list(dict.fromkeys(row["compound"] for row in result["timeline"] if row["compound"]))
    for number, name in enumerate(names):
        spans = [(row["start"], row["end"] - row["start"]) for row in result["timeline"] if row["compound"] == name]
        axes.broken_barh(spans, (0, 1), facecolors=_colour(number), label=name.replace("_", " "))
    axes.set_yticks([])
    _legend(axes, names)


def _draw_confidence(axes: "Axes", result: ResultDocument) -> None:
    """A step a stretch of the timeline."""
    for row in result["timeline"]:
        if row["confidence"] is not None:
            axes.hlines(row["confidence"], row["start"], row["end"], colors=INK, linewidth=2.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("confidence", color=INK)


def _draw_contributions(axes: "Axes", result: ResultDocument) -> None:
    """What each modality gave to a window's winner, stacked: a bar a window, areas where bars would be too thin to see.

    Windows overlap, so each bar takes the middle half of its window.
    """
    windows = [row for row in result["windows"] if row["top"]]
    names = [name for name in result["modalities"] if any(row["contributions"].get(name) for row in windows)]
    parts = np.array([[float(row["contributions"].get(name) or 0) for row in windows] for name in names])
    middles = [(row["start"] + row["end"]) / 2 for row in windows]
    colours = [_colour(4 + number) for number in range(len(names))]  # others than the most frequent compounds have
    labels = [name.replace("_", " ") for name in names]
    if names and len(windows) > MOST_BARS:
        axes.stackplot(middles, parts, labels=labels, colors=colours, step="mid", linewidth=0)
    elif names:
        widths = [(row["end"] - row["start"]) * 0.48 for row in windows]
        for part, below, colour, label in zip(parts, np.cumsum(parts, axis=0) - parts, colours, labels, strict=True):
            axes.bar(middles, part, widths, below, color=colour, label=label)
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
