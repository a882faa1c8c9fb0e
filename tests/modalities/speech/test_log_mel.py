"""Spectrograms of several sounds at once are those of whisper and transformers one by one; norms in half precision."""

import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray

from modalities.speech.log_mel import FFT_SIZE, compute_norms_in_half, log_mel, on_device
from modalities.voice.speech_models import spectra


def sounds() -> list[NDArray[np.float32]]:
    random = np.random.default_rng(5)
    lengths = (16_000, 23_456, 480_000, 399, 0)
    return [(random.normal(0, 0.1, length) * random.random()).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("bands", [80, 128])
def test_of_whisper(bands: int) -> None:
    """Silence after a sound, however long, changes nothing in it."""
    longest = max(len(sound) for sound in sounds())
    heard = on_device(sounds(), longest + 2 * FFT_SIZE, "cpu")
    found = log_mel(heard, whisper.audio.mel_filters("cpu", bands))
    for mel, sound in zip(found, sounds(), strict=True):
        expected = whisper.log_mel_spectrogram(sound, bands, padding=480_000)[:, : len(sound) // 160]
        torch.testing.assert_close(mel[:, : len(sound) // 160], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [480_000, 64_000])
def test_of_transformers(length: int) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=128)
    expected = extractor(sounds(), sampling_rate=16_000, return_tensors="pt", max_length=length)["input_features"]
    torch.testing.assert_close(spectra(extractor, sounds(), length, "cpu"), expected, atol=1e-5, rtol=0)


def test_unusual_preprocessing_is_left_to_transformers() -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(hop_length=200)
    expected = extractor(sounds(), sampling_rate=16_000, return_tensors="pt", max_length=64_000)["input_features"]
    torch.testing.assert_close(spectra(extractor, sounds(), 64_000, "cpu"), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_in_half_precision_answer_as_whispers_own(dtype: torch.dtype) -> None:
    """Weights that half precision holds exactly, as OpenAI publishes them: nothing but the last rounding may differ."""
    from whisper.model import LayerNorm

    torch.manual_seed(0)
    network = torch.nn.Sequential(LayerNorm(64))
    for weight in network.parameters():
        weight.data = torch.randn(64).to(dtype).float()
    inputs = (3 * torch.randn(5, 64) + 1).to(dtype)
    expected = network(inputs)
    compute_norms_in_half(network, dtype)
    found = network(inputs)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=2 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
