"""Prefect flows, the command line, and the calls for Python; they schedule the plain functions of the other packages.

    from flows import recognise
    answer = recognise("clip.mp4")
"""

from typing import TYPE_CHECKING, Any

from flows import prefect_setup

if TYPE_CHECKING:
    from flows.api import recognise, recognise_all
    from flows.recognition import ModalityAnswer, Recognition, Recognitions, read_run

# Prefect reads its variables when it is imported, which any module of this package may do.
prefect_setup.prepare()

__all__ = ["ModalityAnswer", "Recognition", "Recognitions", "read_run", "recognise", "recognise_all"]
_MODULES = {"recognise": "flows.api", "recognise_all": "flows.api"}


def __getattr__(name: str) -> Any:
    """The calls for Python, imported when they are first named: the command line does without."""
    if name not in __all__:
        raise AttributeError(f"module 'flows' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULES.get(name, "flows.recognition")), name)
