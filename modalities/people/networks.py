"""The two networks that tell people apart: one by a face, one by a voice.

The face's is the MobileNet of HSE-FaceRec (trained on VGGFace2) up to its pooling; the voice's is GE2E's encoder (Wan et al.,
arXiv 1710.10467) as the package Resemblyzer has it, followed by a whitening of what one speaker's voice varies in.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

STEM, WIDTHS = 32, (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
FACE_SIDE = 160
"""Pixels of a face's side as the network sees it: at 112, the crops' own, 95 % of pairs are told right, at 160 and 224 99 %."""
FACE_MEAN = (103.939, 116.779, 123.68)
"""Blue, green and red of the mean image that is taken away."""
BANDS, WIDTH, LAYERS = 40, 256, 3
SAMPLE_RATE, FFT_SIZE, STEP = 16_000, 400, 160
LEVEL = 10 ** (-30 / 20)
"""Root mean square to which speech is brought: -30 dB, as the encoder was trained."""


class FaceNetwork(nn.Module):
    """Faces RGB [B, 3, S, S] in 0..255 -> embeddings [B, 1024] of length 1; a cosine says how alike two are."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [nn.Conv2d(3, STEM, 3, 2)], STEM
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            layers += [nn.Conv2d(channels, channels, 3, stride, 1 if stride == 1 else 0, groups=channels)]
            layers += [nn.Conv2d(channels, width, 1)]
            channels = width
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", torch.tensor(FACE_MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings of faces of any size."""
        x = F.interpolate(faces, size=(FACE_SIDE, FACE_SIDE), mode="bilinear", align_corners=False).flip(1) - self.mean
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            if layer.stride[0] == 2:  # TensorFlow, where it was trained, pads below and to the right only
                x = F.pad(x, (0, 1, 0, 1))
            x = F.relu6(layer(x), inplace=True)
        return F.normalize(x.mean((2, 3)), dim=1)


class VoiceNetwork(nn.Module):
    """Speech [B, T] at 16 kHz, all of one length -> embeddings [B, 512] of length 1; a cosine says how alike two are."""

    mel: Tensor
    centre: Tensor
    whitening: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", torch.zeros(BANDS, FFT_SIZE // 2 + 1))
        self.register_buffer("centre", torch.zeros(2 * WIDTH))
        self.register_buffer("whitening", torch.eye(2 * WIDTH))
        self.recurrent = nn.LSTM(BANDS, WIDTH, LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def power(self, waves: Tensor) -> Tensor:
        """Power of the mel bands [B, F, 40], a frame each 10 ms, of waves brought to one level."""
        waves = waves * (LEVEL / waves.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6))
        window = torch.hann_window(FFT_SIZE, device=waves.device)
        spectrum = torch.stft(waves, FFT_SIZE, STEP, window=window, pad_mode="constant", return_complex=True)
        return (self.mel @ spectrum.abs().square()).transpose(1, 2)

    def states(self, waves: Tensor) -> Tensor:
        """Before the whitening [B, 512]: what the encoder says at the end, and what it says of its mean state."""
        states, (last, _) = self.recurrent(self.power(waves))
        said = [F.normalize(F.relu(self.linear(state)), dim=1) for state in (last[-1], states.mean(1))]
        return F.normalize(torch.cat(said, 1), dim=1)

    def forward(self, waves: Tensor) -> Tensor:
        """Embeddings, whitened so that differences between two utterances of one speaker count less."""
        return F.normalize((self.states(waves) - self.centre) @ self.whitening, dim=1)
