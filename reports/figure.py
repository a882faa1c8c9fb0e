"""The answers about clips as a figure for a paper: vector or picture, at the width of a column, one clip above the other.

Of each clip three panels on one time grid: the answer, the fused basic emotions, and what each modality gave to it.
All clips have one scale of seconds. Colours are those of the report page.
"""

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.files import atomic_path
from reports.answer import NO_EVIDENCE, answer_name
from reports.documents import ResultDocument
from reports.grid import Columns, as_float, columns
from reports.page.document import PAGE_STYLE
from reports.page.svg import EMOTION_COLOURS, MODALITY_COLOURS, answer_kinds, gaps
from reports.render.fonts import families, undrawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".svg", ".pdf", ".png")
TWO_COLUMNS = 180.0
"""Millimetres; most journals' pages of two columns are within a few of these."""
DOTS = 300
"""Dots an inch of a .png."""
LARGEST = 100_000
"""Bytes of a small picture; Prefect's UI also prints a data address as text."""
SMALL_WIDTH = 5.0
"""Inches of a small picture."""
LETTERS: Any = {
    "font.family": "sans-serif", "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"], "font.size": 7,
    "axes.linewidth": 0.5, "xtick.major.width": 0.5, "ytick.major.width": 0.5, "xtick.major.size": 2, "ytick.major.size": 2,
    "hatch.linewidth": 0.4, "svg.fonttype": "none", "svg.hashsalt": "dyad", "pdf.fonttype": 42,
}  # fmt: skip
"""Seven points, which journals ask for at least; letters stay letters, so that an editor can change them."""
LEFT, RIGHT, TITLE, GAP, AXIS, LINE = 13.0, 3.0, 5.0, 3.0, 9.0, 3.6
"""Millimetres: margins, above a clip, between its panels, below it, a line of the legend."""
HEIGHTS = (6.0, 22.0, 16.0)
"""Millimetres of the three panels: answer, basic emotions, contributions."""
ABSENT: Mapping[str, Any] = {"facecolor": "white", "edgecolor": "#9aa0a8", "hatch": "////", "linewidth": 0}
"""How time without evidence looks in the panel of the answers."""
PALE = 0.45
"""Opacity of an emotion alone there, beside which compounds stand out."""
Values = npt.NDArray[np.float64]
Colours = Mapping[str, str]


def write_figure(path: Path, clips: Mapping[str, ResultDocument], width: float = TWO_COLUMNS) -> tuple[str, ...]:
    """Draw clips (title -> content of result.json) into a .svg, .pdf or .png that is `width` mm wide.

    The same answers make the same file. Returns sentences about titles that had to be replaced, as no font of this machine has
    their letters; an .svg keeps them for its viewer's fonts. InputError for another ending, or no clip.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: a figure ends in {', '.join(ENDINGS)}; name such a file with -o.")
    if not clips:
        raise InputError("There is no clip to draw; name one or more run folders.")
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()[1:]
    named, notes = (clips, ()) if kind == "svg" else _with_titles_that_can_be_drawn(clips)
    with atomic_path(path) as aside:
        aside.write_bytes(drawn(named, kind, width))
    return notes


def _with_titles_that_can_be_drawn(clips: Mapping[str, ResultDocument]) -> tuple[Mapping[str, ResultDocument], tuple[str, ...]]:
    """Clips by titles that fonts of this machine have, which others get from their content, and a sentence for each of these."""
    named: dict[str, ResultDocument] = {}
    notes = []
    for title, result in clips.items():
        if lacking := undrawable([title]):
            told = f"clip-{result['clip']['content_hash'][:8]}"
            told = f"{told}-{len(named) + 1}" if told in named else told
            notes.append(f"The figure calls {title} {told}: no font here has the letters {lacking}; install one that does.")
            title = told
        named[title] = result
    return named, tuple(notes)


def drawn(clips: Mapping[str, ResultDocument], kind: str, width: float = TWO_COLUMNS) -> bytes:
    """The same as bytes; `kind`: svg, pdf or png."""
    from matplotlib import rc_context

    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    stream = io.BytesIO()
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns of fonts that have no bold
    with rc_context(LETTERS | {"font.family": ["sans-serif", *families(clips)]}), warnings.catch_warnings():
        if kind == "svg":  # its viewer draws the letters
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
        _figure(clips, width).savefig(stream, format=kind, dpi=DOTS, metadata=dated)
    return stream.getvalue()


def small_picture(result: ResultDocument) -> bytes:
    """A clip as a PNG for a page that shows pictures, such as Prefect's: 750 pixels wide, fewer where it would have more than
    `LARGEST` bytes."""
    from matplotlib import rc_context

    with rc_context(LETTERS):
        figure = _figure({"": result}, 25.4 * SMALL_WIDTH)
        for dots in (150, 100, 75):
            stream = io.BytesIO()
            figure.savefig(stream, format="png", dpi=dots)
            if stream.tell() < LARGEST:
                break
    return stream.getvalue()


def _figure(clips: Mapping[str, ResultDocument], width: float) -> "Figure":
    from matplotlib.figure import Figure

    legends = [legend for legend in _legends(list(clips.values())) if legend]
    rows = [math.ceil(len(legend) / _fitting(legend, width)) for legend in legends]
    clip_height = TITLE + sum(HEIGHTS) + GAP * (len(HEIGHTS) - 1) + AXIS
    height = clip_height * len(clips) + sum(rows) * LINE + GAP * len(rows)
    figure = Figure(figsize=(width / 25.4, height / 25.4))
    seconds = max(_length(result) for result in clips.values())
    top = height
    for title, result in clips.items():
        _draw_clip(figure, (width, height, top), title, result, seconds)
        top -= clip_height
    for legend, lines in zip(legends, rows, strict=True):
        _draw_legend(figure, (width, height, top), legend)
        top -= lines * LINE + GAP
    return figure


def _draw_clip(
    figure: "Figure", where: tuple[float, float, float], title: str, result: ResultDocument, seconds: float
) -> None:
    """The panels of a clip; `where` is the figure's width and height and where the clip begins from below (mm)."""
    width, height, top = where
    figure.text(LEFT / width, (top - TITLE + 1.2) / height, title, ha="left", va="bottom", fontweight="bold",
                parse_math=False)
    top -= TITLE
    panels: list[Axes] = []
    for tall in HEIGHTS:
        box = (LEFT / width, (top - tall) / height, (width - LEFT - RIGHT) / width, tall / height)
        panels.append(figure.add_axes(box, xlim=(0, seconds), ylim=(0, 1)))
        top -= tall + GAP
    cells = columns(result["windows"])
    _draw_answers(panels[0], result)
    emotions = list(result["emotions"])
    _stack(panels[1], cells, _table(result, emotions, "basic"), [_emotion_colour(name) for name in emotions])
    modalities = list(result["modalities"])
    _stack(panels[2], cells, _table(result, modalities, "contributions"), list(map(_modality_colours(result).get, modalities)))
    for axes, name in zip(panels, ("", "emotion", "contribution"), strict=True):
        axes.set_ylabel(name)
        axes.spines[["top", "right", *([] if name else ["left"])]].set_visible(False)
        axes.tick_params(labelbottom=axes is panels[-1])
        axes.set_yticks([0, 0.5, 1] if name else [])
    panels[-1].set_xlabel("seconds")


