"""Finding faces."""

from collections.abc import Mapping

from data.tables import write_table
from flows.backends.base import frames_of
from flows.job import Job


def find_faces(job: Job) -> Mapping[str, object]:
    """Detect, track and crop faces, and keep a few of the crops for the page."""
    from modalities.faces import find
    from reports.page.faces import face_pictures

    options = find.FaceOptions(detector=job.settings.faces.detector, crop_size=job.settings.faces.crop_size)
    found = find.find_faces(frames_of(job), options, job.folder.crops)
    write_table(job.folder.face_pictures, face_pictures(job.folder.crops, found.table, job.clip.duration))
    write_table(job.folder.faces, found.table)
    return {"detector": found.detector} | ({"absent": found.reason} if found.reason else {})
