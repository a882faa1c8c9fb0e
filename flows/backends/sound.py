"""Backends of the voice."""

from collections.abc import Mapping
from typing import Any

from data.files import digest
from data.scores import Scores
from flows import models
from flows.backends.base import Backend, NotHere, fetched, fingerprint
from flows.jobs import Job

NO_HEAD = "The settings name no head for the speech encoder, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Train one with ./dyad train voice --encoder {model} --data FOLDER and name it with voice.head, or set voice.backend to "
    "embedded."
)


def _own(job: Job) -> Scores:
    from modalities import voice

    return voice.recognise(models.voice(job.settings), job.work_file("audio"), job.windows)


def _own_inputs(job: Job) -> Mapping[str, Any]:
    return {"weights": digest(job.settings.voice.weights or models.shipped_weights("voice"))}


def _classifier(job: Job) -> Scores:
    from modalities import audio_classifier

    asked = job.settings.voice
    model = models.audio_classifier(fetched(asked.model, "voice.model"), job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return audio_classifier.recognise(model, job.work_file("audio"), job.windows, **feeding)


def _encoder(job: Job) -> Scores:
    from modalities import speech_encoder

    asked = job.settings.voice
    folder = fetched(asked.model, "voice.model")
    if asked.head is None:
        raise NotHere(NO_HEAD, NO_HEAD_REMEDY.format(model=asked.model))
    model = models.speech_encoder(folder, asked.head, job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return speech_encoder.recognise(model, job.work_file("audio"), job.windows, **feeding)


def _large_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.voice
    return {"model": fingerprint(asked.model), "labels": digest(asked.labels), "head": digest(asked.head)}


VOICE = {
    "embedded": Backend(_own, _own_inputs, ("modalities.voice", "modalities.networks.voice")),
    "transformers": Backend(
        _classifier, _large_inputs, ("modalities.audio_classifier", "modalities.voice", "modalities.label_maps")
    ),
    "encoder": Backend(
        _encoder, _large_inputs, ("modalities.speech_encoder", "modalities.voice", "modalities.networks.speech_heads")
    ),
}
