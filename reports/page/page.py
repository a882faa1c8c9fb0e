"""`report.html`: the answer about a clip as one page that needs nothing but itself and the media file."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from reports.answer import BLEND_MEANS, SURENESS_MEANS, answer_name, name_of, said, surely
from reports.documents import ModalityEntry, PersonEntry, ResultDocument, StretchEntry
from reports.explain import references
from reports.page.document import PAGE_STYLE, asset, document, escaped, words_of
from reports.page.faces import Boxes, boxes
from reports.page.people import person_facts, stretches_of, swatch
from reports.page.radar import whole_clip
from reports.page.svg import answer_kinds, clock, of_person, span
from reports.page.timeline import lane_facts, timeline

MOST_STRETCHES, MOST_LINES = 300, 3000
LONGEST_TEXT = 600
"""What keeps the page of a long clip under 3 MB; what is left out is said, and stays in the run folder."""
PAGE_SCRIPT = Path(__file__).with_name("page.js")
BUTTONS = {
    "play": "Play", "back": "1 s back", "on": "1 s on", "previous": "Previous change", "next": "Next change",
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
    poster: bytes | None = None,
    files: Mapping[str, str] | None = None,
    more: str = "",
) -> str:
    """The page for the content of `result.json`.

    `media` is the address of the media file as the page can reach it (relative, or file:), None where it is gone;
    `transcript` has start, end (s; NaN where unknown) and text, `descriptions` window (or start) and text, `faces` the columns
    of faces.parquet, boxes in pixels of the source, `pictures` those of `reports.page.faces.face_pictures` (None: the run kept
    none); `settings` is shown as it is; `poster` is a JPEG of the clip; `files` are addresses by what they are called,
    `more` is what to do for those that are not there.
    """
    title = Path(result["clip"]["path"]).name
    found = boxes(faces)
    body = "\n".join((
        _head(title, result, files or {}, more), '<div class="pair top"><div>',
        _player(result, media, bool(found["tracks"]), poster),
        f"{_expressions(result)}</div>{whole_clip(result)}</div>", timeline(result, faces, pictures),
        _words(result, transcript, descriptions), _ran(result, settings),
    ))  # fmt: skip
    heading = f"{title}: compound expressions"
    return document(heading, body, _facts(result, found), asset(PAGE_STYLE), asset(PAGE_SCRIPT))


def _facts(result: ResultDocument, found: Boxes) -> dict[str, object]:
    """What the script needs: the length, where in the media file the clip starts, the stretches, the lanes and the boxes."""
    stretches = [[row["start"], row["end"], said(row)] for row in result["timeline"]]
    clip = result["clip"]
    return {
        "duration": clip["duration"], "start": clip.get("start") or 0, "video": clip["has_video"], "stretches": stretches,
        **lane_facts(result), **person_facts(result), "boxes": found,
    }


def _head(title: str, result: ResultDocument, files: Mapping[str, str], more: str) -> str:
    clip = result["clip"]
    picture = f", {clip['width']} x {clip['height']} at {clip['frame_rate']:.4g} frames a second" if clip["has_video"] else ""
    problems = "".join(f"<li>{escaped(problem)}</li>" for problem in result["problems"])
    notes = "".join(f"<li>{escaped(note)}</li>" for note in result.get("notes", ()))
    links = "".join(f'<a href="{escaped(address)}">{escaped(name)}</a>' for name, address in files.items())
    return (
        f'<header><h1>{escaped(title)}</h1><p class="sentence">{escaped(result["summary"]["sentence"])}</p>{_surely(result)}'
        f'<p class="facts">{clock(clip["duration"])}{picture}; profile {escaped(result["profile"])}; '
        f"Dyad {escaped(result['dyad']['version'])}, {escaped(result['dyad']['created'][:16].replace('T', ' '))} UTC</p>"
        + (f'<nav class="files" aria-label="Files">{links}</nav>' if links else "")
        + (f'<p class="files hint">{escaped(more)}</p>' if more else "")
        + (f'<ul class="problems">{problems}</ul>' if problems else "")
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + "</header>\n<main>"
    )


def _surely(result: ResultDocument) -> str:
    """How sure the clip's answer is, and what that means; nothing without one."""
    summary = result["summary"]
    sure = surely(summary.get("sureness"), summary.get("sureness_range"))
    if not sure:
        return ""
    whose = words_of(summary["top"] or summary.get("emotion") or "the answer").capitalize()
    return f'<p class="sure"><b>{whose}: {sure}</b> <span class="hint">({SURENESS_MEANS})</span></p>'


