"""What of a clip is a person's: their faces, the words and the sound of their turns, and the windows in which they are there.

For the person that the clip's answer is about, all counts that is not known to be somebody else's; for others, what is known to
be theirs. Where a job is about nobody in particular (`Job.about`), everything counts.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.files import atomic_path
from data.people import UNSURE, read_people, seconds_of_a_picture, with_persons
from data.tables import read_table
from data.windows import windows_of
from flows.job import Job
from modalities.people.names import persons_of_cues

SILENT = "This person is not heard in the clip."
SAYS_NOTHING = "No words of the clip are known to be this person's."
BLOCK = 1 << 20
"""Samples that are copied at once."""


def faces_table(job: Job) -> pd.DataFrame:
    """The faces of a job's clip with their person, `main` being whom the job is about; empty where there are none.

    Where nobody could tell persons apart, the main track of each shot counts. InputError for a person that is not in the clip.
    """
    if not job.folder.faces.is_file():
        return pd.DataFrame()
    faces, people = read_table(job.folder.faces), None
    if not job.folder.finished("people").get("failed"):
        people = read_people(job.folder.people)
    asked = job.settings.faces.which.removeprefix("person=")
    if people is None:
        return faces
    if asked.isdecimal() and int(asked) not in set(people["person"]):
        raise InputError(f"There is no person {asked} in {job.clip.path.name}; people.csv in its run folder lists them.")
    faces = with_persons(faces, people)
    return faces if job.person is None else faces.assign(main=faces["person"] == job.person)


def turns_of(job: Job) -> pd.DataFrame | None:
    """The turns of speech of whom the job is about, `speaker` being the person; all turns as they are where it is about nobody
    in particular, None where nobody told voices apart."""
    if not job.folder.turns.is_file() or job.folder.finished("people").get("failed"):
        return None
    turns = read_table(job.folder.turns)
    if job.about is None:
        return turns
    return turns[_theirs(job, turns["person"])].assign(speaker=str(job.about))


def _theirs(job: Job, persons: pd.Series) -> pd.Series:
    unsure = (persons == UNSURE) & (job.person is None)
    return (persons == job.about) | unsure


def words_of(job: Job, cues: pd.DataFrame) -> pd.DataFrame:
    """The cues that are said by whom the job is about; a cue is whose turns fill most of it, or whom its subtitle names."""
    if job.about is None or not job.folder.turns.is_file():
        return cues
    persons = persons_of_cues(cues, read_table(job.folder.turns))
    return cues[_theirs(job, persons)].reset_index(drop=True)


def sound_of(job: Job) -> Path | None:
    """The clip's sound (16 kHz mono WAV), silent wherever only others than whom the job is about speak; None without sound."""
    audio = job.work_file("audio")
    if audio is None or job.about is None or not job.folder.turns.is_file():
        return audio
    turns = read_table(job.folder.turns)
    theirs = _theirs(job, turns["person"])
    if theirs.all():
        return audio
    own = audio.with_name(f"audio_of_person_{job.about}.wav")
    if not own.is_file():
        with atomic_path(own) as aside:
            _write_part(audio, aside, turns[theirs], turns[~theirs], keep_rest=job.person is None)
    return own


def _write_part(audio: Path, target: Path, own: pd.DataFrame, others: pd.DataFrame, keep_rest: bool) -> None:
    """Copy a WAV file with only the turns of one's own, and with `keep_rest` what is nobody's turn, left in."""
    import soundfile

    with soundfile.SoundFile(audio) as source:
        rate = source.samplerate
        with soundfile.SoundFile(target, "w", rate, 1, subtype="PCM_16", format="WAV") as copy:
            for first in range(0, source.frames, BLOCK):
                block = source.read(BLOCK, dtype="int16")
                kept = np.full(len(block), keep_rest)
                for turns, counts in ((others, False), (own, True)):
                    for start, end in zip(turns["start"], turns["end"], strict=True):
                        kept[max(round(start * rate) - first, 0) : max(round(end * rate) - first, 0)] = counts
                copy.write(np.where(kept, block, 0).astype("int16"))


def there(job: Job) -> NDArray[np.bool_]:
    """The windows [N] in which whom the job is about is seen or heard."""
    windows, faces, turns = job.windows, faces_table(job), turns_of(job)
    found = np.zeros(len(windows), bool)
    if len(faces):
        found |= windows_of(faces.loc[faces["main"], "time_s"].to_numpy(np.float64), windows).any(1)
    for start, end in [] if turns is None else zip(turns["start"], turns["end"], strict=True):
        found |= (windows[:, 0] < end) & (windows[:, 1] > start)
    return found


def moments_there(job: Job) -> NDArray[np.float64] | None:
    """From when to when [N, 2] (s) whom the job is about is seen or heard, without overlaps; None where it is about nobody in
    particular, or nobody told voices apart."""
    faces, turns = faces_table(job), turns_of(job)
    if job.about is None or turns is None:
        return None
    spans = turns[["start", "end"]].to_numpy(np.float64)
    if len(faces):
        times = np.unique(faces.loc[faces["main"], "time_s"].to_numpy(np.float64))
        spans = np.concatenate([spans, np.column_stack([times, times + seconds_of_a_picture(faces)])])
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reached = np.maximum.accumulate(spans[:, 1])
    parts = spans[1:, 0] > reached[:-1] + 1e-6
    return np.column_stack([spans[np.r_[True, parts][: len(spans)], 0], reached[np.r_[parts, True][: len(spans)]]])
