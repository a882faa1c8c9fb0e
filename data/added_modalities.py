"""Modalities that users add, each one Python file: `modalities/added/NAME.py`, or in the folder that DYAD_MODALITIES names.

The file's name is the modality's. It is found, not imported, here: names are needed before anything runs.
"""

import os
import re
from functools import cache
from pathlib import Path

from data.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "modalities" / "added"
VARIABLE = "DYAD_MODALITIES"
BUILT_IN = ("static_face", "dynamic_face", "scene_labels", "scene_context", "voice", "text")
"""The modalities that ship with Dyad, in the order of every table."""
TAKEN = frozenset({
    *BUILT_IN, "decode", "faces", "speech", "transcript", "fuse", "compose", "publish", "frames", "windows", "result", "settings",
})  # fmt: skip
"""Names of our own modalities, stages and files of the run folder."""


@cache
def added_modalities() -> dict[str, Path]:
    """The files by the modality's name, in the order of the alphabet, without those whose names do not fit (`check_added`)."""
    return {path.stem: path for path in _files() if _fits(path.stem)}


def check_added() -> None:
    """InputError when a file's name cannot be a modality's, or the folder that DYAD_MODALITIES names is not there."""
    folder = os.environ.get(VARIABLE)
    if folder and not Path(folder).is_dir():
        raise InputError(f"{VARIABLE} names {folder}, which is no folder; name the one with your modalities' files, or unset it.")
    for path in _files():
        if not _fits(path.stem):
            raise InputError(
                f"{path} cannot be a modality: '{path.stem}' is taken, or not in small letters, digits and underscores; "
                "give it another name."
            )


def _files() -> list[Path]:
    folder = Path(os.environ.get(VARIABLE) or FOLDER)
    return sorted(path.absolute() for path in folder.glob("*.py") if not path.name.startswith("_"))


def _fits(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and name not in TAKEN
