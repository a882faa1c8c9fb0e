"""Backends of text: our own network, text classifiers."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from data.files import digest
from data.scores import Scores
from data.tables import read_notes, read_table
from flows.backends.base import Backend, NotHere, fetched, fingerprint
from flows.job import Job
from flows.runtime import loaded_models as models


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


BACKENDS: Mapping[str, Backend] = {
    "embedded": Backend(_own, _own_inputs, media=False),
    "transformers": Backend(_classifier, _classifier_inputs, media=False),
}
