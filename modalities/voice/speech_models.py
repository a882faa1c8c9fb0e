"""Speech networks in the layout of transformers: loaded from local folders, and fed with utterances in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import WeightsError
from modalities.loading.pretrained import load_network, loading_errors, quiet
from modalities.speech.detect import SAMPLE_RATE, Wave

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


def load_speech_network(kind: str, folder: Path) -> Any:
    """A float32 network of transformers' class `kind` with all its weights; see `pretrained.load_network`."""
    import torch

    return load_network(kind, folder, torch.float32, UNUSED)


def load_extractor(folder: Path) -> Any:
    """The preprocessing that `folder`/preprocessor_config.json describes; WeightsError when there is none for 16 kHz."""
    from transformers import AutoFeatureExtractor

    with loading_errors(f"The preprocessing in {folder} (preprocessor_config.json) is missing or unreadable"), quiet():
        extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if (rate := getattr(extractor, "sampling_rate", None)) != SAMPLE_RATE:
        raise WeightsError(f"The model in {folder} hears sound at {rate} Hz, and Dyad gives {SAMPLE_RATE}; choose another model.")
    return extractor


def settle(network: Any, device: str, dtype: "torch.dtype") -> Any:
    """The network, prepared to answer on `device` in `dtype`, frozen."""
    from modalities.voice.padded_speech import prepare

    prepare(network)
    return network.to(device=device, dtype=dtype).eval().requires_grad_(False)


def is_spectral(extractor: Any) -> bool:
    """True for Whisper's preprocessing, which makes a log-mel spectrum of one fixed length."""
    return type(extractor).__name__ == "WhisperFeatureExtractor"


def fixed_length(wave: Wave, seconds: float) -> Wave:
    """The utterance cut, or filled with zeros at its end, to a length."""
    count = round(seconds * SAMPLE_RATE)
    return np.pad(wave[:count], (0, max(0, count - len(wave))))


def spectra(extractor: Any, waves: Sequence[Wave], length: int, device: str) -> "Tensor":
    """Log-mel spectra [B, M, length // 160] (float32) of utterances as Whisper's preprocessing makes them of `length` samples.

    The usual ones are computed on the device and stay there; transformers' own way fills, sends and fetches 30 s an utterance.
    """
    import torch

    from modalities.speech.log_mel import FFT_SIZE, STEP, log_mel, on_device

    plain = (extractor.n_fft, extractor.hop_length, extractor.padding_value) == (FFT_SIZE, STEP, 0.0) and not extractor.dither
    if plain:
        filters = torch.from_numpy(np.asarray(extractor.mel_filters.T, np.float32)).to(device)
        with torch.inference_mode():
            return log_mel(on_device(waves, length, device), filters)
    made: Tensor = extractor(
        list(waves), sampling_rate=SAMPLE_RATE, return_tensors="pt", device=device, max_length=length
    )["input_features"]
    return made.to(device)


def inputs_of(extractor: Any, waves: Sequence[Wave], padded: bool, device: str, dtype: "torch.dtype") -> Iterator[Inputs]:
    """The utterances as batches: one batch if `padded` (with a mask, see `bears_padding`), else one for each length."""
    import torch

    if is_spectral(extractor):
        mel = spectra(extractor, waves, extractor.n_samples, device)
        yield Inputs(list(range(len(waves))), {"input_features": mel.to(dtype)})
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