def _player(result: ResultDocument, media: str | None, has_boxes: bool, poster: bytes | None) -> str:
    """The media element with the boxes over it, what is said at this time, and the buttons."""
    clip = result["clip"]
    gone = f"The media file is not on this machine ({escaped(clip['path'])}); everything else works without it."
    kind = "video" if clip["has_video"] else "audio"
    picture = f"data:image/jpeg;base64,{base64.b64encode(poster).decode()}" if poster and clip["has_video"] else ""
    shown = f' poster="{picture}"' if picture else ""
    box = f' width="{clip["width"]}" height="{clip["height"]}"' if kind == "video" else ""  # known before the media is
    there = f'<{kind} id="media"{box} controls preload="metadata" src="{escaped(media)}"{shown}></{kind}>'
    element = there if media else f'<p class="gone">{gone}</p>'
    size = f"0 0 {clip['width'] or 1} {clip['height'] or 1}"
    overlay = f'<svg id="boxes" viewBox="{size}" aria-hidden="true"></svg>' if media and has_boxes and kind == "video" else ""
    buttons = "".join(
        f'<button type="button" data-do="{what}">{said}</button>'
        for what, said in BUTTONS.items()
        if media or what != "play"
    )
    switch = '<label><input type="checkbox" id="show-boxes" checked> Boxes of faces</label>' if overlay else ""
    on_paper = f'<img class="paper" src="{picture}" alt="A frame of the clip">' if picture else ""
    return (
        f'<section class="player" aria-label="Player">{on_paper}<div class="screen {kind}">{element}{overlay}</div>'
        f'<p id="unplayable" class="gone" hidden>This browser cannot play the {kind} of {escaped(Path(clip["path"]).name)}: '
        "it has no decoder for it. Everything else on this page works; another browser or player may show the file.</p>"
        f'<p id="now">&nbsp;</p><div class="buttons">{buttons}{switch}</div></section>'
    )


def _expressions(result: ResultDocument) -> str:
    """The stretches of each person as buttons."""
    persons = [(one, rows) for one, rows in stretches_of(result) if rows]
    if not persons:
        return ""
    kinds = answer_kinds(result)
    lists = "".join(_shown(one if len(persons) > 1 else None, rows, kinds) for one, rows in persons)
    has_blend = any(row["compound"] for _, rows in persons for row in rows)
    means = f'<p class="hint">Blend: {BLEND_MEANS}.</p>' if has_blend else ""
    return f'<section class="few"><h2>What is shown when</h2>{lists}{means}</section>'


def _shown(one: PersonEntry | None, rows: Sequence[StretchEntry], kinds: Mapping[str, str]) -> str:
    """The stretches of one person, under the name where there are several."""
    buttons = [_jump(row["start"], row["end"], _stretch(row, kinds)) for row in rows[:MOST_STRETCHES]]
    moments = f'{_list(buttons, "")}{_left_out(len(rows) - len(buttons), "result.json")}'
    if one is None:
        return moments
    return f'<div{of_person(one["person"])}><h3>{swatch(one["person"])}{escaped(name_of(one))}</h3>{moments}</div>'


def _stretch(row: StretchEntry, kinds: Mapping[str, str]) -> str:
    """A stretch in words, with its colour."""
    blend = "" if row["compound"] is None or row.get("blend") is None else f'<span class="hint"> blend {row["blend"]:.2f}</span>'
    alone = "" if row["compound"] else " alone"
    return f'<span class="swatch {kinds.get(answer_name(row), "none")}{alone}"></span>{escaped(said(row))}{blend}'


