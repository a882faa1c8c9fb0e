"""Whisper's log-mel spectrogram of several utterances at once, computed where they lie, and its norms in half precision."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

STEP = 160
"""Samples from one frame to the next (10 ms)."""
FFT_SIZE = 400


def on_device(waves: Sequence[NDArray[np.float32]], length: int, device: str) -> Tensor:
    """Waves cut, or followed by zeros, to one length: float32 [B, length]; only the waves themselves are sent to the device."""
    joined = torch.zeros((len(waves), length), device=device)
    for row, wave in zip(joined, waves, strict=True):
        part = np.ascontiguousarray(wave[:length], np.float32)
        row[: len(part)] = torch.from_numpy(part)
    return joined


def log_mel(waves: Tensor, filters: Tensor) -> Tensor:
    """Waves [B, T] (float32, 16 kHz) and mel filters [M, 201] -> [B, M, T // 160], floored 8 below each wave's own peak."""
    window = torch.hann_window(FFT_SIZE, device=waves.device)
    spectrum = torch.stft(waves, FFT_SIZE, STEP, window=window, return_complex=True)
    powers = spectrum[..., :-1].abs().square()
    levels = (filters @ powers.contiguous()).clamp(min=1e-10).log10()
    return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8) + 4) / 4  # as in whisper.audio, for each wave


def compute_norms_in_half(network: nn.Module, dtype: torch.dtype) -> None:
    """Let whisper's layer norms read and write `dtype`; their sums stay in float32, as in all kernels of torch.

    whisper's own turn their input into float32 and their answer back, which moves five times the bytes.
    """
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.to(dtype)
            module.__class__ = nn.LayerNorm
