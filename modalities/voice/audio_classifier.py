"""Voice by an audio classifier of transformers: wav2vec2, WavLM, HuBERT, Whisper's encoder and others with emotion labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.given_files import GivenFile
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Cut, Windows
from modalities.label_maps import basic_matrix, label_names, missing_note, to_basic
from modalities.loading.batching import Batches, in_batches
from modalities.loading.devices import precision_of
from modalities.loading.pretrained import digest_of, load_config, name_of
from modalities.speech.detect import SPEECH_NEEDED, Wave, load_detector
from modalities.speech.windows import BATCH, AudioScores, Heard, recognise_with, score_audio_with
from modalities.voice.speech_models import (
    Inputs,
    fixed_length,
    frames_mask,
    inputs_of,
    load_extractor,
    load_speech_network,
    settle,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from modalities.speech.vad_network import SpeechNetwork


@dataclass(frozen=True)
class AudioClassifier:
    """A loaded classifier: network, preprocessing, what its labels mean [L, 7], and what it is.

    `padded`: utterances of different lengths share a batch (not on a CPU, which padding costs more than larger batches gain:
    1.3 times the work in a measured case). `seconds`: the length each is cut or filled to; None: its own.
    """

    network: Any
    extractor: Any
    matrix: NDArray[np.float32]
    detector: "SpeechNetwork"
    source: Source
    device: str
    dtype: "torch.dtype"
    padded: bool
    seconds: float | None = None


def load_audio_classifier(
    folder: Path, *, labels: Path | None = None, seconds: float | None = None, device: str = "cpu", precision: Precision = "auto"
) -> AudioClassifier:
    """Load a folder as `save_pretrained` writes it: config.json with id2label, preprocessor_config.json, weights.

    `labels` is a table that goes before the known meanings of labels (see `label_maps.basic_matrix`, whose InputError prints
    the table to fill in). With `seconds` every utterance is cut, or filled with zeros, to that length, for classifiers that
    were trained so. WeightsError when the folder does not hold such a model, or not all of its weights.
    """
    from modalities.voice.padded_speech import bears_padding, keep_last_state

    config, dtype = load_config(folder), precision_of(device, precision)
    matrix = basic_matrix(label_names(config.id2label), str(folder), labels)
    extractor, network = load_extractor(folder), load_speech_network("AutoModelForAudioClassification", folder)
    network = settle(network, device, dtype)
    keep_last_state(body_of(network))
    heard = f"{seconds:g} s, cut or filled" if seconds else "speech from its first to its last"
    notes = [f"Silero VAD, windows with {SPEECH_NEEDED} s of speech or more, 16 kHz mono, {heard}", missing_note(matrix)]
    source = Source("transformers", name_of(folder), digest_of(folder), "; ".join(note for note in notes if note))
    detector, padded = load_detector().to(device), bears_padding(config) and device != "cpu"
    return AudioClassifier(network, extractor, matrix, detector, source, device, dtype, padded, seconds)


def body_of(network: Any) -> Any:
    """The part of a classifier that gives hidden states, below its head."""
    body = network.base_model
    return network.encoder if body is network else body


def recognise(
    model: AudioClassifier, audio: Path | None, windows: Windows, *, batches: Batches = in_batches, batch: int = BATCH
) -> Scores:
    """Scores of a clip's windows from its sound; see `voice.recognise_with`. `features` are means of the last hidden states."""
    return recognise_with(model.detector, hear, model, model.source, audio, windows, batches=batches, batch=batch)


def score_audio(
    model: AudioClassifier, files: Sequence[Path | GivenFile], cut: Cut, *, batches: Batches = in_batches, batch: int = BATCH
) -> AudioScores:
    """Probabilities of audio files; see `voice.score_audio_with`."""
    return score_audio_with(model.detector, hear, model, files, cut, batches=batches, batch=batch)


def hear(model: AudioClassifier, waves: list[Wave]) -> list[Heard]:
    """What the classifier hears in each utterance (float32, 16 kHz); an answer does not depend on the others in the batch."""
    import torch

    if model.seconds:
        waves = [fixed_length(wave, model.seconds) for wave in waves]
    answers: dict[int, Heard] = {}
    with torch.inference_mode():
        for inputs in inputs_of(model.extractor, waves, model.padded, model.device, model.dtype):
            rows = map(Heard, *_answers(model, inputs))
            answers |= dict(zip(inputs.places, rows, strict=True))
    return [answers[place] for place in range(len(waves))]


def _answers(model: AudioClassifier, inputs: Inputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities [B, 7] and mean hidden states [B, D] of one batch, in float32."""
    from modalities.voice.padded_speech import one_pass

    with one_pass(inputs.samples) as this:
        logits = model.network(**inputs.arguments).logits.float()
    features = _mean(this.states[-1], frames_mask(model.network, this.states[-1].shape[1], inputs))
    return to_basic(logits.softmax(-1).cpu().numpy(), model.matrix), features.cpu().numpy()


def _mean(states: "Tensor", mask: "Tensor | None") -> "Tensor":
    """Means over time [B, D] of hidden states [B, T, D], padding left out."""
    if mask is None:
        return states.float().mean(1)
    return (states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
