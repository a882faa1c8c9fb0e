"""Writing what people and tools read."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import yaml

from data.files import write_text
from data.fused import read_fusion
from data.people import read_names, read_people, with_names, write_people
from data.tables import read_notes, read_table, write_table
from data.windows import windows_of
from flows.clip.all_scores import all_scores, failure
from flows.clip.graph import NEEDS
from flows.clip.report import write_report
from flows.clip.words import write_words
from flows.evidence import moments_there
from flows.job import Job
from fusion.over_time import at_times, timeline
from modalities.people.names import names_in_subtitles, with_speakers
from modalities.voice.said import said_reference
from reports.documents import PersonAnswer, WordsEntry
from reports.result import build_result, frames_table, person_answer, to_json


def publish(job: Job) -> Mapping[str, object]:
    """Write what people and tools read: result.json, report.html, frames.parquet, people.csv, settings.yaml."""
    fusion, scores = read_fusion(job.folder.composed), all_scores(job)
    write_table(job.folder.frames, _frames(job))
    write_text(job.folder.settings, yaml.safe_dump(job.settings.model_dump(mode="json"), sort_keys=False))
    noted = {name: job.folder.finished(name) for name in NEEDS}
    told = [note.get("notes", {}) for note in noted.values()]
    problems, notes = ([said for one in told for said in one.get(kind, ())] for kind in ("problems", "notes"))
    notes += [f"{item.modality.replace('_', ' ')}: {note}" for item in scores for note in item.notes]
    seconds = {name: note["seconds"] for name, note in noted.items() if "seconds" in note}
    failed = {item.modality: item.reason for item in scores if failure(job.folder, item.modality)}
    names = name_people(job)
    people, turns = read_people(job.folder.people), read_people(job.folder.turns)
    heard = job.folder.evidence("voice")
    reference = said_reference(read_table(heard)) if heard.is_file() else ""
    about = (
        problems, failed, seconds, notes, entry_of_words(job), people, turns, _answers(job), job.whose, reference,
        moments_there(job),
    )  # fmt: skip
    result = build_result(job.clip, job.settings.profile, scores, fusion, timeline(fusion), *about)
    if job.address:
        result = {**result, "clip": {**result["clip"], "path": job.address}}
    write_text(job.folder.result, to_json(result))
    write_report(job.folder)
    return {"names": names}


def _frames(job: Job) -> pd.DataFrame:
    """The answer at each frame, and those of all others at the frames where something is known of them."""
    frames = read_table(job.folder.frame_times)
    counts, tables = _face_counts(job, frames), list[pd.DataFrame]()
    for one in job.everyone():
        fusion = read_fusion(one.own.composed)
        rows = frames
        if one.person is not None:
            windows = fusion.windows[fusion.present]
            times = frames["time_s"].to_numpy(np.float64)
            rows = frames.iloc[np.flatnonzero(windows_of(times, windows).any(0)) if len(windows) else []]
        if one.person is None or len(rows):
            moments = at_times(fusion, rows["time_s"].to_numpy(np.float64))
            tables.append(frames_table(rows, moments, counts, fusion.compounds, one.whose))
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _answers(job: Job) -> dict[int, PersonAnswer]:
    """The answers of the persons, each by the number."""
    found: dict[int, PersonAnswer] = {}
    for one in job.everyone():
        scores, fusion = all_scores(one), read_fusion(one.own.composed)
        failed = {item.modality: item.reason for item in scores if failure(job.folder, item.modality)}
        found[one.whose] = person_answer(scores, fusion, timeline(fusion), job.clip.duration, failed, moments_there(one))
    return found


def inputs(job: Job) -> Mapping[str, object]:
    """What it depends on besides settings and code: the names that the user wrote into people.csv."""
    return {"names": _edited(job)}


def _edited(job: Job) -> dict[int, str]:
    """The names in people.csv that are not those which the last run gave by itself."""
    if not job.folder.people_list.is_file():
        return {}
    given = job.folder.finished("publish").get("notes", {}).get("names", {})
    return {person: name for person, name in read_names(job.folder.people_list).items() if given.get(str(person)) != name}


def name_people(job: Job) -> dict[int, str]:
    """Name the people in their tables and the transcript; returns the names that the user has not given."""
    if _failed(job, "people") or (people := read_people(job.folder.people)) is None:
        for path in (job.folder.people, job.folder.turns, job.folder.people_list):
            path.unlink(missing_ok=True)
        return {}
    edited, turns = _edited(job), read_table(job.folder.turns)
    cues = read_table(job.folder.cues) if job.folder.cues.is_file() and not _failed(job, "transcript") else pd.DataFrame()
    told = names_in_subtitles(turns, cues)
    own = {int(person): told.get(int(person), name) for person, name in zip(people["person"], people["given"], strict=True)}
    people = with_names(people, own | edited)
    write_table(job.folder.people, people)
    write_people(job.folder.people_list, people)
    if len(cues) and len(people) > 1:
        write_words(job.folder, with_speakers(cues, turns, people))
    return {person: name for person, name in own.items() if name}


def _failed(job: Job, stage: str) -> bool:
    return bool(job.folder.finished(stage).get("failed"))


def entry_of_words(job: Job) -> WordsEntry:
    """Where the words come from, and what was heard and is not believed."""
    notes = read_notes(job.folder.cues) if job.folder.cues.is_file() else {}
    return {"origin": notes.get("origin", ""), "rejected": notes.get("rejected", [])}


def _face_counts(job: Job, frames: pd.DataFrame) -> dict[int, int]:
    """How many faces each frame that was looked at has."""
    if not job.folder.faces.is_file():
        return {}
    found = read_table(job.folder.faces)["frame"].value_counts()
    return {frame: int(found.get(frame, 0)) for frame in frames.loc[frames["sampled"].astype(bool), "frame"].tolist()}
