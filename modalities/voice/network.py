"""Networks of the voice modality: speech activity, features of speech, and the emotion network over them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 16_000
STEP = 256
"""Samples from one feature frame to the next (16 ms)."""
FFT_SIZE = 512
MEL_BANDS = 64
PROSODY = 6
"""Rows of the prosody: pitch about its median, pitch (octaves), periodicity, voiced, loudness, its change."""
LEVEL = 0.05
"""Root mean square to which an utterance is brought first."""
PITCH_RANGE = (62.5, 640.0)
VOICED_PERIODICITY = 0.6


class SpeechFeatures(nn.Module):
    """Frames of an utterance: log-mel spectrum (librosa's filters) and prosody, both normalised within the utterance.

    Only differences within the utterance remain of its loudness. Pitch by YIN (de Cheveigné & Kawahara 2002).
    """

    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", torch.zeros(MEL_BANDS, FFT_SIZE // 2 + 1))

    def set_filters(self) -> None:
        """Take the mel filters from librosa; a model that is loaded has them among its weights."""
        from librosa.filters import mel

        self.mel.copy_(torch.from_numpy(mel(sr=SAMPLE_RATE, n_fft=FFT_SIZE, n_mels=MEL_BANDS, fmin=50.0, fmax=7600.0)))

    def forward(self, wave: Tensor) -> Tensor:
        """Frames [70, T], one every 16 ms, of a wave [samples] of 64 ms or more at 16 kHz: 64 bands, then 6 of prosody."""
        wave = wave * (LEVEL / wave.square().mean().sqrt().clamp_min(1e-6))
        count = len(wave) // STEP
        decibel = self.decibel(wave)[:, :count]
        pitch, periodicity = yin(F.avg_pool1d(wave[None, None], 2)[0, 0], count)
        floored = torch.maximum(decibel, decibel.amax() - 60.0)
        return torch.cat([(floored - floored.mean()) / 20.0, _prosody(pitch, periodicity, decibel)])

    def decibel(self, wave: Tensor) -> Tensor:
        """Power of the mel bands in dB, as librosa's `power_to_db(melspectrogram(...))` without a limit of the range."""
        window = torch.hann_window(FFT_SIZE, device=wave.device)
        spectrum = torch.stft(wave, FFT_SIZE, STEP, window=window, pad_mode="constant", return_complex=True)
        return 10.0 * torch.log10(self.mel @ spectrum.abs().square() + 1e-10)


def _prosody(pitch: Tensor, periodicity: Tensor, decibel: Tensor) -> Tensor:
    loudness = torch.logsumexp(decibel * (math.log(10.0) / 10.0), 0) * (10.0 / math.log(10.0))
    loudness = torch.maximum(loudness, loudness.amax() - 50.0)
    voiced = (periodicity > VOICED_PERIODICITY) & (loudness > loudness.amax() - 40.0)
    octaves = torch.log2(pitch / 150.0)
    middle = octaves[voiced].median() if voiced.any() else octaves.new_zeros(())
    spoken = voiced.to(decibel)
    level = (loudness - loudness.mean()) / 15.0
    change = F.pad(level[2:] - level[:-2], (1, 1))
    return torch.stack([(octaves - middle) * 2.0 * spoken, octaves * spoken, periodicity, spoken, level, change * 2.0])


def yin(wave: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Pitch (Hz) and periodicity (0..1) [frames] of a wave [samples] at 8 kHz, a frame every 128 samples."""
    rate, step, width = SAMPLE_RATE // 2, STEP // 2, 320
    shortest, longest = int(rate / PITCH_RANGE[1]), int(rate / PITCH_RANGE[0])
    pieces = F.pad(wave, (width // 2, width // 2 + longest + step)).unfold(0, width + longest, step)[:frames]
    size = 512
    spectrum = torch.fft.rfft(pieces, size)
    head = torch.fft.rfft(pieces[..., :width], size)
    correlation = torch.fft.irfft(head.conj() * spectrum, size)[..., : longest + 1]
    energy = F.pad(pieces.square().cumsum(-1), (1, 0))
    shifted = energy[..., width : width + longest + 1] - energy[..., : longest + 1]
    difference = (shifted[..., :1] + shifted - 2.0 * correlation).clamp_min(0.0)[..., 1:]
    lags = torch.arange(1, longest + 1, device=wave.device)
    # The constant makes digital silence aperiodic instead of perfectly periodic.
    normalised = (difference * lags + 1e-4) / (difference.cumsum(-1) + 1e-4)
    candidates = normalised[..., shortest - 1 :]
    return _first_dip(candidates, shortest, rate)


def _first_dip(candidates: Tensor, shortest: int, rate: int) -> tuple[Tensor, Tensor]:
    """Pitch and periodicity at the first local minimum below 0.2, or else at the lowest point; parabola between the lags."""
    left, middle, right = candidates[..., :-2], candidates[..., 1:-1], candidates[..., 2:]
    dip = (middle <= left) & (middle <= right) & (middle < 0.2)
    first = torch.where(dip.any(-1), dip.int().argmax(-1), middle.argmin(-1))[..., None]
    a, b, c = (part.gather(-1, first)[..., 0] for part in (left, middle, right))
    curvature = a - 2.0 * b + c
    offset = torch.where(curvature > 1e-6, 0.5 * (a - c) / curvature.clamp_min(1e-6), torch.zeros_like(b)).clamp(-0.5, 0.5)
    lag = first[..., 0] + 1 + shortest + offset
    return rate / lag, (1.0 - b).clamp(0.0, 1.0)


class TemporalBlock(nn.Module):
    """Residual dilated convolution over time."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm1d(width), nn.SiLU(), nn.Dropout1d(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, T] -> the same."""
        change: Tensor = self.layers(x)
        return x + change


class VoiceNetwork(nn.Module):
    """Emotion of utterances: convolutions over the spectrum, joined with prosody, over time, statistics pooling.

    Pooling is attentive statistics (Okabe et al. 2018): mean and deviation over time under learned weights.
    """

    def __init__(self, channels: Sequence[int] = (24, 32, 48), width: int = 128, embedding: int = 128, blocks: int = 4,
                 dropout: float = 0.2, classes: int = 7) -> None:
        super().__init__()
        self.settings = {"channels": list(channels), "width": width, "embedding": embedding, "blocks": blocks,
                         "dropout": dropout, "classes": classes}
        stem, middle, last = channels
        self.spectrum = nn.Sequential(
            nn.Conv2d(2, stem, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(stem), nn.ReLU(),
            nn.Conv2d(stem, middle, 3, padding=1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(), nn.MaxPool2d((2, 1)),
            nn.Conv2d(middle, last, 3, padding=1, bias=False), nn.BatchNorm2d(last), nn.ReLU(), nn.MaxPool2d((2, 1)),
            nn.Flatten(1, 2), nn.Conv1d(last * MEL_BANDS // 8, width, 1),
        )
        self.prosody = nn.Sequential(nn.Conv1d(PROSODY, 32, 5, stride=2, padding=2), nn.SiLU())
        self.blocks = nn.Sequential(
            nn.Conv1d(width + 32, width, 1), nn.SiLU(), *(TemporalBlock(width, 2**i, dropout) for i in range(blocks)))
        self.attention = nn.Sequential(nn.Conv1d(width, 32, 1), nn.Tanh(), nn.Conv1d(32, width, 1), nn.Softmax(-1))
        self.embed = nn.Sequential(nn.Linear(2 * width, embedding), nn.SiLU())
        self.classify = nn.Sequential(nn.Dropout(2 * dropout), nn.Linear(embedding, classes))

    def embedded(self, frames: Tensor) -> Tensor:
        """The embedding [B, D] of frames [B, 70, T].

        The convolutions see the spectrum twice: as it is, and without every band's mean, which takes the colour of microphone
        and room away.
        """
        bands, prosody = frames[:, :MEL_BANDS], frames[:, MEL_BANDS:]
        planes = torch.stack([bands, bands - bands.mean(-1, keepdim=True)], 1)
        x = self.blocks(torch.cat([self.spectrum(planes), self.prosody(prosody)], 1))
        weights = self.attention(x)
        mean = (weights * x).sum(-1)
        deviation = ((weights * x.square()).sum(-1) - mean.square()).clamp_min(1e-4).sqrt()
        answer: Tensor = self.embed(torch.cat([mean, deviation], 1))
        return answer

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 7] and the embedding [B, D] of utterances [B, 70, T] of equal length."""
        embedding = self.embedded(frames)
        return self.classify(embedding), embedding
