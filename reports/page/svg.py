"""The drawings of the report page: SVG by hand, since each is a few rectangles and lines that a script moves a cursor over,
and a plotting library would bring megabytes of script into every page (docs/report.md says more).

Shapes are drawn in a box of 1000 x 100 that the page stretches to its width; letters are placed in percent and keep their size.
"""

import html
from collections.abc import Iterable

import numpy as np

from data.emotions import BASIC_EMOTIONS
from reports.answer import answer_name, said, title
from reports.documents import ModalityEntry, ResultDocument, StretchEntry
from reports.grid import Columns, Values, as_float

EMOTION_COLOURS = dict(zip(BASIC_EMOTIONS, (7, 3, 2, 4, 1, 0, 5), strict=True))
"""Which of the page's eight colours c0..c7 (Okabe and Ito's, told apart by people who see colours differently) an emotion has."""
COLOURS = 8
COMPOUND_COLOURS, MODALITY_COLOURS = 9, 6
"""As many colours have the compounds, k0..k8 (Tol's muted), and the modalities, m0..m5 (dull: slate for faces, olive for scenes,
brown for voice and words), which no emotion and no compound has."""
ROOM = 0.07
"""The share of the width that a word needs to be written into its block."""
MOST_BLOCKS = 600
GRID = [f'<line class="grid" x1="0" x2="1000" y1="{y}" y2="{y}"/>' for y in (25, 50, 75)]

Box = tuple[float, float, float, float]


def clock(seconds: float) -> str:
    """Seconds as people write them: 1:02.5, or 1:01:02.5."""
    tenths = round(max(seconds, 0.0) * 10)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{tenths % 600 / 10:04.1f}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def span(start: float, end: float) -> str:
    """'0:04.0 to 0:08.0'."""
    return f"{clock(start)} to {clock(end)}"


def drawing(inner: Iterable[str], label: str, kind: str, letters: Iterable[str] = ()) -> str:
    """An SVG that fills its cell, with what it shows as words for those who do not see it, and the cursor.

    `inner` are shapes in a box of 1000 x 100; `letters` (see `lettered`) keep their proportions.
    """
    cursor = '<line class="cursor" x1="0" x2="0" y1="0" y2="100%"/>'
    shapes = f'<svg width="100%" height="100%" viewBox="0 0 1000 100" preserveAspectRatio="none">{"".join(inner)}</svg>'
    return (
        f'<svg class="track {kind}" role="img" aria-label="{html.escape(label)}">{shapes}{"".join(letters)}{cursor}</svg>'
    )


def lettered(start: float, end: float, duration: float, words: str, y: str = "50%") -> str:
    """Words at the left of a stretch of time, cut off where it ends; nothing where there is no room."""
    x, width = across(start, end, duration)
    if width < 1000 * ROOM:
        return ""
    box = f'x="{x / 10:.5g}%" width="{width / 10:.5g}%" height="100%"'
    return f'<svg class="letters" {box}><text x="6" y="{y}">{html.escape(words)}</text></svg>'


def row(name: str, note: str, drawn: str, legend: str = "", person: int | None = None) -> str:
    """A row of the timeline; `person` is whose it is, where one can choose."""
    return (
        f'<div class="row"{of_person(person)}><div class="name"><b>{name}</b><span class="state">{note}</span></div>'
        f'<div class="cell">{drawn}{legend}</div></div>'
    )


def of_person(person: int | None) -> str:
    """The attribute that says whose an element is, for the script; nothing for nobody's."""
    return f' data-person="{person}"' if person else ""


def block(box: Box, kind: str, told: str, opacity: float = 1.0, person: int | None = None) -> str:
    """A rectangle (x, y, width, height) that says what is `told` where the pointer rests on it."""
    x, y, width, height = (f"{value:.6g}" for value in box)
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" class="{kind}" fill-opacity="{opacity:.2f}"'
        f"{of_person(person)}>"
        f"<title>{html.escape(told)}</title></rect>"
    )


STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


def ticks(duration: float) -> list[float]:
    """Round times (s) from 0 to `duration`, at most seven; five where hours make their names long."""
    most = 4 if duration >= 3600 else 6
    step = next((step for step in STEPS if duration / step <= most), duration / most)
    return [step * number for number in range(int(duration / step + 1e-9) + 1)]


