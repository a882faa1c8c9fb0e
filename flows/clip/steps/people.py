"""Telling people apart."""

import shutil
from collections.abc import Mapping
from typing import Any

import pandas as pd

from data.errors import InputError
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
    _make_folders(job, told := _told(people, job.settings.faces.which))
    return told if len(found.people) else {**told, "absent": "Nobody is seen or heard in the clip."}


def _told(people: pd.DataFrame, which: str) -> dict[str, Any]:
    """The `person` that the clip's answer is about (0: everybody, or nobody), and the `persons` who have answers besides."""
    main = people.loc[people["main"], "person"].tolist() if which != "all" or len(people) == 1 else []
    others = [] if len(people) == 1 else sorted(set(people["person"].tolist()) - set(main))
    return {"person": next(iter(main), 0), "persons": others}


def _make_folders(job: Job, told: Mapping[str, Any]) -> None:
    """A folder for each of the persons, and none for those of an earlier run."""
    folder = job.folder.of_persons
    if folder.is_symlink():
        raise InputError(f"{folder} is a link, and Dyad writes nothing behind it; remove it, or choose another output.")
    if folder.is_dir():
        shutil.rmtree(folder)
    for person in told["persons"]:
        job.folder.of_person(person).stages.mkdir(parents=True)


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
