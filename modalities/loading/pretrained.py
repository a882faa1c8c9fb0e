"""Models of transformers from local folders, as `save_pretrained` writes them; no hub is asked, no program of a folder runs."""

from __future__ import annotations

import contextlib
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import WeightsError
from data.files import file_digest
from modalities.loading.batching import is_out_of_memory

if TYPE_CHECKING:
    import torch

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of the weights, the first choice of transformers first; an index lists the parts of weights in several files."""

BUILDING = threading.RLock()


def load_config(folder: Path) -> Any:
    """The folder's config; WeightsError when there is none that transformers knows."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} holds no model (there is no config.json); name a folder as save_pretrained writes it."
        )
    with loading_errors(f"The config.json in {folder} is not one of a model that transformers knows"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_network(kind: str, folder: Path, dtype: torch.dtype, random: tuple[str, ...] = ()) -> Any:
    """A network of transformers' class `kind` (AutoModelFor...) with all its weights; SDPA attention where it has it.

    WeightsError when weights are missing, damaged or of another shape. Keys that end in one of `random` may lack: they are
    parameters that only training uses.
    """
    import transformers

    with loading_errors(f"The weights in {folder} cannot be loaded"), quiet(), building():
        network, report = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, weights_only=True, output_loading_info=True, dtype=dtype,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    for name, there, wanted in sorted(report["mismatched_keys"]):  # transformers' own error does not name them
        raise WeightsError(
            f"The weights in {folder} cannot be loaded ({name} is {list(there)} where config.json asks for {list(wanted)}); "
            "download or save the model again."
        )
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(random))
    if missing:  # transformers draws them at random and goes on
        raise WeightsError(
            f"The weights in {folder} lack {missing[0]} (and {len(missing) - 1} others), so they are of another architecture "
            "than its config.json; download or save the model again."
        )
    return network


def name_of(folder: Path) -> str:
    """The repository of a folder in the hub's cache, else the folder's name."""
    part = next((part for part in folder.parts if part.startswith("models--")), "")
    return part.removeprefix("models--").replace("--", "/") or folder.name


def digest_of(folder: Path) -> str:
    """12 digits of the SHA-256 of a folder's weights, or of the list of their parts."""
    weights = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    return file_digest(weights)[:12] if weights else ""


@contextlib.contextmanager
def building() -> Iterator[None]:
    """One network of transformers at a time: while it builds one it changes itself, and torch's default dtype, for all threads.

    What other threads make meanwhile keeps its dtype.
    """
    from transformers import modeling_utils

    from modalities.loading.own_dtype import own_dtype

    with BUILDING:
        before = modeling_utils.local_torch_dtype
        modeling_utils.local_torch_dtype = own_dtype
        try:
            yield
        finally:
            modeling_utils.local_torch_dtype = before


@contextlib.contextmanager
def loading_errors(what: str) -> Iterator[None]:
    """Turn what transformers raises at a damaged or foreign folder into one sentence."""
    from safetensors import SafetensorError

    wrong = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, EOFError)
    try:
        yield
    except (SafetensorError, pickle.UnpicklingError, *wrong) as error:
        if is_out_of_memory(error):  # the folder is whole: whoever loads it may make room and try again
            raise
        raise WeightsError(f"{what} ({short(error)}); download or save the model again.") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars and reports of loading: what matters of them is checked and said."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def short(error: Exception) -> str:
    """The first sentence of an error, short."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[.!?])\s", text)[0][:200].rstrip(".")
