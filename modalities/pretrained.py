"""What every folder of transformers needs when it is loaded: silence, errors in sentences, a name, and a digest."""

import contextlib
import hashlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

from data.errors import DyadError, WeightsError
from data.files import file_digest
from modalities.batching import is_out_of_memory

WEIGHT_SUFFIXES = (".safetensors", ".bin")


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No bars and reports of transformers: what matters of them is checked by whoever loads, and said in a sentence."""
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


@contextlib.contextmanager
def failing_as(what: str, remedy: str) -> Iterator[None]:
    """Turn what transformers raises at a damaged or foreign folder into WeightsError "`what` (its words); `remedy`."."""
    from safetensors import SafetensorError

    foreign = (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError, EOFError)
    try:
        with quiet_loading():
            yield
    except DyadError:
        raise
    except (SafetensorError, pickle.UnpicklingError, *foreign) as error:
        if is_out_of_memory(error):  # nothing is wrong with the folder
            raise
        raise WeightsError(f"{what} ({in_short(error)}); {remedy}.") from error


def in_short(error: Exception) -> str:
    """The first sentence of an error, on one line, 200 characters at most."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[.!?])\s", text)[0][:200].rstrip(". ")


def folder_digest(folder: Path) -> str:
    """12 digits that depend on the configuration and all weights in a folder."""
    files = [file for file in sorted(folder.iterdir()) if file.name == "config.json" or file.suffix in WEIGHT_SUFFIXES]
    return hashlib.sha256("".join(file_digest(file) for file in files).encode()).hexdigest()[:12]


def folder_name(folder: Path) -> str:
    """The repository of a folder in the hub's cache (`owner/name`), else the folder's own name."""
    part = next((part for part in folder.parts if part.startswith("models--")), "")
    return part.removeprefix("models--").replace("--", "/") or folder.name
