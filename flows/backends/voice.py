"""Backends of the voice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.settings import Settings
from data.files import digest
from data.scores import Scores
from flows.backends.base import Backend, NotHere, fetched, fingerprint
from flows.job import Job
from flows.runtime import loaded_models as models

NO_HEAD = "The settings name no head for the speech encoder, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Train one with ./dyad train voice-head --encoder {model} --data FOLDER and name it with voice.head, or set voice.backend to "
    "embedded."
)


def _own(job: Job) -> Scores:
    from modalities.voice import embedded as voice

    return voice.recognise(models.voice(job.settings), job.work_file("audio"), job.windows)


def _own_inputs(job: Job) -> Mapping[str, Any]:
    return {"weights": digest(job.settings.voice.weights or models.shipped_weights("voice"))}


def _classifier(job: Job) -> Scores:
    from modalities.voice import audio_classifier

    asked = job.settings.voice
    model = models.audio_classifier(fetched(asked.model, "voice.model"), job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return audio_classifier.recognise(model, job.work_file("audio"), job.windows, **feeding)


def _encoder(job: Job) -> Scores:
    from modalities.voice import speech_encoder

    asked = job.settings.voice
    folder = fetched(asked.model, "voice.model")
    model = models.speech_encoder(folder, head_of(job.settings), job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return speech_encoder.recognise(model, job.work_file("audio"), job.windows, **feeding)


def head_of(settings: Settings) -> Path:
    """The head that settings name for the speech encoder; NotHere when they name none."""
    asked = settings.voice
    if asked.head is None:
        raise NotHere(NO_HEAD, NO_HEAD_REMEDY.format(model=asked.model))
    return asked.head


def _large_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.voice
    return {"model": fingerprint(asked.model), "labels": digest(asked.labels), "head": digest(asked.head)}


BACKENDS: Mapping[str, Backend] = {
    "embedded": Backend(_own, _own_inputs),
    "transformers": Backend(_classifier, _large_inputs),
    "encoder": Backend(_encoder, _large_inputs),
}
