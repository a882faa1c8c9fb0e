"""`report.html`: the answer about a clip as one page that needs nothing but itself and the media file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reports.page_document import asset, document, escaped, words_of
from reports.page_drawing import COLOURS, EMOTION_COLOURS, clock, columns, contributions, curves, lane, presence, ribbon, span

MOST_STRETCHES, MOST_LINES, MOST_FACES = 300, 3000, 12000
LONGEST_TEXT = 600
"""What keeps the page of a long clip under 3 MB; what is left out is said, and stays in the run folder."""
FACE_COLUMNS = ("time_s", "track_id", "main", "x", "y", "width", "height")


def report_page(
    result: Mapping[str, Any],
    *,
    media: str | None = None,
    transcript: pd.DataFrame | None = None,
    descriptions: pd.DataFrame | None = None,
    faces: pd.DataFrame | None = None,
    settings: str = "",
) -> str:
    """The page for the content of `result.json`.

    `media` is the address of the media file as the page can reach it (relative, or file:), None where it is gone;
    `transcript` has start, end (s; NaN where unknown) and text, `descriptions` window (or start) and text, `faces` the columns
    of faces.parquet, boxes in pixels of the source; `settings` is shown as it is.
    """
    title = Path(result["clip"]["path"]).name
    boxes = _boxes(faces)
    body = "\n".join((
        _head(title, result), '<div class="pair">', _player(result, media, bool(boxes)), _moments(result), "</div>",
        _timeline(result), _words(result, transcript, descriptions), _ran(result, settings),
    ))  # fmt: skip
    heading = f"{title}: compound expressions"
    return document(heading, body, _facts(result, boxes), asset("page.css"), asset("page.js"))


def _facts(result: Mapping[str, Any], boxes: list[list[Any]]) -> dict[str, Any]:
    """What the script needs: the length, the stretches and the boxes."""
    stretches = [
        [row["start"], row["end"], row["compound"].replace("_", " "), row["confidence"]] for row in result["timeline"]
    ]
    return {"duration": result["clip"]["duration"], "stretches": stretches, "boxes": boxes}


def _boxes(faces: pd.DataFrame | None) -> list[list[Any]]:
    """[time, track, main, x, y, width, height] by time; of a long clip every n-th looked-at frame."""
    if faces is None or faces.empty:
        return []
    times = faces["time_s"].unique()
    few = set(times[:: -(-len(faces) // MOST_FACES)])
    table = faces.loc[faces["time_s"].isin(few), list(FACE_COLUMNS)].sort_values("time_s")
    return [
        [round(float(time), 3), int(track), int(main), *(round(float(value)) for value in box)]
        for time, track, main, *box in table.itertuples(index=False)
    ][:MOST_FACES]


def _head(title: str, result: Mapping[str, Any]) -> str:
    clip = result["clip"]
    picture = f", {clip['width']} x {clip['height']} at {clip['frame_rate']:.4g} frames a second" if clip["has_video"] else ""
    problems = "".join(f"<li>{escaped(problem)}</li>" for problem in result["problems"])
    return (
        f'<header><h1>{escaped(title)}</h1><p class="sentence">{escaped(result["summary"]["sentence"])}</p>'
        f'<p class="facts">{clock(clip["duration"])}{picture}; profile {escaped(result["profile"])}; '
        f"Dyad {escaped(result['dyad']['version'])}, {escaped(result['dyad']['created'])}</p>"
        + (f'<ul class="problems">{problems}</ul>' if problems else "")
        + "</header>\n<main>"
    )


def _player(result: Mapping[str, Any], media: str | None, has_boxes: bool) -> str:
    """The media element with the boxes over it, the buttons and the slider."""
    clip = result["clip"]
    gone = f"The media file is not there any more ({escaped(clip['path'])}); everything below works without it."
    kind = "video" if clip["has_video"] else "audio"
    there = f'<{kind} id="media" controls preload="metadata" src="{escaped(media)}"></{kind}>'
    element = there if media else f'<p class="gone">{gone}</p>'
    size = f"0 0 {clip['width'] or 1} {clip['height'] or 1}"
    overlay = f'<svg id="boxes" viewBox="{size}" aria-hidden="true"></svg>' if media and has_boxes and kind == "video" else ""
    buttons = "".join(
        f'<button type="button" data-do="{what}">{said}</button>'
        for what, said in (("play", "Play / pause"), ("back", "1 s back"), ("on", "1 s on"),
                           ("previous", "Previous expression"), ("next", "Next expression"))
        if media or what != "play"
    )  # fmt: skip
    switch = '<label><input type="checkbox" id="show-boxes" checked> Boxes of faces</label>' if overlay else ""
    return (
        f'<section aria-label="Player"><div class="screen {kind}">{element}{overlay}</div>'
        f'<p id="unplayable" class="gone" hidden>The browser cannot show this media file: {escaped(clip["path"])}</p>'
        f'<p id="now">&nbsp;</p><div class="buttons">{buttons}{switch}</div></section>'
    )


def _timeline(result: Mapping[str, Any]) -> str:
    """The slider and, under each other with the same scale, ribbon, lanes, curves and contributions."""
    cells, duration = columns(result["windows"], max(float(result["clip"]["duration"]), 0.1)), result["clip"]["duration"]
    slider = f'<input type="range" id="time" min="0" max="{duration:.3f}" step="0.05" value="0" aria-label="Time in seconds">'
    coloured = [(name, EMOTION_COLOURS[name]) for name in result["emotions"]]
    lanes = [
        _row(words_of(name), f'<span class="state {entry["state"]}">{escaped(presence(entry))}</span>', lane(result, name, cells))
        for name, entry in result["modalities"].items()
    ]
    compounds = _legend([(entry["name"], place) for place, entry in enumerate(result["compounds"])])
    modalities = _legend([(name, place) for place, name in enumerate(result["modalities"])])
    key = "colour: the likeliest emotion, fuller where likelier; dashed: absent"
    rows = (
        _row("Time", f'<span class="state">0:00.0 to {clock(duration)}</span>', slider),
        _row("Compounds", '<span class="state">height: confidence; grey: none of them</span>', ribbon(result), compounds),
        _row("Modalities", f'<span class="state">{key}</span>', "", _legend(coloured)),
        *lanes,
        _row("Basic emotions", '<span class="state">fused, 0 to 1</span>', curves(result, cells), _legend(coloured, "emotions")),
        _row("Contributions", '<span class="state">to the winner</span>', contributions(result, cells), modalities),
    )
    hint = "Click to go there; arrow keys move by a second, with Shift by five."
    return f'<section><h2>Timeline</h2><p class="hint">{hint}</p><div class="timeline">{"".join(rows)}</div></section>'


def _row(name: str, note: str, drawn: str, legend: str = "") -> str:
    return f'<div class="row"><div class="name"><b>{name}</b>{note}</div><div class="cell">{drawn}{legend}</div></div>'


def _legend(entries: Iterable[tuple[str, int]], kind: str = "") -> str:
    items = "".join(
        f'<li><span class="swatch c{place % COLOURS} {escaped(name)}"></span>{words_of(name)}</li>' for name, place in entries
    )
    return f'<ul class="legend {kind}">{items}</ul>'


def _moments(result: Mapping[str, Any]) -> str:
    """The stretches as buttons, and the clip's mean compounds as bars."""
    names = [compound["name"] for compound in result["compounds"]]
    shown = [
        _jump(row["start"], row["end"], f'<span class="swatch c{names.index(row["compound"]) % COLOURS}"></span>'
              f"{words_of(row['compound'])}, confidence {row['confidence'] or 0:.2f}")
        for row in result["timeline"][:MOST_STRETCHES]
    ]  # fmt: skip
    means = [(name, result["summary"]["compound"].get(name)) for name in names]
    bars = "".join(
        f"<tr><th scope='row'>{words_of(name)}</th><td><meter min='0' max='1' value='{value or 0:.3f}' "
        f"aria-label='{words_of(name)}'></meter></td><td>{'–' if value is None else f'{value:.0%}'}</td>"
        f"<td>{result['summary']['seconds'].get(name, 0):.1f} s</td></tr>"
        for name, value in means
    )
    left_out = _left_out(len(result["timeline"]) - len(shown), "result.json")
    return (
        f'<div><section class="few"><h2>Expressions</h2>{_list(shown, "None of the compounds is found in this clip.")}{left_out}'
        "</section><section><h2>The whole clip</h2><table class='bars'>"
        "<thead><tr><th scope='col'>Compound</th><th scope='col' colspan='2'>"
        f"Mean probability</th><th scope='col'>Time</th></tr></thead><tbody>{bars}</tbody>"
        "</table></section></div>"
    )


