"""The answers of the persons of a clip beside the one that its own answer is about, in the shape of the clip's own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.fused import Fusion, read_fusion
from data.json_files import read_json
from data.people import persons_of_tracks, read_people, rows_of
from data.run_folder import RunFolder
from data.scores import OF_THE_SCENE
from data.tables import read_scores, read_table
from reports.answer import numbered, others
from reports.documents import ModalityEntry, PersonModalityEntry, ResultDocument
from reports.exports.clip import ClipAnswer
from reports.result import number, window_entry

if TYPE_CHECKING:
    import pandas as pd


def others_files(folder: RunFolder) -> list[Path]:
    """The files that the answers of the others are read from, some of which may not be there; none where there is no answer."""
    try:
        result: ResultDocument = read_json(folder.result)
        persons = [folder.of_person(one["person"]) for one, _ in others(result)]
        own = [name for name in result["modalities"] if name not in OF_THE_SCENE]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [folder.people, *(file for one in persons for file in (one.composed, *(one.scores(name) for name in own)))]


def with_others(clip: ClipAnswer, folder: RunFolder) -> ClipAnswer:
    """The clip with the answers of all others; InputError where somebody's is damaged."""
    return replace(clip, others=tuple(_others(clip, folder)))


def _others(clip: ClipAnswer, folder: RunFolder) -> Iterator[ClipAnswer]:
    result = clip.result
    frames = None if clip.frames is None else read_table(folder.frames)
    for one, answer in others(result):
        person = one["person"]
        fusion = read_fusion(folder.of_person(person).composed)
        windows = [window_entry(fusion, row) for row in range(len(fusion.windows))]
        entries = {name: _entry(name, result, short, fusion, folder.of_person(person))
                   for name, short in answer["modalities"].items()}  # fmt: skip
        own: ResultDocument = {
            **result, "person": person, "windows": windows, "timeline": answer["timeline"], "summary": answer["summary"],
            "modalities": entries,
        }  # fmt: skip
        yield replace(clip, result=own, frames=_at_all(frames, person), is_own=False)


def _entry(name: str, result: ResultDocument, short: PersonModalityEntry, fusion: Fusion, own: RunFolder) -> ModalityEntry:
    """What a modality says of a person: of the scene what it says of the clip while they are there, else their own scores."""
    clips, there = result["modalities"][name], fusion.presence[:, fusion.modalities.index(name)]
    rows: list[list[float | None]] = [[None] * len(result["emotions"]) for _ in there]
    quality: list[float | None] = [None] * len(there)
    file = own.scores(name)
    scores = read_scores(file) if name not in OF_THE_SCENE and file.is_file() else None
    for row in there.nonzero()[0].tolist():
        if scores is not None:
            rows[row] = [number(value) for value in scores.probabilities[row]]
            quality[row] = None if scores.quality is None else number(scores.quality[row])
        elif name in OF_THE_SCENE:
            rows[row] = list(clips["probabilities"][row])
            quality[row] = clips.get("quality", quality)[row]
    return {
        "state": short["state"], "source": clips["source"], "windows_present": short["windows_present"],
        "windows": short["windows"], "reason": short["reason"], "remedy": short["remedy"], "probabilities": rows,
        "quality": quality,
    }  # fmt: skip


def _at_all(frames: "pd.DataFrame | None", person: int) -> "pd.DataFrame | None":
    """A person's rows of frames.parquet at all frames of the clip, empty where nothing is known of them."""
    if frames is None:
        return None
    every = rows_of(frames)[["frame", "time_s"]]
    return every.merge(rows_of(frames, person).drop(columns="time_s"), on="frame", how="left")


def answer_of(clip: ClipAnswer, person: str, folder: RunFolder) -> ClipAnswer:
    """The answer about a person alone, by the number or the name; InputError where the clip has none."""
    asked = numbered(clip.result, person)["person"]
    alone = next(one for one in clip.everyone if one.person == asked)
    return replace(alone, others=(), table=None if clip.table is None else _rows_about(clip.table, asked, folder))


def _rows_about(table: "pd.DataFrame", person: int, folder: RunFolder) -> "pd.DataFrame":
    """The rows of a table of the run folder that are about a person; those of faces by their tracks."""
    if "person" in table:
        return table[table["person"] == person]
    people = read_people(folder.people)
    return table[table["track_id"].map(persons_of_tracks(people) if people is not None else {}) == person]
