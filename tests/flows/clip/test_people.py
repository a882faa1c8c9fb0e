"""The stage that tells people apart, and the names that users and subtitles give them."""

from pathlib import Path

import pandas as pd
import pytest

from configs.settings import load_settings
from data.errors import InputError
from data.media.clip import Clip
from data.people import read_names
from data.run_folder import RunFolder
from data.tables import write_table
from flows.clip.steps import publish
from flows.clip.words import write_words
from flows.evidence import faces_table
from flows.job import Job
from modalities.people.find import NO_FACES, known_people
from modalities.people.turns import Turn


def a_job(folder: Path, which: str = "main") -> Job:
    """A job whose people are told apart: two voices, of which subtitles name the first."""
    clip, settings = Clip(folder / "clip.mp4", "clip", "content", 9.0), load_settings(overrides={"faces": {"which": which}})
    job = Job(clip, RunFolder(folder), settings)
    job.folder.create()
    found = known_people(NO_FACES, {}, [Turn(0, 4, "1"), Turn(5, 9, "2")])
    write_table(job.folder.people, found.people)
    write_table(job.folder.turns, found.turns)
    cues = pd.DataFrame({"start": [0.0, 5.0], "end": [4.0, 9.0], "text": ["Hello.", "Good day."], "speaker": ["Anna", ""]})
    write_table(job.folder.cues, cues, {"origin": "clip.vtt", "rejected": []})
    return job


def test_names_of_subtitles_and_of_the_user_reach_the_list_and_the_transcript(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    assert publish.inputs(job) == {"names": {}}
    own = publish.name_people(job)
    job.folder.mark_done("publish", "key", 1.0, {"names": own})
    assert read_names(job.folder.people_list) == {1: "Anna"}
    assert "<v Anna>Hello." in job.folder.transcript.read_text()
    assert "<v Person 2>Good day." in job.folder.transcript.read_text()
    assert publish.inputs(job) == {"names": {}}, "what was not edited runs nothing again"

    edited = job.folder.people_list.read_text().replace("\n2,,", "\n2,Bob,")
    job.folder.people_list.write_text(edited)
    assert publish.inputs(job) == {"names": {2: "Bob"}}
    publish.name_people(job)
    assert read_names(job.folder.people_list) == {1: "Anna", 2: "Bob"}
    assert "<v Bob>Good day." in job.folder.transcript.read_text()


def test_without_people_nothing_of_them_stays(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    publish.name_people(job)
    job.folder.mark_failed("people", "It broke.")
    assert publish.name_people(job) == {}
    assert not any(path.exists() for path in (job.folder.people, job.folder.turns, job.folder.people_list))


def test_a_person_who_is_not_in_the_clip_cannot_be_asked_for(tmp_path: Path) -> None:
    job = a_job(tmp_path, which="person=7")
    write_table(job.folder.faces, NO_FACES)
    with pytest.raises(InputError, match=r"no person 7 in clip\.mp4; people\.csv in its run folder"):
        faces_table(job)


def test_words_keep_where_they_are_from(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    write_words(job.folder, pd.DataFrame({"start": [0.0], "end": [1.0], "text": ["Hello."]}))
    assert "NOTE Words: clip.vtt." in job.folder.transcript.read_text()
