"""`report.html`: the answer about a clip as one page that needs nothing but itself and the media file."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reports.documents import ModalityEntry, ResultDocument
from reports.page.document import PAGE_STYLE, asset, document, escaped, words_of
from reports.page.faces import Boxes, boxes
from reports.page.radar import whole_clip
from reports.page.svg import clock, compound_kinds, span
from reports.page.timeline import lane_facts, timeline

MOST_STRETCHES, MOST_LINES = 300, 3000
LONGEST_TEXT = 600
"""What keeps the page of a long clip under 3 MB; what is left out is said, and stays in the run folder."""
PAGE_SCRIPT = Path(__file__).with_name("page.js")
BUTTONS = {
    "play": "Play", "back": "1 s back", "on": "1 s on", "previous": "Previous expression", "next": "Next expression",
}  # fmt: skip


def report_page(
    result: ResultDocument,
    *,
    media: str | None = None,
    transcript: pd.DataFrame | None = None,
    descriptions: pd.DataFrame | None = None,
    faces: pd.DataFrame | None = None,
    pictures: pd.DataFrame | None = None,
    settings: str = "",
) -> str:
    """The page for the content of `result.json`.

    `media` is the address of the media file as the page can reach it (relative, or file:), None where it is gone;
    `transcript` has start, end (s; NaN where unknown) and text, `descriptions` window (or start) and text, `faces` the columns
    of faces.parquet, boxes in pixels of the source, `pictures` those of `reports.page.faces.face_pictures` (None: the run kept
    none); `settings` is shown as it is.
    """
    title = Path(result["clip"]["path"]).name
    found = boxes(faces)
    body = "\n".join((
        _head(title, result), '<div class="pair top">', _player(result, media, bool(found["tracks"])),
        f"<div>{_expressions(result)}{whole_clip(result)}</div></div>", timeline(result, faces, pictures),
        _words(result, transcript, descriptions), _ran(result, settings),
    ))  # fmt: skip
    heading = f"{title}: compound expressions"
    return document(heading, body, _facts(result, found), asset(PAGE_STYLE), asset(PAGE_SCRIPT))


def _facts(result: ResultDocument, found: Boxes) -> dict[str, object]:
    """What the script needs: the length, where in the media file the clip starts, the stretches, the lanes and the boxes."""
    stretches = [
        [row["start"], row["end"], row["compound"].replace("_", " "), row["confidence"]] for row in result["timeline"]
    ]
    clip = result["clip"]
    return {
        "duration": clip["duration"], "start": clip.get("start") or 0, "video": clip["has_video"], "stretches": stretches,
        **lane_facts(result), "boxes": found,
    }


def _head(title: str, result: ResultDocument) -> str:
    clip = result["clip"]
    picture = f", {clip['width']} x {clip['height']} at {clip['frame_rate']:.4g} frames a second" if clip["has_video"] else ""
    problems = "".join(f"<li>{escaped(problem)}</li>" for problem in result["problems"])
    notes = "".join(f"<li>{escaped(note)}</li>" for note in result.get("notes", ()))
    return (
        f'<header><h1>{escaped(title)}</h1><p class="sentence">{escaped(result["summary"]["sentence"])}</p>'
        f'<p class="facts">{clock(clip["duration"])}{picture}; profile {escaped(result["profile"])}; '
        f"Dyad {escaped(result['dyad']['version'])}, {escaped(result['dyad']['created'][:16].replace('T', ' '))} UTC</p>"
        + (f'<ul class="problems">{problems}</ul>' if problems else "")
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + "</header>\n<main>"
    )


def _player(result: ResultDocument, media: str | None, has_boxes: bool) -> str:
    """The media element with the boxes over it, what is said at this time, and the buttons."""
    clip = result["clip"]
    gone = f"The media file is not there any more ({escaped(clip['path'])}); everything else works without it."
    kind = "video" if clip["has_video"] else "audio"
    there = f'<{kind} id="media" controls preload="metadata" src="{escaped(media)}"></{kind}>'
    element = there if media else f'<p class="gone">{gone}</p>'
    size = f"0 0 {clip['width'] or 1} {clip['height'] or 1}"
    overlay = f'<svg id="boxes" viewBox="{size}" aria-hidden="true"></svg>' if media and has_boxes and kind == "video" else ""
    buttons = "".join(
        f'<button type="button" data-do="{what}">{said}</button>'
        for what, said in BUTTONS.items()
        if media or what != "play"
    )
    switch = '<label><input type="checkbox" id="show-boxes" checked> Boxes of faces</label>' if overlay else ""
    return (
        f'<section class="player" aria-label="Player"><div class="screen {kind}">{element}{overlay}</div>'
        f'<p id="unplayable" class="gone" hidden>This browser cannot play the {kind} of {escaped(Path(clip["path"]).name)}: '
        "it has no decoder for it. Everything else on this page works; another browser or player may show the file.</p>"
        f'<p id="now">&nbsp;</p><div class="buttons">{buttons}{switch}</div></section>'
    )


def _expressions(result: ResultDocument) -> str:
    """The stretches as buttons."""
    kinds = compound_kinds(result)
    shown = [
        _jump(row["start"], row["end"], f'<span class="swatch {kinds.get(row["compound"], "")}"></span>'
              f"{words_of(row['compound'])}, confidence {row['confidence'] or 0:.2f}")
        for row in result["timeline"][:MOST_STRETCHES]
    ]  # fmt: skip
    left_out = _left_out(len(result["timeline"]) - len(shown), "result.json")
    return (
        f'<section class="few"><h2>Expressions</h2>{_list(shown, "None of the compounds is found in this clip.")}{left_out}'
        "</section>"
    )


def _words(result: ResultDocument, transcript: pd.DataFrame | None, descriptions: pd.DataFrame | None) -> str:
    """Transcript and scene descriptions, each line a button that goes to its time."""
    placed = _placed(result, descriptions)
    spoken, seen = _lines(transcript), _lines(placed)
    return (
        f'<div class="pair"><section><h2>Transcript</h2>{_list(spoken, "No words are known for this clip.")}'
        f"{_left_out(_length(transcript) - len(spoken), 'transcript.vtt')}{_rejected(result)}</section>"
        f"<section><h2>Scene descriptions</h2>"
        f"{_list(seen, 'The scenes are not described.')}"
        f"{_left_out(_length(placed) - len(seen), 'scene_context_evidence.parquet')}</section></div>"
    )


def _rejected(result: ResultDocument) -> str:
    """What was heard and is not believed, with the reason; nothing where all is."""
    words = result.get("words")
    if not words or not (rejected := words["rejected"]):
        return ""
    lines = [
        _jump(one["start"], one["end"], f"{escaped(_short(one['text'].strip()))} <em>{escaped(one['reason'])}</em>")
        for one in rejected[:MOST_LINES]
    ]
    return f"<h3>Heard, but not believed</h3>{_list(lines, '')}{_left_out(len(rejected) - len(lines), 'result.json')}"


def _placed(result: ResultDocument, table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Descriptions with the times of their windows, where they have none of their own."""
    if table is None or "start" in table or "window" not in table:
        return table
    windows = result["windows"]
    known = table.loc[table["window"].between(0, len(windows) - 1)]
    times = {name: [windows[int(number)][name] for number in known["window"]] for name in ("start", "end")}
    return _joined(known.assign(**times))


