"""Writing what people and tools read."""

import numpy as np
import pandas as pd
import yaml

from data.files import write_text
from data.fused import read_fusion
from data.tables import read_notes, read_table, write_table
from flows.clip.all_scores import all_scores, failure
from flows.clip.graph import NEEDS
from flows.clip.report import write_report
from flows.job import Job
from fusion.over_time import at_times, timeline
from reports.documents import WordsEntry
from reports.result import build_result, frames_table, to_json


def publish(job: Job) -> None:
    """Write what people and tools read: result.json, report.html, frames.parquet, settings.yaml."""
    fusion, scores = read_fusion(job.folder.composed), all_scores(job)
    frames = read_table(job.folder.frame_times)
    moments = at_times(fusion, frames["time_s"].to_numpy(np.float64))
    write_table(job.folder.frames, frames_table(frames, moments, _face_counts(job, frames), fusion.compounds))
    write_text(job.folder.settings, yaml.safe_dump(job.settings.model_dump(mode="json"), sort_keys=False))
    noted = {name: job.folder.finished(name) for name in NEEDS}
    told = [note.get("notes", {}) for note in noted.values()]
    problems, notes = ([said for one in told for said in one.get(kind, ())] for kind in ("problems", "notes"))
    notes += [f"{item.modality.replace('_', ' ')}: {note}" for item in scores for note in item.notes]
    seconds = {name: note["seconds"] for name, note in noted.items() if "seconds" in note}
    failed = {item.modality: item.reason for item in scores if failure(job, item.modality)}
    about = problems, failed, seconds, notes, entry_of_words(job)
    result = build_result(job.clip, job.settings.profile, scores, fusion, timeline(fusion), *about)
    write_text(job.folder.result, to_json(result))
    write_report(job.folder)


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
