"""Voice by a speech encoder (WavLM, HuBERT, wav2vec2, Whisper's) with a head: one of RAS (arXiv 2507.02205), or one of ours."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.files import file_digest
from data.given_files import GivenFile
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Cut, Windows
from modalities.loading.batching import Batches, in_batches
from modalities.loading.checkpoint import load_checkpoint
from modalities.loading.devices import precision_of
from modalities.loading.pretrained import building, load_config
from modalities.loading.state_dicts import read_state_dict
from modalities.speech.detect import SAMPLE_RATE, SPEECH_NEEDED, Wave, load_detector
from modalities.speech.windows import BATCH, AudioScores, Heard, recognise_with, score_audio_with
from modalities.voice.speech_models import (
    UNUSED,
    Inputs,
    fixed_length,
    frames_mask,
    load_extractor,
    load_speech_network,
    padded_inputs,
    settle,
    spectra,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from modalities.speech.vad_network import SpeechNetwork

SECONDS = 4.0
"""What RAS cuts or fills every window to, and what is left of the 30 s of Whisper's encoder."""
SAMPLES_A_POSITION = 320
POOLED = 4
"""Frames (20 ms) that our head hears as one."""
OURS = "speech_head"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class SpeechEncoder:
    """A frozen encoder. `extractor` is its preprocessing, None where it hears the samples as they are; `positions` Whisper's.

    `digest`: 12 digits of its vectors (biases, norms), which do not depend on how its file was written.
    """

    network: Any
    extractor: Any
    positions: int | None
    digest: str
    device: str
    dtype: "torch.dtype"


@dataclass(frozen=True)
class SpeechModel:
    """Encoder and head, and what they are. `layered`: ours, which hears the speech of a window; RAS's hear 4 s of it."""

    encoder: SpeechEncoder
    head: "nn.Module"
    layered: bool
    detector: "SpeechNetwork"
    source: Source
    temperature: float = 1.0
    centroids: NDArray[np.float32] | None = None


# ---- loading -------------------------------------------------------------------------------------------------------------


def load_speech_model(
    encoder_folder: Path, head_path: Path, *, device: str = "cpu", precision: Precision = "auto"
) -> SpeechModel:
    """Load a head (.safetensors, or .pt that holds tensors only) over the encoder of a folder of transformers.

    A checkpoint of RAS, `["model_state_dict"]` or bare, brings its own encoder's weights under `encoder.*`: then only the
    folder's config.json is used; without them, the folder's weights. Which variant it is, its keys tell. A head of ours (see
    `modalities/training/voice/speech_head.py`) needs the folder's weights and preprocessing. WeightsError for anything else.
    """
    state, settings, digest = _read(head_path)
    if settings.get("modality") == OURS:
        return _load_ours(encoder_folder, head_path, state, settings, digest, device, precision)
    inner = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    outer = {key: value for key, value in state.items() if not key.startswith("encoder.")}
    network, positions = _network(encoder_folder, inner)
    head = _ras_head(outer, positions is not None, network.config.hidden_size, head_path, encoder_folder)
    encoder = _settled(network, _spectral(network, positions), positions, device, precision)
    preprocessing = f"Silero VAD, windows with {SPEECH_NEEDED} s of speech or more, 16 kHz mono, cut or filled to {SECONDS:g} s"
    source = Source("speech encoder", f"{type(head).__name__} of RAS on {network.config.model_type}", digest, preprocessing)
    return SpeechModel(encoder, _frozen(head, device), False, load_detector().to(device), source)


def load_encoder(folder: Path, *, device: str = "cpu", precision: Precision = "auto") -> SpeechEncoder:
    """The encoder of a folder with its own weights and preprocessing; WeightsError when it holds none that is known here."""
    network, positions = _network(folder, {})
    extractor = _spectral(network, positions) if positions else load_extractor(folder)
    return _settled(network, extractor, positions, device, precision)


def _digest(network: Any) -> str:
    joined = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if value.ndim == 1 and name not in UNUSED:
            joined.update(name.encode() + value.float().cpu().numpy().tobytes())
    return joined.hexdigest()[:12]


def _read(path: Path) -> tuple[dict[str, "Tensor"], dict[str, Any], str]:
    """Tensors, settings and digest of a head's file."""
    if path.suffix == ".safetensors":
        checkpoint = load_checkpoint(path)
        return checkpoint.tensors, checkpoint.settings, checkpoint.revision
    return read_state_dict(path), {}, file_digest(path)[:12]


