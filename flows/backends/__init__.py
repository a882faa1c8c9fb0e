"""What can recognise each modality: our own small networks, large models that were fetched, or a server; settings choose."""

from collections.abc import Mapping

from data.added_modalities import added_modalities
from flows.backends import added
from flows.backends import face_networks as faces
from flows.backends import scene_context as scene
from flows.backends import transcript as words
from flows.backends import voice as sound
from flows.backends.base import Backend, NotHere
from flows.job import Job

BACKENDS: dict[str, Mapping[str, Backend]] = {
    "static_face": faces.STATIC,
    "dynamic_face": faces.DYNAMIC,
    "scene_labels": scene.LABELS,
    "scene_context": scene.CONTEXT,
    "voice": sound.VOICE,
    "text": words.TEXT,
    **{name: {"added": added.backend(name, path)} for name, path in added_modalities().items()},
}
"""Modality -> name of the backend in the settings -> what it does."""

__all__ = ["BACKENDS", "Backend", "NotHere", "backend_of"]


def backend_of(job: Job, modality: str) -> Backend:
    """The backend that a job's settings choose for a modality."""
    choice = BACKENDS[modality]
    return next(iter(choice.values())) if len(choice) == 1 else choice[getattr(job.settings, modality).backend]