def _joined(table: pd.DataFrame) -> pd.DataFrame:
    """The same description in windows that overlap or follow each other becomes one line."""
    lines: list[tuple[float, float, str]] = []
    last: dict[str, int] = {}  # the index of the line that a text was said in last
    for start, end, text in table[["start", "end", "text"]].itertuples(index=False):
        index = last.get(text)
        if index is not None and lines[index][0] <= start <= lines[index][1]:
            lines[index] = (lines[index][0], max(lines[index][1], end), text)
        else:
            last[text] = len(lines)
            lines.append((start, end, text))
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


def _ran(result: ResultDocument, settings: str) -> str:
    """What ran: models, revisions, seconds; why the rest did not."""
    heads = ("Modality", "State", "Backend", "Model", "Revision", "Preprocessing", "Seconds")
    rows = "".join(_model(name, entry, result["seconds"].get(name)) for name, entry in result["modalities"].items())
    others = [f"{words_of(name)} {value:.2f} s" for name, value in result["seconds"].items() if name not in result["modalities"]]
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    rest = ", ".join(others) or "no times noted"
    total = f"{sum(result['seconds'].values()):.1f} s of work in all, where stages run at the same time; " if others else ""
    pretty = f"<details><summary>Settings</summary><pre tabindex='0'>{escaped(settings)}</pre></details>" if settings else ""
    return (
        f'<section><h2>What ran</h2><div class="wide" tabindex="0" role="region" aria-label="What ran"><table><thead><tr>'
        f"{header}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="hint">Other stages: {rest}. {total}content {escaped(result["clip"]["content_hash"])}.</p>'
        f'<p class="hint">Fusion: {escaped(result["fusion"]["weights"])}. '
        f"Composition: {words_of(result['fusion']['composition'])}.</p>"
        f"{pretty}</section></main>"
    )


def _model(name: str, entry: ModalityEntry, seconds: float | None) -> str:
    took = "–" if seconds is None else f"{seconds:.2f}"
    source = entry["source"]
    if entry["state"] != "present" or not source:
        cells = f'<td colspan="4">{escaped(" ".join(filter(None, (entry["reason"], entry["remedy"]))) or "no reason noted")}</td>'
    else:
        cells = "".join(f"<td>{escaped(source[key] or '–')}</td>" for key in ("backend", "model", "revision", "preprocessing"))
    return f'<tr><th scope="row">{words_of(name)}</th><td>{escaped(entry["state"])}</td>{cells}<td>{took}</td></tr>'
