"""Faces and speech as embeddings in which one person's are near each other."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.errors import WeightsError
from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint
from modalities.loading.side_by_side import one_thread_each
from modalities.people.turns import Embeddings, Turn, group_voices, turns_of
from modalities.speech.detect import SAMPLE_RATE, Segments, find_speech, open_audio, read_blocks

if TYPE_CHECKING:
    from modalities.people.networks import FaceNetwork, VoiceNetwork
    from modalities.speech.vad_network import SpeechNetwork

WEIGHTS = WEIGHTS_FOLDER / "people.safetensors"
WINDOW, HOP, BATCH = 1.6, 0.8, 16
"""Seconds of speech that are heard at once, from one's start to the next at most, and how many of them or of faces at once."""


@dataclass(frozen=True)
class Recogniser:
    """What tells people apart: the networks of faces and voices, the speech detector, and `revision`, digits of the weights."""

    faces: "FaceNetwork"
    voices: "VoiceNetwork"
    detector: "SpeechNetwork"
    revision: str
    device: str = "cpu"


def load(path: Path = WEIGHTS, device: str = "cpu") -> Recogniser:
    """Load the networks; WeightsError when the file is unusable."""
    from modalities.people.networks import FaceNetwork, VoiceNetwork
    from modalities.speech.detect import load_detector

    checkpoint, faces, voices = load_checkpoint(path), FaceNetwork(), VoiceNetwork()
    try:
        tensors = checkpoint.tensors
        for prefix, network in (("face.", faces), ("voice.", voices)):
            network.load_state_dict({key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)})
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold the networks of this version ({error}); restore the shipped file.") from error
    return Recogniser(faces.eval().to(device), voices.eval().to(device), load_detector().to(device), checkpoint.revision, device)


def embed_faces(model: Recogniser, crops: Iterable[NDArray[np.uint8]]) -> Embeddings:
    """Embeddings [M, 1024] of face crops, RGB [b, S, S, 3] at a time."""
    import torch

    found = [np.zeros((0, 1024), np.float32)]
    with torch.inference_mode():
        for batch in crops:
            for first in range(0, len(batch), BATCH):
                pixels = torch.from_numpy(batch[first : first + BATCH]).to(model.device).permute(0, 3, 1, 2).float()
                found.append(model.faces(pixels).cpu().numpy())
    return np.concatenate(found)


def cut_speech(segments: Segments, window: float = WINDOW, hop: float = HOP) -> list[tuple[int, int]]:
    """First and last sample of the windows that are heard in segments of speech (s): as many as lie at most `hop` apart."""
    spans = []
    for start, end in segments:
        count = int(np.ceil(max(end - start - window, 0) / hop - 1e-9)) + 1
        for begin in np.linspace(start, max(end - window, start), count):
            spans.append((round(begin * SAMPLE_RATE), round(min(begin + window, end) * SAMPLE_RATE)))
    return spans


def embed_speech(model: Recogniser, audio: Path, spans: list[tuple[int, int]]) -> Embeddings:
    """Embeddings [N, 512] of spans of samples of a 16 kHz mono WAV; memory does not grow with its length but for them."""
    import torch

    found = np.zeros((len(spans), 512), np.float32)
    by_length: dict[int, list[int]] = {}
    for number, (first, last) in enumerate(spans):
        by_length.setdefault(last - first, []).append(number)
    with open_audio(audio) as file, torch.inference_mode(), one_thread_each(model.device):
        for numbers in by_length.values():
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                waves = []
                for number in part:
                    file.seek(spans[number][0])
                    waves.append(file.read(spans[number][1] - spans[number][0], dtype="float32"))
                length = min(map(len, waves))  # the last one may reach a sample beyond the end
                stacked = torch.from_numpy(np.stack([wave[:length] for wave in waves])).to(model.device)
                found[part] = model.voices(stacked).cpu().numpy()
    return found


def diarise(model: Recogniser, audio: Path, speakers: int | None = None) -> list[Turn]:
    """Who speaks when in a 16 kHz mono WAV: turns in order of time, speakers named '1', '2' ... in order of appearance.

    Who speaks at the same time as somebody else, only one of them is heard. `speakers`: how many there are, where that is known.
    """
    segments = find_speech(model.detector, read_blocks(audio))
    spans = cut_speech(segments)
    voices = embed_speech(model, audio, spans)
    windows = np.array(spans, np.float64).reshape(-1, 2) / SAMPLE_RATE
    return turns_of(segments, windows, voices, group_voices(voices, speakers=speakers))