def _words(result: Mapping[str, Any], transcript: pd.DataFrame | None, descriptions: pd.DataFrame | None) -> str:
    """Transcript and scene descriptions, each line a button that goes to its time."""
    placed = _placed(result, descriptions)
    spoken, seen = _lines(transcript), _lines(placed)
    return (
        f'<div class="pair"><section><h2>Transcript</h2>{_list(spoken, "No words are known for this clip.")}'
        f"{_left_out(_length(transcript) - len(spoken), 'transcript.vtt')}</section><section><h2>Scene descriptions</h2>"
        f"{_list(seen, 'The scenes are not described.')}"
        f"{_left_out(_length(placed) - len(seen), 'scene_context_evidence.parquet')}</section></div>"
    )


def _placed(result: Mapping[str, Any], table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Descriptions with the times of their windows, where they have none of their own."""
    if table is None or "start" in table or "window" not in table:
        return table
    windows = result["windows"]
    known = table.loc[table["window"].between(0, len(windows) - 1)]
    times = {name: [windows[int(number)][name] for number in known["window"]] for name in ("start", "end")}
    return _joined(known.assign(**times))


def _joined(table: pd.DataFrame) -> pd.DataFrame:
    """The same description in windows that overlap or follow each other becomes one line."""
    lines: list[dict[str, Any]] = []
    last: dict[str, dict[str, Any]] = {}
    for start, end, text in table[["start", "end", "text"]].itertuples(index=False):
        before = last.get(text)
        if before and before["start"] <= start <= before["end"]:
            before["end"] = max(before["end"], end)
        else:
            last[text] = {"start": start, "end": end, "text": text}
            lines.append(last[text])
    return pd.DataFrame(lines, columns=["start", "end", "text"])


def _lines(table: pd.DataFrame | None) -> list[str]:
    if table is None or table.empty:
        return []
    rows = table.reindex(columns=["start", "end", "text"]).head(MOST_LINES)
    return [_jump(start, end, escaped(_short(str(text)))) for start, end, text in rows.itertuples(index=False)]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _jump(start: float, end: float, inner: str) -> str:
    """A line of a list that goes to its time; without a time it is plain text."""
    if pd.isna(start) or pd.isna(end):
        return f"<li>{inner}</li>"
    return (
        f'<li><button type="button" class="jump" data-start="{start:.3f}" data-end="{end:.3f}">'
        f"<time>{span(start, end)}</time> {inner}</button></li>"
    )


def _list(items: Sequence[str], otherwise: str) -> str:
    return f'<ol class="moments">{"".join(items)}</ol>' if items else f"<p>{otherwise}</p>"


def _left_out(count: int, where: str) -> str:
    return f'<p class="hint">{count} more in {where}.</p>' if count > 0 else ""


def _length(table: pd.DataFrame | None) -> int:
    return 0 if table is None else len(table)


def _ran(result: Mapping[str, Any], settings: str) -> str:
    """What ran: models, revisions, seconds; why the rest did not."""
    heads = ("Modality", "State", "Backend", "Model", "Revision", "Preprocessing", "Seconds")
    rows = "".join(_model(name, entry, result["seconds"].get(name)) for name, entry in result["modalities"].items())
    others = [f"{words_of(name)} {value:.2f} s" for name, value in result["seconds"].items() if name not in result["modalities"]]
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    rest = ", ".join(others) or "no times noted"
    pretty = f"<details><summary>Settings</summary><pre tabindex='0'>{escaped(settings)}</pre></details>" if settings else ""
    return (
        f'<section><h2>What ran</h2><div class="wide" tabindex="0" role="region" aria-label="What ran"><table><thead><tr>'
        f"{header}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="hint">Other stages: {rest}. Content {escaped(result["clip"]["content_hash"])}.</p>'
        f"{pretty}</section></main>"
    )


def _model(name: str, entry: Mapping[str, Any], seconds: float | None) -> str:
    took = "–" if seconds is None else f"{seconds:.2f}"
    source = entry["source"]
    if entry["state"] != "present" or not source:
        cells = f'<td colspan="4">{escaped(" ".join(filter(None, (entry["reason"], entry["remedy"]))) or "no reason noted")}</td>'
    else:
        cells = "".join(f"<td>{escaped(source[key] or '–')}</td>" for key in ("backend", "model", "revision", "preprocessing"))
    return f'<tr><th scope="row">{words_of(name)}</th><td>{escaped(entry["state"])}</td>{cells}<td>{took}</td></tr>'
