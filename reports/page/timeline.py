"""The timeline of the report page: slider, ribbon, lanes, faces, curves and contributions under each other, on one scale."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from data.emotions import BASIC_EMOTIONS
from data.people import called
from reports.documents import ResultDocument, WindowEntry
from reports.page.document import escaped, words_of
from reports.page.faces import face_strips
from reports.page.svg import (
    COLOURS,
    COMPOUND_COLOURS,
    EMOTION_COLOURS,
    MODALITY_COLOURS,
    Columns,
    Values,
    across,
    answers,
    as_float,
    axis,
    block,
    clock,
    columns,
    contributions,
    curves,
    drawing,
    lane,
    ribbon,
    span,
)

SPEAKERS, MOST_TURNS = 5, 600
"""Persons who have a strip of their own in "who speaks", and turns that are drawn."""
NO_PICTURES = "This run kept no pictures of its faces, as older versions did not; <code>dyad run --fresh</code> keeps some."


def timeline(result: ResultDocument, faces: pd.DataFrame | None, pictures: pd.DataFrame | None) -> str:
    """The section: a row for each thing that changes over time; `faces` as faces.parquet, `pictures` as
    `reports.page.faces.face_pictures` makes them, None where the run kept none."""
    cells = cells_of(result)
    emotions = [(name, f"c{EMOTION_COLOURS[name] % COLOURS}") for name in result["emotions"]]
    compounds = [(entry["name"], f"k{index % COMPOUND_COLOURS}") for index, entry in enumerate(result["compounds"])]
    modalities = [(name, f"m{index % MODALITY_COLOURS}") for index, name in enumerate(result["modalities"])]
    key = "The colour is the likeliest emotion, fuller where likelier; dashed: absent."
    lanes = [_modality_row(name, index, result, cells) for index, name in enumerate(result["modalities"])]
    rows = (
        _slider(float(result["clip"]["duration"])),
        _row("Compounds", "full colour: confidence; grey: none of them", ribbon(result), _legend(compounds)),
        *_face_rows(result, faces, pictures),
        *_speaker_rows(result),
        _row("Modalities", key, "", _legend(emotions)),
        *lanes,
        _row("Basic emotions", "all modalities together, 0 to 1", curves(result, cells), _legend(emotions, "lines")),
        _row("Contributions", "to the winner's probability, 0 to 1", contributions(result, cells), _legend(modalities)),
    )
    hint = (
        "Click or drag to go there. Keys: <kbd>←</kbd> <kbd>→</kbd> one second, with <kbd>Shift</kbd> five; "
        "<kbd>Home</kbd>, <kbd>End</kbd>; <kbd>space</kbd> plays and pauses."
    )
    return (
        f'<section><h2>Timeline</h2><p class="hint keys">{hint}</p><div class="timeline">{"".join(rows)}</div>'
        f"{_as_table(result, cells)}</section>"
    )


def cells_of(result: ResultDocument) -> Columns:
    """The columns that a clip's windows are shown as."""
    return columns(result["windows"], max(float(result["clip"]["duration"]), 0.1))


def lane_facts(result: ResultDocument) -> dict[str, object]:
    """What the lanes say at any time, for the script: `edges` (s), and for each modality [emotion, percent] or 0 a column."""
    cells = cells_of(result)
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


def _row(name: str, note: str, drawn: str, legend: str = "") -> str:
    return (
        f'<div class="row"><div class="name"><b>{name}</b><span class="state">{note}</span></div>'
        f'<div class="cell">{drawn}{legend}</div></div>'
    )


def _modality_row(name: str, index: int, result: ResultDocument, cells: Columns) -> str:
    """A lane. Where the modality is absent, its state is a button that tells why where the pointer rests or the focus is."""
    entry = result["modalities"][name]
    mark = f'<span class="swatch m{index % MODALITY_COLOURS}"></span>'
    if entry["state"] == "present":
        count = f"present in {entry['windows_present']} of {entry['windows']} windows"
        state = f'<span class="state">{count}</span><span class="at" data-lane="{name}"></span>'
    else:
        why = " ".join(filter(None, (entry["reason"], entry["remedy"]))) or "No reason is noted."
        state = (
            f'<button type="button" class="why" aria-describedby="why-{name}">{escaped(entry["state"])}: why?</button>'
            f'<span class="tip" role="tooltip" id="why-{name}">{escaped(why)}</span>'
        )
    return (
        f'<div class="row {escaped(entry["state"])}"><div class="name"><b>{words_of(name)}{mark}</b>{state}</div>'
        f'<div class="cell">{lane(result, name, cells)}</div></div>'
    )


