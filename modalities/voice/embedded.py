"""Voice: where in a clip somebody speaks, and which emotion each window's speech sounds like.

Speech is found first (Silero VAD, its packaged weights); a window with less than `SPEECH_NEEDED` seconds of it is absent.
From each other window the span from its first to its last speech is heard: here, as log-mel spectrum and prosody, by a small
network of ours (`modalities/voice/network.py`), and by a linear layer over what an encoder of speakers holds of it
(`modalities/voice/speaker.py`); or by a large one (`modalities/voice/audio_classifier.py`,
`speech_encoder.py`), which share all the rest. Sound is read window by window: memory does not grow with the clip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.errors import WeightsError
from data.scores import Scores, Source
from data.windows import Cut, Windows
from modalities.loading.batching import Batches, in_batches
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from torch import nn

    from modalities.speech.vad_network import SpeechNetwork
    from modalities.voice.network import SpeechFeatures, VoiceNetwork
    from modalities.voice.speaker import SpeakerStates
from modalities.speech.detect import SPEECH_NEEDED, Wave, load_detector
from modalities.speech.windows import BATCH, AudioScores, Heard, Hearing, gathered, recognise_with, score_audio_with


@dataclass(frozen=True)
class Voice:
    """A loaded voice model: speech detector; the network and its features; the encoder of speakers and the layer over its states;
    temperature, centroids [7, D], and what it is."""

    detector: "SpeechNetwork"
    features: "SpeechFeatures"
    network: "VoiceNetwork"
    speaker: "SpeakerStates"
    layer: "nn.Linear"
    temperature: float
    centroids: NDArray[np.float32]
    source: Source
    device: str = "cpu"


def load(path: Path | None = None, device: str = "cpu") -> Voice:
    """Load the voice model from `path` (default: the shipped weights); WeightsError when it is unusable."""
    path = path or WEIGHTS_FOLDER / "voice.safetensors"
    checkpoint = load_checkpoint(path)
    try:
        features, network = _own(checkpoint)
        speaker, layer = _encoder(checkpoint)
        temperature, centroids = float(checkpoint.settings["temperature"]), checkpoint.tensors["centroids"].float().numpy()
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold a voice model of this version; "
                           "restore the shipped file or run `dyad train voice`.") from error
    source = Source("embedded", "network on log-mel and prosody, layer over a speaker encoder", checkpoint.revision,
                    f"Silero VAD, windows with {SPEECH_NEEDED} s of speech or more, 16 kHz mono, normalised per window")
    return Voice(load_detector().to(device), features.eval().to(device), network.eval().to(device), speaker.eval().to(device),
                 layer.eval().to(device), temperature, centroids, source, device)


def _own(checkpoint: Checkpoint) -> tuple["SpeechFeatures", "VoiceNetwork"]:
    from modalities.voice.network import SpeechFeatures, VoiceNetwork

    features, network = SpeechFeatures(), VoiceNetwork(**checkpoint.settings["network"])
    features.load_state_dict({"mel": checkpoint.tensors["mel"].float()})
    network.load_state_dict({key: value.float() if value.is_floating_point() else value
                             for key, value in checkpoint.network().items()})
    return features, network


def _encoder(checkpoint: Checkpoint) -> tuple["SpeakerStates", "nn.Linear"]:
    from torch import nn

    from modalities.voice.speaker import SpeakerStates, unpacked

    classes, width = checkpoint.tensors["layer.weight"].shape
    speaker, layer = SpeakerStates(), nn.Linear(width, classes)
    named = checkpoint.tensors.items()
    speaker.load_state_dict(unpacked({key[8:]: value for key, value in named if key.startswith("speaker.")}))
    layer.load_state_dict({key[6:]: value for key, value in named if key.startswith("layer.")})
    return speaker, layer


def recognise(
    model: Voice, audio: Path | None, windows: Windows, *, batches: Batches = in_batches, batch: int = BATCH
) -> Scores:
    """Scores of a clip's windows by our own network; see `recognise_with`."""
    return recognise_with(model.detector, hear_batch, model, model.source, audio, windows, batches=batches, batch=batch)


def score_audio(
    model: Voice, files: Sequence[Path], cut: Cut, *, batches: Batches = in_batches, batch: int = BATCH
) -> AudioScores:
    """Probabilities of audio files by our own network; see `score_audio_with`."""
    return score_audio_with(model.detector, hear_batch, model, files, cut, batches=batches, batch=batch)


def hear(model: Voice, utterances: Iterable[Wave]) -> Hearing:
    """Probabilities and embeddings of utterances (float, 16 kHz) by our own network."""
    return gathered(hear_batch(model, list(utterances)))


def hear_batch(model: Voice, waves: list[Wave]) -> list[Heard]:
    """Our own network's answers, one utterance after another, since each has its own length."""
    import torch

    from modalities.voice.speaker import both

    answers = []
    with torch.inference_mode():
        for wave in waves:
            samples = torch.from_numpy(wave).to(model.device)
            logits, embedding = model.network(model.features(samples)[None])
            logits = both(logits[0], model.layer(model.speaker(samples))) / model.temperature
            answers.append(Heard(logits.softmax(-1).cpu().numpy(), embedding.cpu().numpy()[0]))
    return answers
