"""What the lower blocks of Whisper's encoder hold of a voice: mean and deviation over time, without padding to 30 s.

The last blocks know what is said and forget how: on unseen corpora the second and the third together say most of an emotion.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import WeightsError
from data.precision import Precision
from modalities.loading.spared import without_numba
from modalities.loading.unfilled import unfilled
from modalities.model_store.local import find_whisper, missing_sentence
from modalities.speech.log_mel import log_mel
from modalities.transcript.whisper import place

if TYPE_CHECKING:
    from whisper.model import AudioEncoder

BLOCKS = (2, 3)
"""The blocks whose states are taken, counted from 1."""
MODEL = "whisper-base"
"""The checkpoint whose states the shipped layer knows."""
LONGEST = 8 * 16_000
"""Samples heard of an utterance at most."""
PEAK = 0.7
"""To which an utterance is brought: Whisper's spectrogram keeps the level."""


class WhisperStates(nn.Module):
    """Mean and deviation over time after the blocks 2 and 3, computed in the precision of the encoder's weights.

    `fingerprint`: twelve digits that tell this encoder from others, the same for every form in which its checkpoint is kept.
    """

    mel: Tensor

    def __init__(self, encoder: "AudioEncoder", fingerprint: str) -> None:
        super().__init__()
        from whisper.audio import mel_filters

        self.encoder, self.fingerprint = encoder, fingerprint
        self.register_buffer("mel", mel_filters("cpu", encoder.conv1.in_channels).clone(), persistent=False)

    @property
    def width(self) -> int:
        """Numbers of one utterance."""
        return 2 * len(BLOCKS) * int(self.encoder.conv1.out_channels)

    def forward(self, wave: Tensor) -> Tensor:
        """States [width] of a wave [samples] at 16 kHz."""
        wave = wave[:LONGEST]
        wave = wave * (PEAK / wave.abs().max().clamp_min(1e-6))
        dtype = self.encoder.conv1.weight.dtype
        x = F.gelu(self.encoder.conv1(log_mel(wave[None], self.mel).to(dtype)))
        x = F.gelu(self.encoder.conv2(x)).transpose(1, 2)
        x = (x + self.encoder.positional_embedding[: x.shape[1]]).to(dtype)
        taken = list[Tensor]()
        for number, block in enumerate(self.encoder.blocks, 1):
            x = block(x)
            if number in BLOCKS:
                taken += [x[0].float().mean(0), x[0].float().std(0)]
        return torch.cat(taken)


def find_encoder() -> Path:
    """The checkpoint of Whisper base on this machine; WeightsError with the command that fetches it where there is none."""
    found = find_whisper(name=MODEL).found
    if found is None:
        raise WeightsError(" ".join(missing_sentence(MODEL)))
    return found.path


def load_states(checkpoint: Path, device: str = "cpu", precision: Precision = "float32") -> WhisperStates:
    """The encoder as far as its third block, out of a Whisper checkpoint (.safetensors as Dyad converts it, or OpenAI's .pt).

    `precision` as in `modalities.transcript.whisper.load`. WeightsError when the file is none.
    """
    with without_numba():
        from whisper.model import AudioEncoder

    try:
        dims, tensors = _read(checkpoint)
        with unfilled():
            encoder = AudioEncoder(dims["n_mels"], dims["n_audio_ctx"], dims["n_audio_state"], dims["n_audio_head"], max(BLOCKS))
        wanted = {name: tensors[f"encoder.{name}"].float() for name in encoder.state_dict()}
        encoder.load_state_dict(wanted)
    except (KeyError, ValueError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        said = str(error).strip().splitlines()
        reason = said[0][:120] if said else type(error).__name__
        raise WeightsError(f"{checkpoint} is not a readable Whisper checkpoint ({reason}); copy or download it again.") from error
    first = encoder.conv1.weight.detach().half().numpy()
    place(encoder, device, precision)
    return WhisperStates(encoder, hashlib.sha256(first.tobytes()).hexdigest()[:12]).to(device)


def _read(checkpoint: Path) -> tuple[Mapping[str, int], Mapping[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if checkpoint.suffix != ".safetensors":
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return content["dims"], content["model_state_dict"]
    try:
        with safe_open(checkpoint, framework="pt") as opened:
            names = [name for name in opened.keys() if name.startswith("encoder.")]  # noqa: SIM118 (not a dict)
            return json.loads((opened.metadata() or {})["dims"]), {name: opened.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
