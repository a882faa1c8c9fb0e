"""Hearing the speech of a clip."""

from collections.abc import Mapping

from data.scores import Scores
from data.tables import write_scores
from flows.backends import MODULES, NotHere, backend_of
from flows.backends.base import NO_SOUND, HearingBackend
from flows.job import Job
from flows.runtime.code_digest import CodeEntry

GIVEN = "The probabilities of the voice are given."


def hear(job: Job) -> Mapping[str, object]:
    """Find the speech and hear how it sounds, once: how the voice usually sounds is asked later."""
    if "voice" in job.brought.scores:
        heard = Scores.absent("voice", job.windows, GIVEN)
    elif not job.clip.has_audio:
        heard = Scores.absent("voice", job.windows, NO_SOUND)
    else:
        try:
            heard = _backend(job).hear(job)
        except NotHere as absent:
            heard = Scores.absent("voice", job.windows, absent.reason, absent.remedy)
    write_scores(job.folder.speech, job.folder.speech_evidence, heard)
    return {}


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