def _network(folder: Path, state: Mapping[str, "Tensor"]) -> tuple[Any, int | None]:
    """A float32 encoder by the folder's config, with the weights `state` or, if empty, the folder's; and its positions."""
    from modalities.voice.padded_speech import EXACT, bears_padding

    config = load_config(folder)
    if config.model_type == "whisper":
        return _whisper(folder, config, state)
    if not bears_padding(config):
        raise WeightsError(f"{folder} holds a network of the type {config.model_type}, over which no head can be put; "
                           f"name the folder of one of these types: {', '.join(EXACT)} (without adapter), whisper.")
    if not state:
        return load_speech_network("AutoModel", folder), None
    from transformers import AutoModel

    with building():
        network = AutoModel.from_config(config)
    return _filled(network, state, folder), None


def _whisper(folder: Path, config: Any, state: Mapping[str, "Tensor"]) -> tuple[Any, int]:
    """Whisper's encoder with its first positions only, which are as many as `state` has, or `SECONDS`."""
    from torch import nn
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if state:
        config.max_source_positions = len(state.get("embed_positions.weight", ())) or config.max_source_positions
        return _filled(WhisperEncoder(config), state, folder), config.max_source_positions
    network = load_speech_network("WhisperModel", folder).encoder
    positions = min(round(SECONDS * SAMPLE_RATE / SAMPLES_A_POSITION), config.max_source_positions)
    kept = nn.Embedding(positions, network.config.d_model)
    kept.load_state_dict({"weight": network.embed_positions.weight[:positions]})
    network.embed_positions = kept
    network.config.max_source_positions = positions
    return network, positions


