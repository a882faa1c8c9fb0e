"""The timeline of the report page: slider, ribbon, lanes, faces, curves and contributions under each other, on one scale."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from data.emotions import BASIC_EMOTIONS
from reports.answer import about, answer_name, figure, name_of, surely
from reports.documents import ResultDocument
from reports.grid import Columns, Values, as_float, columns
from reports.page.document import escaped, words_of
from reports.page.people import chooser, main_person, person_rows, speaker_rows, stretches_of
from reports.page.svg import (
    COLOURS,
    EMOTION_COLOURS,
    MODALITY_COLOURS,
    answer_kinds,
    answers,
    axis,
    clock,
    contributions,
    curves,
    lane,
    of_person,
    ribbon,
    row,
    span,
)


def timeline(result: ResultDocument, faces: pd.DataFrame | None, pictures: pd.DataFrame | None) -> str:
    """The section: a row for each thing that changes over time; `faces` as faces.parquet, `pictures` as
    `reports.page.faces.face_pictures` makes them, None where the run kept none."""
    cells = columns(result["windows"])
    emotions = [(name, f"c{EMOTION_COLOURS[name] % COLOURS}") for name in result["emotions"]]
    shown = list(dict.fromkeys(answer_name(one) for _, stretches in stretches_of(result) for one in stretches))
    kinds = answer_kinds(result)
    used = {name for one in result["windows"] for name, value in one["contributions"].items() if value}
    modalities = [(name, f"m{index % MODALITY_COLOURS}") for index, name in enumerate(result["modalities"]) if name in used]
    present = [name for name, entry in result["modalities"].items() if entry["state"] == "present"]
    key = "colour: the likeliest emotion, fuller where likelier; dashed: nothing to judge"
    note = f"{_whose(result)}the height is the sureness; pale: an emotion alone, no compound"
    main = main_person(result)
    lanes = [_modality_row(name, list(result["modalities"]).index(name), result, cells) for name in present]
    rows = (
        _slider(float(result["clip"]["duration"])),
        row("Expressions", note, ribbon(result), _legend((name, kinds.get(name, "none")) for name in shown), person=main),
        *person_rows(result, faces, pictures),
        *speaker_rows(result),
        *([row("Modalities", f"{_whose(result)}{key}", "", _legend(emotions), person=main), *lanes] if lanes else []),
        _absent_row(result),
        *([row("Basic emotions", f"{_whose(result)}all modalities together, from 0 to 1", curves(result, cells),
               _legend(emotions, "lines"), person=main),
           row("Contributions", f"{_whose(result)}of each modality to the answer, from 0 to 1", contributions(result, cells),
               _legend(modalities), person=main)] if present else []),
    )  # fmt: skip
    hint = (
        'Click or drag to go there.<span class="keys"> Keys: <kbd>←</kbd> <kbd>→</kbd> one second, with <kbd>Shift</kbd> five; '
        "<kbd>Home</kbd>, <kbd>End</kbd>; <kbd>space</kbd> plays and pauses.</span>"
    )
    return (
        f'<section><h2>Timeline</h2><p class="hint screen-only">{hint}</p>{chooser(result)}<div class="timeline">{"".join(rows)}'
        f"</div>{_as_table(result, cells)}</section>"
    )


def _whose(result: ResultDocument) -> str:
    """'of Anna; ' where others are in the clip, too."""
    main = about(result)
    return f"of {escaped(name_of(main))}; " if main and len(result.get("people", ())) > 1 else ""


def _absent_row(result: ResultDocument) -> str:
    """The modalities without an answer in one line, the reasons behind a click; on paper they are all there."""
    absent = {name: entry for name, entry in result["modalities"].items() if entry["state"] != "present"}
    if not absent:
        return ""
    names = ", ".join(words_of(name) + (" (failed)" if entry["state"] == "failed" else "") for name, entry in absent.items())
    whys = ((name, " ".join(filter(None, (entry["reason"], entry["remedy"])))) for name, entry in absent.items())
    told = "".join(f"<li><b>{words_of(name)}</b>: {escaped(why or 'No reason is noted.')}</li>" for name, why in whys)
    return (
        '<div class="row absences"><div class="name"><b>Not there</b></div><div class="cell"><details><summary>'
        f'{names}: why?</summary><ul>{told}</ul></details><ul class="paper">{told}</ul></div></div>'
    )


def lane_facts(result: ResultDocument) -> dict[str, object]:
    """What the lanes say at any time, for the script: `edges` (s), and for each modality [emotion, percent] or 0 a column."""
    cells = columns(result["windows"])
    said = {name: [_strongest(row) for row in answers(entry, cells)] for name, entry in result["modalities"].items()}
    return {"edges": [round(float(edge), 3) for edge in cells.edges], "lanes": said, "emotions": list(BASIC_EMOTIONS)}


def _strongest(row: Values) -> list[int] | Literal[0]:
    """[emotion, percent], or 0 where nothing is known."""
    return [int(row.argmax()), round(100 * float(row.max()))] if np.isfinite(row).all() else 0


def _slider(duration: float) -> str:
    """The slider that every cursor follows, above the axis."""
    slider = f'<input type="range" id="time" min="0" max="{duration:.3f}" step="0.05" value="0" aria-label="Time in seconds">'
    return (
        f'<div class="row axes"><div class="name"><b>Time</b><span class="state">of {clock(duration)}</span></div>'
        f'<div class="cell">{slider}{axis(max(duration, 0.1))}</div></div>'
    )


def _modality_row(name: str, index: int, result: ResultDocument, cells: Columns) -> str:
    """A lane of a modality that answers."""
    entry = result["modalities"][name]
    count = "" if entry["windows_present"] == entry["windows"] else f"in {entry['windows_present']} of {entry['windows']} windows"
    return (
        f'<div class="row present"{of_person(main_person(result))}><div class="name"><b>{words_of(name)}</b>'
        f'<span class="state">{count}</span>'
        f'<span class="at" data-lane="{name}"></span></div><div class="cell">{lane(result, name, cells)}</div></div>'
    )


def _legend(entries: Iterable[tuple[str, str]], kind: str = "") -> str:
    items = "".join(f'<li><span class="swatch {colour} {escaped(name)}"></span>{words_of(name)}</li>' for name, colour in entries)
    return f'<ul class="legend {kind}">{items}</ul>'


def _as_table(result: ResultDocument, cells: Columns) -> str:
    """The drawings as figures, for those who read rather than look; neighbouring slices of a long clip share a row."""
    present = {name: entry for name, entry in result["modalities"].items() if entry["state"] == "present"}
    if not cells.rows or not present:
        return ""
    heads = ("Time", "Shown", "How surely", "Blend", "Strongest emotion", *(words_of(name) for name in present))
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    fused = cells.mean([[as_float(row["basic"].get(name)) for name in result["emotions"]] for row in result["windows"]])
    lanes = [answers(entry, cells) for entry in present.values()]
    rows = []
    for number, (start, end) in enumerate(zip(cells.edges, cells.edges[1:], strict=False)):
        values = [*_shown(result, float(start), float(end)), _said(fused[number]), *(_said(own[number]) for own in lanes)]
        data = "".join(f'<td data-head="{head}">{value}</td>' for head, value in zip(heads[1:], values, strict=True))
        rows.append(f'<tr><th scope="row">{span(start, end)}</th>{data}</tr>')
    table = f'<table class="cards"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    region = f'<div class="wide" tabindex="0" role="region" aria-label="Timeline as a table">{table}</div>'
    return f"<details class='screen-only'><summary>The same as a table</summary>{region}</details>"


def _shown(result: ResultDocument, start: float, end: float) -> tuple[str, str, str]:
    """What the timeline shows at the middle of a column, how surely, and its blend."""
    middle = (start + end) / 2
    row = next((row for row in result["timeline"] if row["start"] <= middle < row["end"]), None)
    if row is None:
        return "no evidence", "–", "–"
    sure = surely(row.get("sureness"), row.get("sureness_range")) or "–"
    return words_of(answer_name(row)), sure, figure(row.get("blend"))


def _said(row: Values) -> str:
    best = _strongest(row)
    return f"{BASIC_EMOTIONS[best[0]]} {best[1]} %" if best else "–"
