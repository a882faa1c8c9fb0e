"""Weights that other people saved: tensors by name, without running what a file may carry beside them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

NESTED = ("model_state_dict", "state_dict", "model")
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
        stored: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, LookupError, RuntimeError, ValueError, OSError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise WeightsError(f"{path} is not a readable file of weights alone ({said}); copy or save it again.") from error
    for key in NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    entries = stored.items() if isinstance(stored, Mapping) else ()
    return {str(key).removeprefix("module."): value for key, value in entries if isinstance(value, torch.Tensor)}