def axis(duration: float) -> str:
    """The time axis: a line and a time at each tick."""
    times, parts = ticks(duration), []
    whole = len(times) == 1 or times[1] >= 1
    for time in times:
        x = 100 * time / duration
        side = "start" if x < 3 else "end" if x > 95 else "middle"
        name = clock(time)[:-2] if whole else clock(time)
        parts.append(f'<line x1="{x:.5g}%" x2="{x:.5g}%" y1="0" y2="6"/>')
        parts.append(f'<text x="{x:.5g}%" y="19" text-anchor="{side}">{name}</text>')
    return f'<svg class="axis" aria-hidden="true">{"".join(parts)}</svg>'


def ribbon(result: ResultDocument) -> str:
    """The answers over time: the height of the full colour is the sureness; compounds full, emotions alone pale, none dashed."""
    parts = _many_stretches(result) if len(result["timeline"]) > MOST_BLOCKS else _few_stretches(result)
    names = [lettered(row["start"], row["end"], _length(result), title(answer_name(row)), "1.1em") for row in result["timeline"]]
    names += [lettered(start, end, _length(result), "no evidence") for start, end in gaps(result)]
    return drawing(parts, f"Expressions over time. {result['summary']['sentence']}", "ribbon", names)


def _few_stretches(result: ResultDocument) -> list[str]:
    """Rectangles that say what they are."""
    duration, kinds = _length(result), answer_kinds(result)
    parts = [_gap(result, start, end, duration) for start, end in gaps(result)]
    for row in result["timeline"]:
        whole, sure = _stretch_boxes(row, duration)
        told = f"{span(row['start'], row['end'])}: {said(row, within=True)}"
        pale, full = (0.35, 1.0) if row["compound"] else (0.2, 0.45)
        kind = kinds.get(answer_name(row), "none")
        parts += [block(whole, kind, told, pale), block(sure, kind, told, full)]
    return parts


def _many_stretches(result: ResultDocument) -> list[str]:
    """One shape an answer: thousands of stretches stay small, and none could be pointed at anyway."""
    duration = _length(result)
    spans = (across(start, end, duration) for start, end in gaps(result))
    parts = [f'<path class="none" d="{"".join(_outline((x, 0, width, 100)) for x, width in spans)}"/>']
    for name, kind in answer_kinds(result).items():
        pairs = [_stretch_boxes(row, duration) for row in result["timeline"] if answer_name(row) == name]
        for index, opacity in ((0, 0.35), (1, 1)) if kind.startswith("k") else ((0, 0.2), (1, 0.45)):
            shape = "".join(_outline(pair[index]) for pair in pairs)
            parts += [f'<path class="{kind}" fill-opacity="{opacity}" d="{shape}"/>'] if shape else []
    return parts


def answer_kinds(result: ResultDocument) -> dict[str, str]:
    """The class that gives an answer its colour: compounds have colours of their own, emotions those of the lanes."""
    compounds = {compound["name"]: f"k{index % COMPOUND_COLOURS}" for index, compound in enumerate(result["compounds"])}
    return {name: f"c{number}" for name, number in EMOTION_COLOURS.items()} | compounds


def _stretch_boxes(row: StretchEntry, duration: float) -> tuple[Box, Box]:
    """All of a stretch, and of it as much of the height as the sureness; of an older result, which has none, all."""
    x, width = across(row["start"], row["end"], duration)
    told = row.get("sureness")
    sure = 1.0 if told is None else min(max(told, 0.0), 1.0)
    return (x, 0, width, 100), (x, 100 - 100 * sure, width, 100 * sure)


def _outline(box: Box) -> str:
    x, y, width, height = box
    return f"M{x:.1f} {y:.0f}h{width:.1f}v{height:.0f}h-{width:.1f}z"


def gaps(result: ResultDocument) -> list[tuple[float, float]]:
    """The times (s) that no stretch of the timeline covers."""
    found, at = [], 0.0
    for row in sorted(result["timeline"], key=lambda row: float(row["start"])):
        if row["start"] > at + 1e-6:
            found.append((at, float(row["start"])))
        at = max(at, float(row["end"]))
    end = _length(result)
    return [*found, (at, end)] if end > at + 1e-6 else found


def _gap(result: ResultDocument, start: float, end: float, duration: float) -> str:
    middle = (start + end) / 2
    near = min(result["windows"], key=lambda row: abs((row["start"] + row["end"]) / 2 - middle), default=None)
    told = near["reason"] if near and not near["present"] and near["reason"] else "no evidence"
    x, width = across(start, end, duration)
    return block((x, 0, width, 100), "absent", f"{span(start, end)}: {told}")


