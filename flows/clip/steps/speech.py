"""Hearing the speech of a clip, and that of each person in it."""

from collections.abc import Mapping
from pathlib import Path

from data.scores import Scores
from data.tables import write_scores
from flows.backends import MODULES, NotHere, backend_of
from flows.backends.base import NO_SOUND, HearingBackend
from flows.evidence import SILENT, sound_of, turns_of
from flows.job import Job
from flows.runtime.code_digest import CodeEntry

GIVEN = "The probabilities of the voice are given."


def hear(job: Job) -> Mapping[str, object]:
    """Find the speech and hear how it sounds, once: how the voice usually sounds is asked later."""
    write_scores(job.folder.speech, job.folder.speech_evidence, _heard(job, job.work_file("audio")))
    return {}


def hear_apart(job: Job) -> Mapping[str, object]:
    """Hear how each person sounds, where several speak: only their own turns."""
    alone = False
    for one in job.everyone():
        one.own.own_speech.unlink(missing_ok=True)
        audio = sound_of(one)
        if one.person is None and audio == job.work_file("audio"):
            continue  # all that was heard is theirs
        turns = turns_of(one)
        silent = turns is not None and turns.empty
        scores = Scores.absent("voice", one.windows, SILENT) if silent else _heard(one, audio)
        write_scores(one.own.own_speech, one.own.own_speech_evidence, scores)
        alone |= one.person is None
    return {"heard": alone}


def _heard(job: Job, audio: Path | None) -> Scores:
    if "voice" in job.brought.scores:
        return Scores.absent("voice", job.windows, GIVEN)
    if not job.clip.has_audio:
        return Scores.absent("voice", job.windows, NO_SOUND)
    try:
        return _backend(job).hear(job, audio)
    except NotHere as absent:
        return Scores.absent("voice", job.windows, absent.reason, absent.remedy)


def inputs(job: Job) -> Mapping[str, object]:
    """The settings of the voice but for those that count when all was heard, and the digests of its weights."""
    if "voice" in job.brought.scores:
        return {"given": True}
    asked = job.settings.voice.model_dump(mode="json", exclude={"reference", "batch"})
    return {"settings": asked, **_backend(job).inputs(job)}


def code(job: Job) -> tuple[CodeEntry, ...]:
    """The backends of the voice, unless its scores are given."""
    if "voice" in job.brought.scores:
        return ()
    return (MODULES["voice"], *_backend(job).code(job))


def _backend(job: Job) -> HearingBackend[object]:
    backend = backend_of(job.settings, "voice")
    assert isinstance(backend, HearingBackend)
    return backend
