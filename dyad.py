"""Dyad for Python and notebooks: which compound expression is shown in a video, when, and which evidence says so.

    import dyad
    answer = dyad.recognise("clip.mp4")
"""

import sys
from importlib import import_module, machinery
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.api import recognise, recognise_all
    from flows.recognition import ModalityAnswer, Recognition, Recognitions, read_run

__all__ = ["ModalityAnswer", "Recognition", "Recognitions", "read_run", "recognise", "recognise_all"]
_HOME = Path(__file__).resolve().parent
_PACKAGES = ("configs", "data", "flows", "fusion", "modalities", "reports")
_CALLS = {"recognise": "flows.api", "recognise_all": "flows.api"}


def _foreign_packages() -> dict[str, str]:
    """Packages of other projects, and where they lie, that Python finds under the names of ours: these names are general."""
    found = {}
    for name in _PACKAGES:
        if loaded := sys.modules.get(name):
            origin = loaded.__file__ or ""
        else:
            spec = machinery.PathFinder.find_spec(name)
            origin = (spec.origin or "") if spec else ""
        if Path(origin).resolve().parent != _HOME / name:
            found[name] = origin or "nowhere"
    return found


if _shadowing := _foreign_packages():
    _listed = ", ".join(f"'{name}' ({origin})" for name, origin in _shadowing.items())
    raise ImportError(
        f"Dyad's own packages lie in {_HOME}, but Python finds these instead: {_listed}. Give Dyad an environment of its own "
        "(docs/installation.md), or start Python in a folder that has no module of such a name."
    )


def __getattr__(name: str) -> Any:
    """The calls and types for Python, imported when they are first named: importing Dyad costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'dyad' has no attribute '{name}'")
    return getattr(import_module(_CALLS.get(name, "flows.recognition")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
