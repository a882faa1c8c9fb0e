"""What can recognise each modality: our own small networks, large models that were fetched, or a server; settings choose."""

from collections.abc import Mapping

from flows.backends import faces, scene, sound, words
from flows.backends.base import Backend, NotHere
from flows.jobs import Job

BACKENDS: dict[str, Mapping[str, Backend]] = {
    "static_face": faces.STATIC,
    "dynamic_face": faces.DYNAMIC,
    "scene_labels": scene.LABELS,
    "scene_context": scene.CONTEXT,
    "voice": sound.VOICE,
    "text": words.TEXT,
}
"""Modality -> name of the backend in the settings -> what it does."""

__all__ = ["BACKENDS", "Backend", "NotHere", "backend_of"]


def backend_of(job: Job, modality: str) -> Backend:
    """The backend that a job's settings choose for a modality."""
    return BACKENDS[modality][getattr(getattr(job.settings, modality), "backend", "open_clip")]
