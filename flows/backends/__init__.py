"""What can recognise each modality: our own small networks, large models that were fetched, or a server; settings choose.

One module a modality, imported when it is first asked for; each has a table BACKENDS, name in the settings -> backend.
"""

from collections.abc import Mapping
from importlib import import_module

from configs.settings import Settings
from data.added_modalities import BUILT_IN, added_modalities
from data.scores import Scores
from flows.backends.base import Backend, NotHere

MODULES: dict[str, str] = {
    **{name: f"flows.backends.{name}" for name in (*BUILT_IN, "transcript")},
    **dict.fromkeys(added_modalities(), "flows.backends.added"),
}
"""Modality (and the transcript, which text reads) -> the module with its backends."""

__all__ = ["MODULES", "Backend", "NotHere", "backend_of", "backends_of"]


def backends_of(modality: str) -> Mapping[str, Backend[object, Scores]]:
    """The backends of a modality by their names in the settings. The transcript's one answers with words, not with scores."""
    backends: Mapping[str, Backend[object, Scores]] = import_module(MODULES[modality]).BACKENDS
    return backends


def backend_of(settings: Settings, modality: str) -> Backend[object, Scores]:
    """The backend that settings choose for a modality; it has the modality's own name where they have no choice."""
    section = getattr(settings, modality, None)
    return backends_of(modality)[getattr(section, "backend", modality)]