def _draw_answers(axes: "Axes", result: ResultDocument) -> None:
    """A block a stretch: a compound, or an emotion alone; hatched where there was nothing to judge."""
    looks = _answer_looks(result)
    for row in result["timeline"]:
        axes.broken_barh([(row["start"], row["end"] - row["start"])], (0, 1), **looks[answer_name(row)])
    for start, end in gaps(result):
        axes.broken_barh([(start, end - start)], (0, 1), **ABSENT)


def _answer_looks(result: ResultDocument) -> dict[str, Mapping[str, Any]]:
    """How each answer looks that a clip may have."""
    kinds = answer_kinds(result)
    return {name: {"facecolor": _palette()[kind], "linewidth": 0, **({} if kind.startswith("k") else {"alpha": PALE})}
            for name, kind in kinds.items()}  # fmt: skip


def _stack(axes: "Axes", cells: Columns, table: Values, colours: Sequence[str | None]) -> None:
    """Shares [N, K] of the windows, stacked from 0, a step a column; absent columns stay empty."""
    means = cells.mean(table) if len(table) else table
    below = np.zeros(len(means))
    for share, colour in zip(np.nan_to_num(means).T, colours, strict=True):
        if share.any():
            axes.stairs(below + share, cells.edges, baseline=below, fill=True, facecolor=colour, linewidth=0)
        below = below + share


def _table(result: ResultDocument, names: Sequence[str], field: str) -> Values:
    """A field of all windows [N, K], NaN where absent."""
    rows = (row["basic"] if field == "basic" else row["contributions"] for row in result["windows"])
    return np.array([[as_float(row.get(name)) for name in names] for row in rows], np.float64).reshape(-1, len(names))


def _legends(results: Sequence[ResultDocument]) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    """What the colours of each panel mean, as far as they occur in the clips: name -> how its patch looks."""
    shown = {answer_name(row) for result in results for row in result["timeline"] if row["compound"]}
    compounds = {name: look for result in results for name, look in _answer_looks(result).items() if name in shown}
    yield compounds | ({NO_EVIDENCE: ABSENT} if any(map(gaps, results)) else {})
    yield {name: {"facecolor": _emotion_colour(name)} for name in dict.fromkeys(n for one in results for n in one["emotions"])}
    given = {name for result in results for row in result["windows"] for name, value in row["contributions"].items() if value}
    colours = {name: colour for result in results for name, colour in _modality_colours(result).items() if name in given}
    yield {name: {"facecolor": colour} for name, colour in colours.items()}


def _draw_legend(figure: "Figure", where: tuple[float, float, float], legend: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib.patches import Patch

    width, height, top = where
    patches = [Patch(label=name.replace("_", " "), **look) for name, look in legend.items()]
    figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(LEFT / width, top / height), ncols=_fitting(legend, width),
        frameon=False, borderpad=0, borderaxespad=0, handlelength=1.2, handleheight=0.9, columnspacing=1.2, labelspacing=0.45,
    )  # fmt: skip


def _fitting(legend: Mapping[str, object], width: float) -> int:
    """How many entries of a legend fit side by side, at 1.3 mm a letter."""
    entry = 7.0 + 1.3 * max(map(len, legend))
    return max(1, min(len(legend), int((width - LEFT - RIGHT) // entry)))


def _modality_colours(result: ResultDocument) -> Colours:
    return {name: _palette()[f"m{number % MODALITY_COLOURS}"] for number, name in enumerate(result["modalities"])}


def _emotion_colour(name: str) -> str:
    return _palette()[f"c{EMOTION_COLOURS[name]}"]


@cache
def _palette() -> Colours:
    """The page's colours on a light ground, by their classes."""
    light = PAGE_STYLE.read_text(encoding="utf-8").partition("@media")[0]
    return dict(re.findall(r"\.([ckm]\d) \{ --c: (#[0-9a-f]{6})", light))


def _length(result: ResultDocument) -> float:
    return max(float(result["clip"]["duration"]), 0.1)