def _words(result: ResultDocument, transcript: pd.DataFrame | None, descriptions: pd.DataFrame | None) -> str:
    """Transcript and scene descriptions, each line a button that goes to its time; one line where there are neither."""
    placed = _placed(result, descriptions)
    spoken, seen, rejected = _lines(transcript, _speakers(result)), _lines(placed), _rejected(result)
    lacking = ["No words are known for this clip."] if not (spoken or rejected) else []
    lacking += ["The scenes are not described."] if not seen else []
    parts = [
        f"<section><h2>Transcript</h2>{_list(spoken, '')}"
        f"{_left_out(_length(transcript) - len(spoken), 'transcript.vtt')}{rejected}</section>" if spoken or rejected else "",
        f"<section><h2>Scene descriptions</h2>{_list(seen, '')}"
        f"{_left_out(_length(placed) - len(seen), 'scene_context_evidence.parquet')}</section>" if seen else "",
    ]  # fmt: skip
    return f'<div class="pair">{"".join(parts)}</div>' + (f'<p class="hint">{" ".join(lacking)}</p>' if lacking else "")


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


def _speakers(result: ResultDocument) -> dict[str, int]:
    """The persons by their names, where there are several."""
    people = result.get("people", ())
    return {name_of(one): one["person"] for one in people} if len(people) > 1 else {}


def _lines(table: pd.DataFrame | None, persons: Mapping[str, int] | None = None) -> list[str]:
    """A button a line, with who says it where there are several `persons`."""
    if table is None or table.empty:
        return []
    rows = table.reindex(columns=["start", "end", "text", "speaker"]).head(MOST_LINES)
    lines = []
    for start, end, text, speaker in rows.itertuples(index=False):
        person = (persons or {}).get(str(speaker))
        who = f"{swatch(person)}<b>{escaped(speaker)}:</b> " if person else ""
        lines.append(_jump(start, end, who + escaped(_short(str(text))), person))
    return lines


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _jump(start: float, end: float, inner: str, person: int | None = None) -> str:
    """A line of a list that goes to its time; without a time it is plain text."""
    if pd.isna(start) or pd.isna(end):
        return f"<li{of_person(person)}>{inner}</li>"
    return (
        f'<li{of_person(person)}><button type="button" class="jump" data-start="{start:.3f}" data-end="{end:.3f}">'
        f"<time>{span(start, end)}</time> {inner}</button></li>"
    )


def _list(items: Sequence[str], otherwise: str) -> str:
    return f'<ol class="moments">{"".join(items)}</ol>' if items else f"<p>{otherwise}</p>" if otherwise else ""


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
    inner = f"<summary>Settings</summary><pre tabindex='0'>{escaped(settings)}</pre>"
    pretty = f'<details class="screen-only">{inner}</details>' if settings else ""
    return (
        f'<section><h2>What ran</h2><div class="wide" tabindex="0" role="region" aria-label="What ran">'
        f'<table class="cards models"><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>'
        + "".join(f'<p class="hint">{words_of(name)}: {escaped(said)}</p>' for name, said in references(result).items())
        + f'<p class="hint">Other stages: {rest}. {total}content {escaped(result["clip"]["content_hash"])}.</p>'
        f'<p class="hint">Fusion: {escaped(result["fusion"]["weights"])}. '
        f"Composition: {words_of(result['fusion']['composition'])}.</p>"
        f"{pretty}</section></main>"
    )


def _model(name: str, entry: ModalityEntry, seconds: float | None) -> str:
    took = "–" if seconds is None else f"{seconds:.2f}"
    source = entry["source"]
    if entry["state"] != "present" or not source:
        why = escaped(" ".join(filter(None, (entry["reason"], entry["remedy"]))) or "no reason noted")
        cells = f'<td colspan="4" data-head="Why">{why}</td>'
    else:
        told = {"Backend": source["backend"], "Model": source["model"], "Revision": source["revision"],
                "Preprocessing": source["preprocessing"]}  # fmt: skip
        cells = "".join(f'<td data-head="{head}">{escaped(value or "–")}</td>' for head, value in told.items())
    return (
        f'<tr><th scope="row">{words_of(name)}</th><td data-head="State">{escaped(entry["state"])}</td>{cells}'
        f'<td data-head="Seconds">{took}</td></tr>'
    )
