"""Weights that other people saved: tensors by name, without running what a file may carry beside them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import WeightsError
from data.json_files import parse_json, read_json

if TYPE_CHECKING:
    from torch import Tensor

JsonObject = dict[str, Any]
"""Settings out of JSON or YAML: what a value is shows where it is used, in the constructor that takes it or refuses it."""

NESTED = ("model_state_dict", "state_dict", "model", "module")
"""Where trainers put the weights in a checkpoint that holds more than them."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors from .safetensors, or from a file of torch that is read as weights only; WeightsError for any other file.

    Weights may lie bare or under one of `NESTED`; the prefix of a parallel run (`module.`) is left out.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}; give an existing .safetensors or .pt file.")
    try:
        safe = path.suffix == ".safetensors"
        stored: object = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, LookupError, RuntimeError, ValueError, OSError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise WeightsError(f"{path} is not a readable file of weights alone ({said}); copy or save it again.") from error
    for key in NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    entries = stored.items() if isinstance(stored, Mapping) else ()
    return {str(key).removeprefix("module."): value for key, value in entries if isinstance(value, torch.Tensor)}


def read_notes(path: Path) -> dict[str, object]:
    """What stands beside the tensors: the metadata of a safetensors file, and a JSON file of the same name, which goes before.

    WeightsError when that JSON cannot be read.
    """
    return _read_metadata(path) | _read_json_beside(path)


def _read_metadata(path: Path) -> dict[str, object]:
    """The metadata of a safetensors file, its texts as JSON where they are some; a file that is none has none.

    Whether the file can be read at all is said by `read_state_dict`.
    """
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
    except (SafetensorError, OSError):
        return {}
    notes: dict[str, object] = {}
    for key, text in metadata.items():
        try:
            notes[key] = parse_json(text)
        except ValueError:
            notes[key] = text
    return notes


def _read_json_beside(path: Path) -> dict[str, object]:
    """The JSON file of the same name, if there is one."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        notes = read_json(beside)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{beside} is not readable JSON ({error}); correct it or remove it.") from error
    if not isinstance(notes, dict):
        raise WeightsError(f"{beside} does not hold a JSON object with 'labels', 'settings' and so on; correct or remove it.")
    return notes
