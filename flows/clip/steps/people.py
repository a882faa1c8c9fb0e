"""Telling people apart."""

from collections.abc import Mapping

import pandas as pd

from data.files import digest, file_digest
from data.people import read_known, with_persons
from data.tables import read_table, write_table
from flows.job import Job
from flows.runtime.loaded_models import device_named, loaded
from modalities.people import find
from modalities.people.recognise import WEIGHTS, load
from reports.page.faces import face_pictures


def find_people(job: Job) -> Mapping[str, object]:
    """Tell whose the faces and voices are."""
    model = loaded(job.settings, ("people", WEIGHTS), lambda: load(WEIGHTS, device_named(job.settings.device)))
    seen = job.folder.faces.is_file() and not job.folder.finished("faces").get("failed")
    faces = read_table(job.folder.faces) if seen else pd.DataFrame()
    known = read_known(job.brought.people) if job.brought.people else []
    audio, speakers = job.work_file("audio"), job.settings.people.speakers
    found = find.find_people(model, faces, job.folder.crops, audio, speakers, known)
    people = _asked(found.people, job.settings.faces.which)
    if seen:
        pictures = face_pictures(job.folder.crops, with_persons(faces, people), job.clip.duration)
        write_table(job.folder.face_pictures, pictures)
    write_table(job.folder.people, people)
    write_table(job.folder.turns, found.turns)
    return {} if len(found.people) else {"absent": "Nobody is seen or heard in the clip."}


def _asked(people: pd.DataFrame, which: str) -> pd.DataFrame:
    """The people with the one that is asked for as main person; as they are where nobody is, or there is none of this number."""
    asked = which.removeprefix("person=")
    if not asked.isdecimal() or int(asked) not in set(people["person"]):
        return people
    return people.assign(main=people["person"] == int(asked))


def inputs(job: Job) -> Mapping[str, object]:
    """What it depends on besides settings and code: the weights, and who is who."""
    known = read_known(job.brought.people) if job.brought.people else []
    told = [(one.name, one.person, file_digest(one.picture) if one.picture else "") for one in known]
    return {"weights": digest(WEIGHTS), "known": told}
