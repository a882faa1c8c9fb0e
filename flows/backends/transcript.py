"""The words: given, beside the clip, in the file, or recognised by Whisper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data.files import digest, file_digest
from data.media.subtitles import read_transcript, sidecar_transcript
from flows.backends.base import NotHere
from flows.job import Job
from flows.runtime import loaded_models as models
from flows.runtime.events import reach
from modalities.model_store.local import find_whisper, missing_sentence


def words_of(job: Job) -> tuple[pd.DataFrame, str]:
    """The words of a clip with their times, and where they come from; NotHere when there are none."""
    from modalities.transcript import whisper as transcript

    given, subtitles = given_transcript(job), job.work_file("subtitles")
    if given is not None:
        return read_transcript(given, job.clip.duration), given.name
    if subtitles is not None:
        return read_transcript(subtitles, job.clip.duration), "subtitles in the file"
    asked = job.settings.transcript
    whisper = find_whisper(asked.checkpoint, asked.model).found
    if whisper is None and asked.model:
        raise NotHere(*missing_sentence(asked.model))
    if whisper is None or not job.clip.has_audio:
        raise NotHere(transcript.ABSENT_REASON, transcript.REMEDY)
    return _recognised(job, whisper.path), f"Whisper {whisper.name}"


def given_transcript(job: Job) -> Path | None:
    """The transcript that the user gave or put beside the clip (that beside a file is not a segment's)."""
    beside = sidecar_transcript(job.clip.path) if job.clip.start is None else None
    return job.brought.transcript or beside


def words_inputs(job: Job) -> Mapping[str, Any]:
    """What the words depend on: the file that is given or lies beside the clip, or the Whisper checkpoint."""
    given = given_transcript(job)
    if given is not None:
        return {"given": file_digest(given)}
    asked = job.settings.transcript
    found = find_whisper(asked.checkpoint, asked.model).found
    return {"whisper": digest(found.path) if found else ""}


def _recognised(job: Job, checkpoint: Path) -> pd.DataFrame:
    from modalities.speech.detect import speech_in
    from modalities.transcript.whisper import transcribe

    audio, asked = job.folder.work / "audio.wav", job.settings.transcript
    speech = [(float(start), float(end)) for start, end in speech_in(audio)]
    return transcribe(
        models.whisper(checkpoint, job.settings), audio, language=asked.language, speech=speech,
        word_times=asked.word_times, on_time=reach, **models.feeding(job.settings, asked.batch),
    )  # fmt: skip
