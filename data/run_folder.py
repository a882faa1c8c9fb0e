"""The run folder: one place that knows the name of every file about a clip."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from data.errors import InputError
from data.files import write_text
from data.json_files import read_json


class StageNote(TypedDict, total=False):
    """What is noted of a stage: `key` and `seconds` when it has ended, what later stages must know, and on what it spent
    its time; else why it failed."""

    key: str
    seconds: float
    notes: Mapping[str, Any]
    spent: Mapping[str, float]
    failed: str


@dataclass(frozen=True)
class RunFolder:
    """Everything about one clip, under `root` = `runs/<clip_id>`."""

    root: Path

    @property
    def result(self) -> Path:
        """The answer as JSON (`reports/result.schema.json` describes it)."""
        return self.root / "result.json"

    @property
    def report(self) -> Path:
        """The answer as a page: one HTML file that needs no network."""
        return self.root / "report.html"

    @property
    def thumbnail(self) -> Path:
        """A small picture of the clip, for tables of many clips; not there for sound alone."""
        return self.root / "thumbnail.jpg"

    @property
    def poster(self) -> Path:
        """A picture of the clip for its page; not there for sound alone."""
        return self.root / "poster.jpg"

    @property
    def windows(self) -> Path:
        """One row a window: fused basic emotions, compounds, sureness, contributions."""
        return self.root / "windows.parquet"

    @property
    def frames(self) -> Path:
        """One row a frame of the video, with its time from the container."""
        return self.root / "frames.parquet"

    @property
    def faces(self) -> Path:
        """One row a face and sampled frame: box, track, score."""
        return self.root / "faces.parquet"

    def table(self, name: str) -> Path:
        """The table of this name: windows, frames, faces, people or turns."""
        return self.root / f"{name}.parquet"

    def export(self, ending: str) -> Path:
        """The answer in the format of another tool, named after the clip, since it is for taking elsewhere."""
        return self.root / f"{self.root.name}{ending}"

    @property
    def people(self) -> Path:
        """One row a person: when seen and heard, which tracks of faces."""
        return self.root / "people.parquet"

    @property
    def turns(self) -> Path:
        """One row a turn of speech: whose it is."""
        return self.root / "turns.parquet"

    @property
    def persons(self) -> "tuple[RunFolder, ...]":
        """The folders of the persons beside the one that the clip's answer is about (`of_person`)."""
        return tuple(map(self.of_person, self.finished("people").get("notes", {}).get("persons", ())))

    def of_person(self, person: int) -> "RunFolder":
        """The folder in this one with a person's scores and answer."""
        return RunFolder(self.of_persons / str(person))

    @property
    def of_persons(self) -> Path:
        """Holds a folder a person."""
        return self.root / "people"

    @property
    def people_list(self) -> Path:
        """The people as a CSV, whose names the user may edit."""
        return self.root / "people.csv"

    @property
    def face_pictures(self) -> Path:
        """A few small pictures of the faces over time, for the page; runs of older versions have none."""
        return self.root / "face_pictures.parquet"

    @property
    def face_looks(self) -> Path:
        """What the faces of the persons are recognised by in other clips; only where that was asked to be kept."""
        return self.root / "face_embeddings.npz"

    @property
    def transcript(self) -> Path:
        """The words with their times, WebVTT."""
        return self.root / "transcript.vtt"

    @property
    def settings(self) -> Path:
        """The settings of the run with every default written out."""
        return self.root / "settings.yaml"

    @property
    def log(self) -> Path:
        """What happened, in plain lines."""
        return self.root / "log.txt"

    @property
    def work(self) -> Path:
        """Intermediate media; removed when the run has ended well."""
        return self.root / "work"

    @property
    def crops(self) -> Path:
        """Aligned face crops, uint8 [M, S, S, 3]."""
        return self.work / "crops.npy"

    @property
    def fused(self) -> Path:
        """The fused basic emotions of each window, before composition."""
        return self.stages / "fused.npz"

    @property
    def composed(self) -> Path:
        """The compounds of each window with their reasons."""
        return self.stages / "composed.npz"

    @property
    def cues(self) -> Path:
        """The transcript as a table, as exact as it came."""
        return self.stages / "cues.parquet"

    @property
    def speech(self) -> Path:
        """What the voice's backend heard, a row a window, before it is related to what else is known of the voice."""
        return self.stages / "speech.parquet"

    @property
    def speech_evidence(self) -> Path:
        """Where speech was found, a row a window and stretch of speech."""
        return self.stages / "speech_evidence.parquet"

    @property
    def own_speech(self) -> Path:
        """What the voice's backend heard of a person alone; not there where nobody else speaks."""
        return self.stages / "own_speech.parquet"

    @property
    def own_speech_evidence(self) -> Path:
        """Where that person's speech was found."""
        return self.stages / "own_speech_evidence.parquet"

    @property
    def answers(self) -> Path:
        """What a server answered so far, so that a run that broke off does not ask again."""
        return self.stages / "answers.jsonl"

    @property
    def frame_times(self) -> Path:
        """One row a frame of the video: its number, its time (s), and whether it was looked at."""
        return self.stages / "frame_times.parquet"

    @property
    def stages(self) -> Path:
        """What is noted of each stage, and what they keep for one another."""
        return self.root / ".stages"

    def scores(self, modality: str) -> Path:
        """One modality's scores, a row a window."""
        return self.root / f"{_known(modality)}.parquet"

    def evidence(self, modality: str) -> Path:
        """What a modality's scores rest on, a row a face, a phrase, a description."""
        return self.root / f"{_known(modality)}_evidence.parquet"

    def marker(self, stage: str) -> Path:
        """Says that a stage is done, and for which content, settings and code."""
        return self.stages / f"{stage}.json"

    @property
    def asked(self) -> Path:
        """A digest of what the folder answers (`flows.clip.own_folder`)."""
        return self.stages / "asked"

    @property
    def set_row(self) -> Path:
        """Which row of a data set the folder is of (`flows.clip.own_folder`); not there for a clip of none."""
        return self.stages / "set_row"

    def check_no_links(self) -> None:
        """InputError where a folder or a file that is written to is a link, which somebody may have planted to have others' files
        replaced."""
        for place in (self.root, self.work, self.stages, self.log, self.asked, self.set_row):
            if place.is_symlink():
                raise InputError(f"{place} is a link, and Dyad writes nothing behind it; remove it, or choose another output.")

    def create(self) -> None:
        """Make the folders; InputError where something is a link (`check_no_links`)."""
        self.check_no_links()
        self.work.mkdir(parents=True, exist_ok=True)
        self.stages.mkdir(exist_ok=True)

    def is_done(self, stage: str, key: str) -> bool:
        """True when the stage ended for this very `key`."""
        return self.finished(stage).get("key") == key

    def mark_done(
        self, stage: str, key: str, seconds: float, notes: Mapping[str, object] | None = None,
        spent: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Note that a stage ended, for which key, how long it took, what later stages must know, and what it `spent` (s)."""
        rounded = {name: round(value, 4) for name, value in (spent or {}).items()}
        self._note(stage, {"key": key, "seconds": round(seconds, 4), "notes": notes or {}, "spent": rounded})

    def mark_failed(self, stage: str, reason: str) -> None:
        """Note that a stage failed and why, in a sentence."""
        self._note(stage, {"failed": reason})

    def _note(self, stage: str, content: StageNote) -> None:
        write_text(self.marker(stage), json.dumps(content))

    def finished(self, stage: str) -> StageNote:
        """What was noted of a stage; empty when it has not ended (or the note is damaged, which is the same)."""
        try:
            noted: StageNote | None = read_json(self.marker(stage))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def forget(self) -> None:
        """Drop every note of finished stages, so that all of them run again."""
        for note in self.stages.glob("*.json"):
            note.unlink(missing_ok=True)

    def clear_work(self) -> None:
        """Remove the intermediate media."""
        shutil.rmtree(self.work, ignore_errors=True)


def is_run_folder(folder: Path) -> bool:
    """Whether Dyad made `folder`, whatever its name; a link is none.

    It holds the note of a stage; or, where these have gone, an answer with its settings; or nothing at all but what `create`
    makes, as when a run ends in its first stage.
    """
    run = RunFolder(folder)  # os.path, not Path: a folder that may not be looked into is an answer, too
    if folder.is_symlink() or not folder.is_dir():
        return False
    for noted in map(_json, run.stages.glob("*.json")):
        if {"key", "seconds"} <= noted.keys() or noted.keys() == {"failed"}:
            return True
    if os.path.isfile(run.settings) and {"schema_version", "dyad", "clip"} <= _json(run.result).keys():
        return True
    made = {run.work.name, run.stages.name}
    return all(map(os.path.isdir, (run.work, run.stages))) and set(os.listdir(folder)) <= made | {run.log.name}


def _json(file: Path) -> Mapping[str, object]:
    """What a JSON file says; empty when it is damaged, not there or something else."""
    try:
        content: object = read_json(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _known(modality: str) -> str:
    from data.scores import MODALITIES  # it loads pandas, which names of files can do without

    if modality not in MODALITIES:
        raise ValueError(f"'{modality}' is not a modality")
    return modality
