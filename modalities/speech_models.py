"""Speech networks in the layout of transformers: loaded from local folders, and fed with utterances in batches."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import WeightsError
from data.files import file_digest
from modalities.voice import SAMPLE_RATE, Wave

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNUSED = ("masked_spec_embed",)
"""Parameters of training that a checkpoint may lack."""


@dataclass(frozen=True)
class Inputs:
    """One batch for a network: what it is called with, and which of the utterances it holds."""

    places: list[int]
    arguments: dict[str, "Tensor"]
    samples: "Tensor | None" = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and reports: what is wrong with a checkpoint is said by our own errors."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def load_config(folder: Path) -> Any:
    """The configuration of a network from `folder`/config.json; WeightsError when it is missing or unreadable."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise WeightsError(f"There is no config.json in {folder}; name a folder as save_pretrained writes it.")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder / 'config.json'} is not the configuration of a model that transformers knows "
                           f"({_short(error)}); copy or download the model again.") from error


def load_pretrained(kind: str, folder: Path) -> Any:
    """A float32 network of transformers' class `kind` with all its weights from a local folder.

    WeightsError when weights are missing, damaged, of another shape, or when some of them would start at random.
    """
    import pickle

    import transformers
    from safetensors import SafetensorError

    what = f"{folder} does not hold a usable {kind.removeprefix('Auto')}"
    remedy = "copy or download the model again, or name another folder."
    try:
        with _quiet():
            network, report = getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, dtype="float32", output_loading_info=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError, SafetensorError,
            pickle.UnpicklingError) as error:
        raise WeightsError(f"{what} ({_short(error)}); {remedy}") from error
    if missing := sorted(key for key in report["missing_keys"] if not key.endswith(UNUSED)):
        raise WeightsError(f"{what}: its weights lack {_some(missing)}; {remedy}")
    return network


def load_extractor(folder: Path) -> Any:
    """The preprocessing that `folder`/preprocessor_config.json describes; WeightsError when there is none for 16 kHz."""
    from transformers import AutoFeatureExtractor

    try:
        with _quiet():
            extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"The preprocessing of the speech model in {folder} is missing or unreadable ({_short(error)}); "
                           "put the preprocessor_config.json of its repository there.") from error
    if (rate := getattr(extractor, "sampling_rate", None)) != SAMPLE_RATE:
        raise WeightsError(f"The model in {folder} hears sound at {rate} Hz, and Dyad gives {SAMPLE_RATE}; choose another model.")
    return extractor


def settle(network: Any, device: str, dtype: "torch.dtype") -> Any:
    """The network, prepared to answer on `device` in `dtype`, frozen."""
    from modalities.networks.padded_speech import prepare

    prepare(network)
    return network.to(device=device, dtype=dtype).eval().requires_grad_(False)


def folder_digest(folder: Path) -> str:
    """12 digits that depend on the configuration and the weights in a folder."""
    files = [file for file in sorted(folder.iterdir()) if file.name == "config.json" or file.suffix in (".safetensors", ".bin")]
    return hashlib.sha256("".join(file_digest(file) for file in files).encode()).hexdigest()[:12]


def is_spectral(extractor: Any) -> bool:
    """True for Whisper's preprocessing, which makes a log-mel spectrum of one fixed length."""
    return type(extractor).__name__ == "WhisperFeatureExtractor"


def fixed_length(wave: Wave, seconds: float) -> Wave:
    """The utterance cut, or filled with zeros at its end, to a length."""
    count = round(seconds * SAMPLE_RATE)
    return np.pad(wave[:count], (0, max(0, count - len(wave))))


def inputs_of(extractor: Any, waves: Sequence[Wave], padded: bool, device: str, dtype: "torch.dtype") -> Iterator[Inputs]:
    """The utterances as batches: one batch if `padded` (with a mask, see `bears_padding`), else one for each length."""
    import torch

    if is_spectral(extractor):
        mel = extractor(list(waves), sampling_rate=SAMPLE_RATE, return_tensors="pt", device=device)["input_features"]
        yield Inputs(list(range(len(waves))), {"input_features": mel.to(device, dtype)})
        return
    rows = [extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt") for wave in waves]
    values = [row["input_values"][0] for row in rows] if padded else []
    if padded:
        yield padded_inputs(values, device, dtype)
        return
    names = [name for name in extractor.model_input_names if name in rows[0]]
    shapes = [tuple(row[names[0]].shape) for row in rows]
    for shape in dict.fromkeys(shapes):
        places = [place for place, own in enumerate(shapes) if own == shape]
        joined = {name: torch.cat([rows[place][name] for place in places]).to(device) for name in names}
        yield Inputs(places, {name: value.to(dtype) if value.is_floating_point() else value for name, value in joined.items()})


def padded_inputs(values: Sequence["Tensor"], device: str, dtype: "torch.dtype") -> Inputs:
    """Prepared waves [samples] in one batch, with a mask unless all are of one length."""
    import torch

    lengths = torch.tensor([len(value) for value in values])
    joined = torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True).to(device, dtype)
    places = list(range(len(values)))
    if len(set(lengths.tolist())) == 1:
        return Inputs(places, {"input_values": joined})
    mask = (torch.arange(joined.shape[1]) < lengths[:, None]).long()
    return Inputs(places, {"input_values": joined, "attention_mask": mask.to(device)}, lengths.to(device))


def frames_mask(network: Any, length: int, inputs: Inputs) -> "Tensor | None":
    """Which of `length` hidden frames of each utterance [B, T] hold no padding; None when all do."""
    if "attention_mask" not in inputs.arguments or not hasattr(network, "_get_feature_vector_attention_mask"):
        return None
    found: Tensor = network._get_feature_vector_attention_mask(length, inputs.arguments["attention_mask"])
    return found


def _short(error: Exception) -> str:
    """The first sentence of an error, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
