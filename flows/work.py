"""What each stage does with files: read the inputs, call the domain's function, write the outputs. Computes nothing itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.files import file_digest
from data.frames import Frame, read_frames
from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores, Source
from data.tables import read_scores, read_table, write_scores, write_table
from flows import models
from flows.jobs import Job
from flows.settings import read_prompts

NO_PICTURE = "The file has no picture."
NO_SOUND = "The file has no sound."


def decode(job: Job) -> Mapping[str, Any]:
    """Take frames, sound and subtitles from the file in one pass."""
    from data.decode import DecodeOptions, decode

    decoded = decode(job.clip, job.folder.work, DecodeOptions(**job.settings.decode.model_dump()))
    times = read_table(decoded.index)[["frame", "time_s"]] if decoded.index else pd.DataFrame({"frame": [], "time_s": []})
    write_table(job.folder.frame_times, times)
    return {
        "frames": _name(decoded.frames), "index": _name(decoded.index), "audio": _name(decoded.audio),
        "subtitles": _name(decoded.subtitles), "problems": list(decoded.problems),
    }


def faces(job: Job) -> Mapping[str, Any]:
    """Detect, track and crop faces."""
    from modalities.faces import FaceOptions, find_faces

    options = FaceOptions(detector=job.settings.faces.detector, crop_size=job.settings.faces.crop_size)
    found = find_faces(_frames(job), options, job.folder.crops)
    write_table(job.folder.faces, found.table)
    return {"detector": found.detector}


def static_face(job: Job) -> None:
    """Score each face by itself."""
    _face_modality(job, "static_face")


def dynamic_face(job: Job) -> None:
    """Score each window's faces as a sequence."""
    _face_modality(job, "dynamic_face")


def scene_labels(job: Job) -> None:
    """Match the pictures with CLIP's prompts."""
    from modalities import scene_labels as modality

    def recognise() -> Scores:
        settings = job.settings.scene_labels
        search = models.find_clip(settings.checkpoint)
        if search.model is None:
            return Scores.absent("scene_labels", job.windows, search.reason, modality.absent_remedy())
        prompts = read_prompts(settings.prompts)
        loaded = models.scene_labels(search.model, settings.architecture, prompts, settings.temperature, job.settings.device)
        frames = _frames(job, settings.frames_per_second)
        return modality.recognise(loaded, frames, job.windows, frames_per_second=settings.frames_per_second)

    _write(job, "scene_labels", recognise, "" if job.clip.has_video else NO_PICTURE)


def scene_context(job: Job) -> None:
    """Read the emotion of the given scene descriptions."""
    from modalities import scene_context as modality

    def recognise() -> Scores:
        given = job.brought.descriptions
        table = modality.read_descriptions(given, job.clip.path.stem, job.windows) if given else pd.DataFrame()
        if table.empty:
            return Scores.absent("scene_context", job.windows, modality.absent_reason(given), modality.ABSENT_REMEDY)
        return modality.recognise(models.scene_context(job.settings.scene_context.weights, job.settings.device), table, job.windows)

    _write(job, "scene_context", recognise)


def voice(job: Job) -> None:
    """Score the sound of the voice."""
    from modalities import voice as modality

    def recognise() -> Scores:
        return modality.recognise(models.voice(job.settings.voice.weights, job.settings.device), _audio(job), job.windows)

    _write(job, "voice", recognise, "" if job.clip.has_audio else NO_SOUND)