def _filled(network: Any, state: Mapping[str, "Tensor"], folder: Path) -> Any:
    """The network with the weights of `state`, whose weight norms may have their older names."""
    newer = {key.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"): value for key, value in state.items()}
    try:
        missing, unexpected = network.load_state_dict(newer, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"The encoder in the checkpoint is not of the size that {folder / 'config.json'} describes; "
                           "name the folder of the encoder that the checkpoint was trained with.") from error
    if wrong := [key for key in [*missing, *unexpected] if key not in UNUSED]:
        raise WeightsError(f"The encoder in the checkpoint is not the {network.config.model_type} that {folder / 'config.json'} "
                           f"describes ({wrong[0]}); name the folder of the encoder that the checkpoint was trained with.")
    return network


def _ras_head(state: dict[str, "Tensor"], averaged: bool, width: int, path: Path, folder: Path) -> "nn.Module":
    from modalities.voice.speech_heads import ras_head

    try:
        head = ras_head(state, averaged)
        answer = _try(head, width)
    except (KeyError, IndexError, ValueError, RuntimeError, AssertionError) as error:
        raise WeightsError(f"{path} does not hold a head of RAS or of Dyad for an encoder of width {width} as in {folder}; "
                           "give the checkpoint and the encoder it was trained with.") from error
    if answer not in (len(BASIC_EMOTIONS), len(BASIC_EMOTIONS) + 1):
        raise WeightsError(f"The head in {path} tells {answer} classes apart, and not the seven basic emotions (and Other); "
                           "give a checkpoint trained on them in the order of RAS.")
    return head


def _try(head: "nn.Module", width: int) -> int:
    """The number of classes that a head gives to states of a width; RuntimeError or AssertionError when they do not fit."""
    import torch

    with torch.inference_mode():
        return int(head.eval()(torch.zeros(1, 6, width)).logits.shape[1])


def _load_ours(
    folder: Path, path: Path, tensors: Mapping[str, "Tensor"], settings: Mapping[str, Any], digest: str, device: str,
    precision: Precision,
) -> SpeechModel:  # fmt: skip
    from modalities.voice.speech_heads import LayeredHead

    network, positions = _network(folder, {})
    try:
        head = LayeredHead(**settings["network"])
        head.load_state_dict({key[8:]: value.float() for key, value in tensors.items() if key.startswith("network.")})
        temperature, centroids = float(settings["temperature"]), tensors["centroids"].float().numpy()
        trained_over, name = settings["encoder_digest"], settings["encoder"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold a speech head of this version; train it again.") from error
    if trained_over != _digest(network):
        raise WeightsError(f"{path} was trained over another encoder ({name}) than that in {folder}; name the folder of that "
                           "encoder, or train the head again over this one.")
    extractor = _spectral(network, positions) if positions else load_extractor(folder)
    encoder = _settled(network, extractor, positions, device, precision)
    heard = f"Silero VAD, windows with {SPEECH_NEEDED} s of speech or more, 16 kHz mono, speech from its first to its last"
    source = Source("speech encoder", f"Dyad's head on {name}", digest, heard)
    return SpeechModel(encoder, _frozen(head, device), True, load_detector().to(device), source, temperature, centroids)


def _settled(network: Any, extractor: Any, positions: int | None, device: str, precision: Precision) -> SpeechEncoder:
    dtype, digest = precision_of(device, precision), _digest(network)
    return SpeechEncoder(settle(network, device, dtype), extractor, positions, digest, device, dtype)


def _frozen(head: "nn.Module", device: str) -> "nn.Module":
    """The head, in float32 whatever the encoder's precision: it is small, and recurrent sums over 200 frames add up."""
    return head.to(device).eval().requires_grad_(False)


def _spectral(network: Any, positions: int | None) -> Any:
    """Whisper's log-mel spectrum; None for encoders that hear the samples."""
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(feature_size=network.config.num_mel_bins) if positions else None


# ---- hearing -------------------------------------------------------------------------------------------------------------


def recognise(
    model: SpeechModel, audio: Path | None, windows: Windows, *, batches: Batches = in_batches, batch: int = BATCH
) -> Scores:
    """Scores of a clip's windows from its sound; see `voice.recognise_with`."""
    return recognise_with(model.detector, hear, model, model.source, audio, windows, batches=batches, batch=batch,
                                whole=not model.layered)


def score_audio(
    model: SpeechModel, files: Sequence[Path | GivenFile], cut: Cut, *, batches: Batches = in_batches, batch: int = BATCH
) -> AudioScores:
    """Probabilities of audio files; see `voice.score_audio_with`."""
    return score_audio_with(model.detector, hear, model, files, cut, batches=batches, batch=batch, whole=not model.layered)


def hear(model: SpeechModel, waves: list[Wave]) -> list[Heard]:
    """What the model hears in each utterance (float32, 16 kHz); an answer does not depend on the others in the batch."""
    if model.layered:
        return by_length(model.encoder, waves, lambda part: _answers(model, *layered_states(model.encoder, part)))
    return _answers(model, last_states(model.encoder, waves))


def _answers(model: SpeechModel, *states: "Tensor") -> list[Heard]:
    """What the head says of the states of a batch; of eight classes the last, Other, is left out."""
    import torch

    with torch.inference_mode():
        logits, features = model.head(*states)
        probabilities = (logits.float() / model.temperature).softmax(-1)[:, : len(BASIC_EMOTIONS)]
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
    return list(map(Heard, probabilities.cpu().numpy(), features.float().cpu().numpy()))


def by_length(
    encoder: SpeechEncoder, waves: Sequence[Wave], answer: Callable[[list[Wave]], Sequence[Answer]]
) -> list[Answer]:
    """Answers to the utterances: all in one padded batch, or, on a CPU, in one for each length, which is less work there."""
    places: dict[int, list[int]] = {}
    for place, wave in enumerate(waves):
        places.setdefault(len(wave) if encoder.device == "cpu" else 0, []).append(place)
    found = {place: one for part in places.values()
             for place, one in zip(part, answer([waves[place] for place in part]), strict=True)}
    return [found[place] for place in range(len(waves))]


def last_states(encoder: SpeechEncoder, waves: Sequence[Wave]) -> "Tensor":
    """The last hidden states [B, T, D] (float32) of utterances that are cut, or filled with zeros, to one length, as in RAS."""
    import torch

    seconds = encoder.positions * SAMPLES_A_POSITION / SAMPLE_RATE if encoder.positions else SECONDS
    inputs = encoder_inputs(encoder, [fixed_length(wave, seconds) for wave in waves])
    with torch.inference_mode():
        states: Tensor = encoder.network(**inputs.arguments).last_hidden_state.float()
    return states


def layered_states(encoder: SpeechEncoder, waves: Sequence[Wave]) -> tuple["Tensor", "Tensor"]:
    """All layers' states [B, L, T, D] of utterances of any length, normalised and pooled, and the mask [B, T] of speech."""
    import torch

    from modalities.voice.padded_speech import one_pass
    from modalities.voice.speech_heads import pooled_layers

    inputs = encoder_inputs(encoder, waves)
    with torch.inference_mode(), one_pass(inputs.samples):
        states = torch.stack(encoder.network(**inputs.arguments, output_hidden_states=True).hidden_states, 1)
    mask = frames_mask(encoder.network, states.shape[2], inputs)
    if encoder.positions:
        ends = torch.tensor([-(-len(wave) // SAMPLES_A_POSITION) for wave in waves], device=states.device)
        mask = torch.arange(states.shape[2], device=states.device) < ends[:, None]
    elif mask is None:
        mask = torch.ones((len(waves), states.shape[2]), dtype=torch.bool, device=states.device)
    return pooled_layers(states, mask, POOLED)


def encoder_inputs(encoder: SpeechEncoder, waves: Sequence[Wave]) -> Inputs:
    """One batch for the encoder: spectra of its fixed length, or waves padded with a mask."""
    import torch

    if encoder.positions:
        mel = spectra(encoder.extractor, waves, encoder.positions * SAMPLES_A_POSITION, encoder.device)
        return Inputs(list(range(len(waves))), {"input_features": mel.to(encoder.dtype)})
    if encoder.extractor is None:
        return padded_inputs([torch.from_numpy(wave) for wave in waves], encoder.device, encoder.dtype)
    values = [encoder.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_values"][0] for wave in waves]
    return padded_inputs(values, encoder.device, encoder.dtype)