def _face_rows(result: ResultDocument, faces: pd.DataFrame | None, pictures: pd.DataFrame | None) -> list[str]:
    """The strips of faces, and what is left out of them."""
    if not result["clip"]["has_video"]:
        return []
    if faces is None or faces.empty:
        return [_row("Faces", "none was found", "")]
    duration = max(float(result["clip"]["duration"]), 0.1)
    rows = [_row(name, note, drawn) for name, note, drawn in face_strips(faces, pictures, duration)]
    kind, column = ("persons", "person") if "person" in faces else ("tracks", "track_id")
    more = int(faces.loc[~faces["main"], column].nunique()) - (len(rows) - 1)
    said = [f"{more} more {kind} are in faces.parquet."] if more > 0 else []
    said += [NO_PICTURES] if pictures is None else []
    return [*rows, *([f'<p class="hint">{" ".join(said)}</p>'] if said else [])]


def _speaker_rows(result: ResultDocument) -> list[str]:
    """Who speaks: a strip of its own for each of the persons who speak longest; voices of nobody known are grey."""
    turns, duration = result.get("turns", ()), max(float(result["clip"]["duration"]), 0.1)
    if not turns:
        return []
    names = {entry["person"]: called(entry["person"], entry["name"]) for entry in result.get("people", ())}
    seconds = {entry["person"]: entry["seconds_speaking"] for entry in result.get("people", ()) if entry["seconds_speaking"]}
    shown = sorted(sorted(seconds, key=lambda person: -seconds[person])[:SPEAKERS])
    lanes: list[int | None] = [*shown, *([None] if any(turn["person"] not in shown for turn in turns) else [])]
    height, blocks = 100 / len(lanes), []
    for turn in turns[:MOST_TURNS]:
        place = lanes.index(turn["person"] if turn["person"] in shown else None)
        who = names.get(turn["person"] or 0, "unsure who")
        where = "" if turn["on_screen"] else ", off screen"
        x, width = across(turn["start"], turn["end"], duration)
        colour = f"m{place % MODALITY_COLOURS}" if lanes[place] is not None else "none"
        told = f"{span(turn['start'], turn['end'])}: {who}{where}"
        blocks.append(block((x, place * height + 5, width, height - 10), colour, told))
    colours = [f"m{place % MODALITY_COLOURS}" for place in range(len(shown))]
    pairs = zip(shown, colours, strict=True)
    items = (f'<li><span class="swatch {colour}"></span>{escaped(names[person])}</li>' for person, colour in pairs)
    legend = f'<ul class="legend">{"".join(items)}</ul>'
    note = "by voice, and by whose mouth moves" if len(turns) <= MOST_TURNS else f"the first {MOST_TURNS} of {len(turns)} turns"
    return [_row("Who speaks", note, drawing(blocks, "Who speaks when", "speakers"), legend)]


def _legend(entries: Iterable[tuple[str, str]], kind: str = "") -> str:
    items = "".join(f'<li><span class="swatch {colour} {escaped(name)}"></span>{words_of(name)}</li>' for name, colour in entries)
    return f'<ul class="legend {kind}">{items}</ul>'


def _as_table(result: ResultDocument, cells: Columns) -> str:
    """The drawings as figures, for those who read rather than look; neighbouring windows of a long clip share a row."""
    if not cells.rows:
        return ""
    heads = ("Time", "Compound", "Confidence", "Fused emotion", *(words_of(name) for name in result["modalities"]))
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    fused = cells.mean([[as_float(row["basic"].get(name)) for name in result["emotions"]] for row in result["windows"]])
    lanes = [answers(entry, cells) for entry in result["modalities"].values()]
    rows = []
    for number, part in enumerate(cells.rows):
        said = [_said(fused[number]), *(_said(own[number]) for own in lanes)]
        values = [*_winner(result["windows"][part]), *said]
        data = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{span(cells.edges[number], cells.edges[number + 1])}</th>{data}</tr>')
    table = f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    region = f'<div class="wide" tabindex="0" role="region" aria-label="Timeline as a table">{table}</div>'
    return f"<details><summary>The same as a table</summary>{region}</details>"


def _winner(windows: Sequence[WindowEntry]) -> tuple[str, str]:
    """The compound that wins most of a few windows, and its mean confidence there."""
    tops = [row["top"] for row in windows if row["top"]]
    if not tops:
        return ("none" if any(row["present"] for row in windows) else "no evidence"), "–"
    best = max(tops, key=tops.count)
    return words_of(best), f"{np.mean([row['confidence'] or 0 for row in windows if row['top'] == best]):.2f}"


def _said(row: Values) -> str:
    best = _strongest(row)
    return f"{BASIC_EMOTIONS[best[0]]} {best[1]} %" if best else "–"
