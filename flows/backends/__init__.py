"""What can recognise each modality: our own small networks, large models that were fetched, or a server; settings choose.

One module a modality, imported when it is first asked for; each has a table BACKENDS, name in the settings -> backend.
"""

from collections.abc import Mapping
from importlib import import_module

from configs.settings import Settings
from data.added_modalities import added_modalities
from flows.backends.base import Backend, NotHere

MODULES: dict[str, str] = {
    "static_face": "flows.backends.static_face",
    "dynamic_face": "flows.backends.dynamic_face",
    "scene_labels": "flows.backends.scene_labels",
    "scene_context": "flows.backends.scene_context",
    "voice": "flows.backends.voice",
    "transcript": "flows.backends.transcript",
    "text": "flows.backends.text",
    **dict.fromkeys(added_modalities(), "flows.backends.added"),
}
"""Modality (and the transcript, which text reads) -> the module with its backends."""

__all__ = ["MODULES", "Backend", "NotHere", "backend_of", "backends_of"]


def backends_of(modality: str) -> Mapping[str, Backend]:
    """Name in the settings -> backend, of one modality."""
    backends: Mapping[str, Backend] = import_module(MODULES[modality]).BACKENDS
    return backends


def backend_of(settings: Settings, modality: str) -> Backend:
    """The backend that settings choose for a modality; the only one there is, where they have no choice."""
    section = getattr(settings, modality, None)
    backends = backends_of(modality)
    return backends[getattr(section, "backend", modality)]