def lane(result: ResultDocument, name: str, cells: Columns) -> str:
    """What one modality says in each window: the colour of its likeliest emotion, the fuller the likelier; dashed if absent."""
    entry, duration = result["modalities"][name], _length(result)
    parts, words = [], []
    for number, row in enumerate(answers(entry, cells)):
        start, end = float(cells.edges[number]), float(cells.edges[number + 1])
        x, width = across(start, end, duration)
        if np.isfinite(row).all():
            best = BASIC_EMOTIONS[int(row.argmax())]
            told = f"{span(start, end)}: {best} {100 * row.max():.0f} %"
            parts.append(block((x, 0, width, 100), f"c{EMOTION_COLOURS[best]}", told, 0.15 + 0.85 * float(row.max())))
            words.append(lettered(start, end, duration, best))
        else:
            reason = " ".join(filter(None, (entry["reason"], entry["remedy"]))) or "nothing to judge in this window"
            parts.append(block((x, 0, width, 100), "absent", f"{span(start, end)}: absent. {reason}"))
    return drawing(parts, f"{name.replace('_', ' ')}: {presence(entry)}", "lane", words)


def answers(entry: ModalityEntry, cells: Columns) -> Values:
    """What a modality says in each column: [C, 7], NaN where it is absent."""
    table = [[as_float(value) for value in row] for row in entry["probabilities"]]
    return cells.mean(table) if table else np.zeros((0, len(BASIC_EMOTIONS)))


def presence(entry: ModalityEntry) -> str:
    """'present in 4 of 5 windows', or 'absent' with the reason and the remedy."""
    if entry["state"] == "present":
        return f"present in {entry['windows_present']} of {entry['windows']} windows"
    return " ".join(filter(None, (f"{entry['state']}:", entry["reason"], entry["remedy"])))


def curves(result: ResultDocument, cells: Columns) -> str:
    """The fused basic emotions over time as steps on the grid, 0 at the bottom and 1 at the top."""
    names = list(result["emotions"])
    table = [[as_float(row["basic"].get(name)) for name in names] for row in result["windows"]]
    means = cells.mean(table) if table else np.zeros((0, len(names)))
    edges = cells.edges / _length(result) * 1000
    lines = [_steps(edges, means[:, index], name) for index, name in enumerate(names)]
    return drawing([*GRID, *lines], "Fused probabilities of the basic emotions over time", "curves")


def _steps(edges: Values, values: Values, name: str) -> str:
    """A line that holds each value from its edge to the next, broken where values are absent."""
    steps, drawing_on = [], False
    for left, right, value in zip(edges, edges[1:], values, strict=False):
        known = bool(np.isfinite(value))
        if known:
            steps.append(f"{'V' if drawing_on else f'M{left:.1f} '}{100 - 100 * value:.1f}H{max(right, left + 4):.1f}")
        drawing_on = known
    told = f"<title>{html.escape(name)}</title>"
    return f'<path class="curve c{EMOTION_COLOURS[name]} {html.escape(name)}" d="{"".join(steps)}">{told}</path>'


def contributions(result: ResultDocument, cells: Columns) -> str:
    """What each modality gave to the answer, stacked, on the grid; the whole height is probability 1."""
    names, duration = list(result["modalities"]), _length(result)
    table = [[as_float(row["contributions"].get(name)) for name in names] for row in result["windows"]]
    parts = []
    for number, row in enumerate(np.nan_to_num(cells.mean(table)) if table else []):
        start, end = float(cells.edges[number]), float(cells.edges[number + 1])
        x, width = across(start, end, duration)
        tops = 100 - 100 * np.cumsum(row)
        for index, (name, value) in enumerate(zip(names, row, strict=True)):
            if value > 0.0005:
                told = f"{span(start, end)}: {title(name)} {100 * value:.0f} %"
                box = (x + 0.01 * width, float(tops[index]), 0.98 * width, 100 * float(value))
                parts.append(block(box, f"m{index % MODALITY_COLOURS}", told))
    return drawing([*GRID, *parts], "What each modality gave to the answer over time", "stack")


def across(start: float, end: float, duration: float) -> tuple[float, float]:
    """Left edge and width of a stretch of time in a drawing 1000 wide; never too narrow to be seen."""
    left = 1000 * min(max(start / duration, 0), 1)
    return left, max(1000 * min(end / duration, 1) - left, 0.5)


def _length(result: ResultDocument) -> float:
    return max(float(result["clip"]["duration"]), 0.1)
