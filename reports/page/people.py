"""Persons on the report page: who can be chosen, a ribbon and the faces of each, and who speaks when."""

from collections.abc import Sequence

import pandas as pd

from reports.answer import about, name_of, others, said
from reports.colours import person_place
from reports.documents import PersonAnswer, PersonEntry, ResultDocument, StretchEntry
from reports.page.document import escaped, words_of
from reports.page.faces import face_strips
from reports.page.svg import across, block, drawing, ribbon, row, span

MOST_PERSONS = 6
"""Persons beside the main one who can be chosen."""
SPEAKERS, MOST_TURNS = 5, 600
"""Persons who have a strip of their own in "who speaks", and turns that are drawn."""
NO_PICTURES = "This run kept no pictures of its faces, as older versions did not; <code>dyad run --fresh</code> keeps some."


def colour_of(person: int) -> str:
    """The class of a person's colour, p0 to p7; 'none' for nobody known."""
    place = person_place(person)
    return "none" if place is None else f"p{place}"


def swatch(person: int) -> str:
    """A person's colour beside their name."""
    return f'<span class="swatch {colour_of(person)}"></span>'


def told(result: ResultDocument) -> list[tuple[PersonEntry, PersonAnswer]]:
    """The others who have a ribbon: those who are there longest, in their order."""
    shown = [(one, answer) for one, answer in others(result) if answer["timeline"]]
    shown.sort(key=lambda pair: -pair[0]["seconds_on_screen"] - pair[0]["seconds_speaking"])
    return sorted(shown[:MOST_PERSONS], key=lambda pair: pair[0]["person"])


def stretches_of(result: ResultDocument) -> list[tuple[PersonEntry | None, Sequence[StretchEntry]]]:
    """The stretches of the one whom the clip's answer is about, and those of the others."""
    return [(about(result), result["timeline"]), *((one, answer["timeline"]) for one, answer in told(result))]


def main_person(result: ResultDocument) -> int | None:
    """Whom the clip's answer is about, where one can choose between persons."""
    main = about(result)
    return main["person"] if main is not None and told(result) else None


def chooser(result: ResultDocument) -> str:
    """Persons to choose from; the script shows it, since without one everything is there."""
    entries = [one for one, _ in stretches_of(result) if one is not None]
    if not told(result):
        return ""
    radios = "".join(
        f'<label><input type="radio" name="person" value="{one["person"]}">{swatch(one["person"])}{escaped(name_of(one))}</label>'
        for one in sorted(entries, key=lambda one: one["person"])
    )
    return (
        '<fieldset id="persons" class="screen-only" hidden><legend>Show</legend>'
        f'<label><input type="radio" name="person" value="" checked>Everybody</label>{radios}</fieldset>'
        '<p id="chosen" class="hint screen-only" role="status"></p>'
    )


def person_facts(result: ResultDocument) -> dict[str, object]:
    """For the script: `persons`, of each who can be chosen what they show and when; `about`, whom the lanes are about."""
    if not told(result):
        return {}
    main = about(result)
    texts = {one["person"]: answer["summary"]["sentence"] for one, answer in told(result)}
    if main is not None:
        texts[main["person"]] = (main.get("answer") or result)["summary"]["sentence"]
    found = {
        str(one["person"]): {
            "name": name_of(one), "told": texts[one["person"]],
            "stretches": [[row["start"], row["end"], said(row)] for row in rows],
        }
        for one, rows in stretches_of(result) if one is not None
    }  # fmt: skip
    return {"persons": found, "about": str(main["person"]) if main else ""}


def person_rows(result: ResultDocument, faces: pd.DataFrame | None, pictures: pd.DataFrame | None) -> list[str]:
    """Of each person the ribbon (that of whom the clip's answer is about stands above) and under it the faces."""
    strips = _strips(result, faces, pictures)
    rows = strips.pop(main_person(result), [])
    for one, answer in told(result):
        own: ResultDocument = {**result, "timeline": answer["timeline"], "summary": answer["summary"], "windows": []}
        by = [words_of(name) for name, entry in answer["modalities"].items() if entry["state"] == "present"]
        person = one["person"]
        name = swatch(person) + escaped(name_of(one))
        rows += [row(name, f"by {', '.join(by)}", ribbon(own), person=person), *strips.pop(person, [])]
    rows += [strip for left in strips.values() for strip in left]
    more = len(others(result)) - len(told(result))
    return [*rows, *([f'<p class="hint">More persons are in result.json: {more}.</p>'] if more > 0 else [])]


def _strips(result: ResultDocument, faces: pd.DataFrame | None, pictures: pd.DataFrame | None) -> dict[int | None, list[str]]:
    """The strips of faces by person, last what is left out of them."""
    if not result["clip"]["has_video"]:
        return {}
    if faces is None or faces.empty:
        return {0: [row("Faces", "none was found", "")]}
    duration, rows = max(float(result["clip"]["duration"]), 0.1), dict[int | None, list[str]]()
    persons = {None, main_person(result), *(one["person"] for one, _ in told(result))}
    for person, name, note, drawn in face_strips(faces, pictures, duration):
        whose = person if len(persons) > 1 and person in persons else None
        rows.setdefault(whose, []).append(row(name, note, drawn, person=whose))
    kind, column = ("persons", "person") if "person" in faces else ("tracks", "track_id")
    more = int(faces.loc[~faces["main"], column].nunique()) - (sum(map(len, rows.values())) - 1)
    texts = [f"More {kind} are in faces.parquet: {more}."] if more > 0 else []
    texts += [NO_PICTURES] if pictures is None else []
    return {**rows, 0: [f'<p class="hint">{" ".join(texts)}</p>']} if texts else rows


def speaker_rows(result: ResultDocument) -> list[str]:
    """Who speaks: a strip of its own for each of the persons who speak longest; voices of nobody known are grey."""
    turns, duration = result.get("turns", ()), max(float(result["clip"]["duration"]), 0.1)
    if not turns:
        return []
    names = {entry["person"]: name_of(entry) for entry in result.get("people", ())}
    seconds = {entry["person"]: entry["seconds_speaking"] for entry in result.get("people", ()) if entry["seconds_speaking"]}
    shown = sorted(sorted(seconds, key=lambda person: -seconds[person])[:SPEAKERS])
    lanes: list[int | None] = [*shown, *([None] if any(turn["person"] not in shown for turn in turns) else [])]
    height, blocks = 100 / len(lanes), []
    for turn in turns[:MOST_TURNS]:
        place = lanes.index(turn["person"] if turn["person"] in shown else None)
        who = names.get(turn["person"] or 0, "unsure who")
        where = "" if turn["on_screen"] else ", off screen"
        x, width = across(turn["start"], turn["end"], duration)
        text = f"{span(turn['start'], turn['end'])}: {who}{where}"
        box = (x, place * height + 5, width, height - 10)
        blocks.append(block(box, colour_of(lanes[place] or 0), text, person=turn["person"]))
    items = (f"<li>{swatch(person)}{escaped(names[person])}</li>" for person in shown)
    legend = f'<ul class="legend">{"".join(items)}</ul>'
    note = "by voice, and by whose mouth moves" if len(turns) <= MOST_TURNS else f"the first {MOST_TURNS} of {len(turns)} turns"
    words = ", ".join(f"{names[person]} {seconds[person]:.1f} s" for person in shown)
    return [row("Who speaks", note, drawing(blocks, f"Who speaks when: {words or 'unsure who'}", "speakers"), legend)]
