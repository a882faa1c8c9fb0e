"""A network that tells speakers apart, as far as its second layer: what it holds of an utterance says much of the emotion too.

The encoder is GE2E's (Wan et al. 2018, arXiv 1710.10467) as the package Resemblyzer has it: 40 mel bands, 10 ms a frame, three
recurrent layers, of which the third, which forgets how something is said, is left out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from modalities.speech.detect import SAMPLE_RATE

BANDS, WIDTH, LAYERS = 40, 256, 2
FFT_SIZE, STEP = 400, 160
LEVEL = 10 ** (-30 / 20)
"""Root mean square to which an utterance is brought: -30 dB, as the encoder was trained."""
LARGEST = 127
"""Of the integers that the weights are kept as."""


class SpeakerStates(nn.Module):
    """Mean and deviation over time of the second layer's states."""

    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", torch.zeros(BANDS, FFT_SIZE // 2 + 1))
        self.recurrent = nn.LSTM(BANDS, WIDTH, LAYERS, batch_first=True)

    def set_filters(self) -> None:
        """Take the mel filters from librosa; a model that is loaded has them among its weights."""
        from librosa.filters import mel

        self.mel.copy_(torch.from_numpy(mel(sr=SAMPLE_RATE, n_fft=FFT_SIZE, n_mels=BANDS)))

    def power(self, wave: Tensor) -> Tensor:
        """Power of the mel bands [T, 40] of a wave [samples] at 16 kHz, as librosa's `melspectrogram`; not its logarithm."""
        wave = wave * (LEVEL / wave.square().mean().sqrt().clamp_min(1e-6))
        window = torch.hann_window(FFT_SIZE, device=wave.device)
        spectrum = torch.stft(wave, FFT_SIZE, STEP, window=window, pad_mode="constant", return_complex=True)
        return (self.mel @ spectrum.abs().square()).T

    def forward(self, wave: Tensor) -> Tensor:
        """Statistics [512] of a wave [samples] at 16 kHz: the means of the 256 states, then their deviations."""
        states, _ = self.recurrent(self.power(wave)[None])
        return torch.cat([states[0].mean(0), states[0].std(0, correction=0)])


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as int8 with a scale for each row (`NAME.scale`), a quarter of their size; biases float16, others as they are."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if ".weight_" in name:
            scale = (value.abs().amax(1) / LARGEST).clamp_min(1e-12)
            found |= {name: (value / scale[:, None]).round().to(torch.int8), f"{name}.scale": scale}
        else:
            found[name] = value.half() if ".bias_" in name else value
    return found


def unpacked(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights that `packed` kept."""
    scales = {name.removesuffix(".scale"): value for name, value in kept.items() if name.endswith(".scale")}
    rest = {name: value for name, value in kept.items() if not name.endswith(".scale")}
    return {name: value.float() * scales[name][:, None] if name in scales else value.float() for name, value in rest.items()}
