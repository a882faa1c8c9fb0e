"""Backends of text, and the words themselves: given, beside the clip, in the file, or recognised by Whisper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data.files import digest, file_digest
from data.media.subtitles import read_transcript, sidecar_transcript
from data.scores import Scores
from data.tables import read_notes, read_table
from flows.backends.base import Backend, NotHere, fetched, fingerprint
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


def _cues(job: Job) -> pd.DataFrame:
    from modalities.transcript import whisper as transcript

    notes = read_notes(job.folder.cues)
    if not notes.get("origin"):
        raise NotHere(notes.get("reason") or transcript.ABSENT_REASON, notes.get("remedy") or transcript.REMEDY)
    return read_table(job.folder.cues)


def _own(job: Job) -> Scores:
    from modalities.text import embedded as text

    return text.recognise(models.text(job.settings), _cues(job), job.windows)


def _own_inputs(job: Job) -> Mapping[str, Any]:
    return {"weights": digest(job.settings.text.weights or models.shipped_weights("text"))}


def _classifier(job: Job) -> Scores:
    from modalities.text import classifier as text_classifier

    asked, cues = job.settings.text, _cues(job)
    model = models.text_classifier(fetched(asked.model, "text.model"), asked.labels, asked.head, job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return text_classifier.recognise(model, cues, job.windows, english_only=asked.english_only, **feeding)


def _classifier_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.text
    return {"model": fingerprint(asked.model), "labels": digest(asked.labels), "head": digest(asked.head)}


CLASSIFYING = (
    "modalities.text.classifier", "modalities.text.models", "modalities.text.mean_pooled", "modalities.text.embedded",
    "modalities.label_maps", "modalities.loading.pretrained",
)  # fmt: skip
TEXT = {
    "embedded": Backend(
        _own, _own_inputs, ("modalities.text.embedded", "modalities.encoders.sentence_encoder",
            "modalities.encoders.minilm"), media=False
    ),
    "transformers": Backend(
        _classifier, _classifier_inputs, CLASSIFYING, media=False
    ),
}
