"""The voice of the sample clip: sentences spoken by the program espeak-ng, placed in time."""

import io
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.sample.expressions import DURATION, FRAME_RATE
from data.errors import InputError

SAMPLE_RATE = 22050
"""What espeak-ng writes, and what the clip keeps."""
Wave = NDArray[np.float32]
"""Mono samples, -1..1."""


@dataclass(frozen=True)
class Sentence:
    """What is said from `start` (s); `pitch` 0..99, `speed` in words a minute and `peak` 0..1 colour it."""

    start: float
    text: str
    pitch: int
    speed: int
    peak: float
    range: int = 50


SENTENCES: tuple[Sentence, ...] = (
    Sentence(0.25, "Let us open this box.", 45, 165, 0.5, 40),
    Sentence(2.05, "Oh!", 80, 140, 0.8, 90),
    Sentence(2.60, "What a wonderful surprise! I love it!", 72, 175, 0.75, 95),
    Sentence(5.10, "Wait! What is that noise?", 85, 200, 0.7, 80),
    Sentence(6.60, "Is somebody there?", 90, 190, 0.6, 70),
    Sentence(8.30, "It is broken.", 22, 125, 0.8, 20),
    Sentence(9.75, "You dropped it. You ruined it.", 18, 150, 0.95, 30),
)


@dataclass(frozen=True)
class Spoken:
    """A sentence with the seconds at which it begins and ends."""

    text: str
    start: float
    end: float


def speak() -> tuple[Wave, tuple[Spoken, ...]]:
    """The clip's audio of `DURATION` s, and when each sentence is heard; InputError without espeak-ng."""
    track = np.zeros(round(DURATION * SAMPLE_RATE), np.float32)
    spoken = []
    for sentence in SENTENCES:
        wave = _synthesised(sentence)
        at = round(sentence.start * SAMPLE_RATE)
        if at + len(wave) > len(track):
            raise InputError(f"The sentence '{sentence.text}' does not fit into the clip; let it begin earlier.")
        track[at:at + len(wave)] += wave
        spoken.append(Spoken(sentence.text, sentence.start, sentence.start + len(wave) / SAMPLE_RATE))
    hiss = np.random.default_rng(7).normal(0, 0.0008, len(track))
    return track + hiss.astype(np.float32), tuple(spoken)


def _synthesised(sentence: Sentence) -> Wave:
    """The audio of one sentence without the silence around it."""
    import soundfile

    program = shutil.which("espeak-ng")
    if program is None:
        raise InputError("The sample clip is spoken by the program espeak-ng; install it (apt-get install espeak-ng).")
    marked = f'<speak><prosody range="{sentence.range}">{sentence.text}</prosody></speak>'
    options = ["-v", "en-us+f3", "-p", str(sentence.pitch), "-s", str(sentence.speed), "-m", "--stdout", marked]
    written = subprocess.run([program, *options], check=True, capture_output=True).stdout
    wave, rate = soundfile.read(io.BytesIO(written), dtype="float32")
    if rate != SAMPLE_RATE:
        raise InputError(f"espeak-ng wrote {rate} samples a second instead of {SAMPLE_RATE}; use a voice of its own.")
    loud = np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())
    wave = wave[loud[0]:loud[-1] + 1]
    return np.asarray(wave * (sentence.peak / np.abs(wave).max()), np.float32)


def loudness(wave: Wave) -> NDArray[np.float64]:
    """How loud each frame of the clip is, 0..1, smoothed over about 80 ms as lips move."""
    per_frame = SAMPLE_RATE / FRAME_RATE
    edges = (np.arange(round(DURATION * FRAME_RATE) + 1) * per_frame).astype(int)
    level = np.sqrt(np.add.reduceat(wave.astype(np.float64) ** 2, edges[:-1]) / per_frame)
    smooth = np.convolve(level, (0.25, 0.5, 0.25), mode="same")
    return np.asarray(np.clip(smooth / np.quantile(smooth, 0.95), 0, 1))
