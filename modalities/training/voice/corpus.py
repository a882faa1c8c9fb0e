"""Acted speech for the training of the voice, RAVDESS and nEMO: reading, cutting to the speech, and distorting it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, basic_emotion
from data.errors import InputError
from data.given_tables import read_given_table
from modalities.speech.detect import (
    SAMPLE_RATE,
    SPEECH_MARGIN,
    Segments,
    Wave,
    enough_speech,
    find_speech,
    load_detector,
    speech_span,
)

LEVEL = 0.05
"""Root mean square to which an utterance is brought before noise is added."""
RAVDESS_WORDS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The corpus's emotion codes 01 to 08; calm counts as neutral."""
EMOTION_OF_CODE = np.array([BASIC_EMOTIONS.index(basic_emotion(word)) for word in RAVDESS_WORDS])
Chance = np.random.Generator
Signal = NDArray[np.float64]


@dataclass(frozen=True)
class SpeechCorpus:
    """Utterances [N] cut to their speech, the emotion of each (index in `BASIC_EMOTIONS`), and the actors' numbers."""

    waves: list[Wave]
    emotions: NDArray[np.int64]
    actors: NDArray[np.int64]


def read_ravdess(data: Path, limit: int | None = None) -> SpeechCorpus:
    """Read `data`/audio/ravdess_speech; `limit` keeps every n-th utterance so that each actor has about `limit`."""
    import soundfile

    folder = data / "audio" / "ravdess_speech"
    files = [file for actor in sorted(folder.glob("Actor_*")) for file in _every_nth(sorted(actor.glob("*.flac")), limit)]
    if not files:
        raise InputError(f"There are no recordings Actor_*/*.flac in {folder}; give the folder that holds audio/ with --data.")
    detector = load_detector()
    waves = [soundfile.read(file, dtype="float32")[0] for file in files]
    codes = np.array([[int(code) for code in file.stem.split("-")] for file in files])
    emotions = EMOTION_OF_CODE[codes[:, 2] - 1]
    return SpeechCorpus([cut_to_speech(wave, find_speech(detector, [wave])) for wave in waves], emotions, codes[:, 6])


def read_nemo(data: Path, limit: int | None = None) -> SpeechCorpus:
    """Read `data`/audio/nemo with its labels.csv, Polish; six emotions, without disgust. Speakers are numbered as they are
    sorted."""
    import soundfile

    folder = data / "audio" / "nemo"
    table = folder / "labels.csv"
    if not table.is_file():
        raise InputError(f"There is no {table}; give the folder that holds audio/ with --data.")
    rows = read_given_table(table, "table of labels").checked().rows.sort_values("path")
    by_speaker = [own for _, own in rows.groupby("speaker")]
    rows = pd.concat([own.iloc[_spread(len(own), limit)] for own in by_speaker])
    speakers = np.asarray(rows["speaker"].rank(method="dense"), np.int64)
    detector = load_detector()
    waves = [soundfile.read(folder / path, dtype="float32")[0] for path in rows["path"]]
    emotions = np.array([BASIC_EMOTIONS.index(label) for label in rows["label"]])
    return SpeechCorpus([cut_to_speech(wave, find_speech(detector, [wave])) for wave in waves], emotions, speakers)


def _spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """`limit` of `count` numbers, evenly spread, or all of them."""
    return np.arange(count) if limit is None else np.linspace(0, count - 1, limit).astype(np.int64)


def _every_nth(files: list[Path], limit: int | None) -> list[Path]:
    """`limit` of the files, evenly spread, or all of them."""
    return [files[index] for index in _spread(len(files), limit)]


def cut_to_speech(wave: Wave, segments: Segments) -> Wave:
    """The span of the speech, or, where the detector misses it (it misses some screams), of what is louder than -30 dB."""
    if not enough_speech(segments):
        loudness = np.sqrt(np.convolve(wave.astype(np.float64) ** 2, np.full(1024, 1 / 1024), "same"))
        loud = np.flatnonzero(loudness > loudness.max() * 10 ** (-30 / 20)) / SAMPLE_RATE
        segments = np.array([[loud[0] + SPEECH_MARGIN, loud[-1] - SPEECH_MARGIN]])
    first, last = speech_span(segments, 0.0, len(wave) / SAMPLE_RATE)
    return wave[first:last]


def distort(wave: Wave, corpus: list[Wave], chance: Chance) -> Wave:
    """The utterance as another voice, room, microphone, channel or company might give it; each change by chance."""
    changed = wave.astype(np.float64)
    if chance.random() < 0.7:
        changed = other_speed(changed, 2.0 ** chance.uniform(-0.2, 0.2))
    if chance.random() < 0.35:
        changed = in_a_room(changed, chance)
    if chance.random() < 0.8:
        changed = through_a_channel(changed, chance)
    changed = changed * (LEVEL / (changed.std() + 1e-9))
    if chance.random() < 0.6:
        changed = changed + coloured_noise(len(changed), chance) * LEVEL * 10 ** (-chance.uniform(3, 35) / 20)
    if chance.random() < 0.2:
        changed = changed + babble(len(changed), corpus, chance) * LEVEL * 10 ** (-chance.uniform(6, 25) / 20)
    if chance.random() < 0.15:
        highest = np.quantile(np.abs(changed), chance.uniform(0.97, 0.999))
        changed = changed.clip(-highest, highest)
    return (companded(changed) if chance.random() < 0.15 else changed).astype(np.float32)


def other_speed(wave: Signal, factor: float) -> Signal:
    """Played faster (factor above 1) or slower: pitch, formants and tempo move together, as between speakers."""
    faster: Signal = np.interp(np.arange(int(len(wave) / factor)) * factor, np.arange(len(wave)), wave)
    return faster


def in_a_room(wave: Signal, chance: Chance) -> Signal:
    """With an exponentially decaying reverberation of 0.1 to 0.7 s."""
    decay = chance.uniform(0.1, 0.7)
    length = int(decay * SAMPLE_RATE)
    echo = chance.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echo *= 10 ** (chance.uniform(-15, 2) / 20) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    size = len(wave) + length
    echoing: Signal = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(echo, size), size)[: len(wave)]
    return echoing


def through_a_channel(wave: Signal, chance: Chance) -> Signal:
    """With a smooth random colour of some dB and, sometimes, a narrow band as on a telephone."""
    frequencies = np.maximum(np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE), 1.0)
    octaves = np.log2(np.array([30, 125, 250, 500, 1000, 2000, 4000, 8000]))
    colour = chance.normal(0, 4, len(octaves)) + chance.normal(0, 2) * (octaves - 10)
    gain = np.interp(np.log2(frequencies), octaves, colour)
    if chance.random() < 0.3:
        gain -= 60 * np.log2(frequencies / chance.uniform(2800, 7000)).clip(0)
        if chance.random() < 0.6:
            gain -= 24 * np.log2(chance.uniform(80, 350) / frequencies).clip(0)
    return np.fft.irfft(np.fft.rfft(wave) * 10 ** (np.maximum(gain, -90) / 20), len(wave))


def coloured_noise(length: int, chance: Chance) -> Signal:
    """Noise of deviation 1 whose power falls with the frequency by 0 to 2 powers: white, pink or brown."""
    spectrum = np.fft.rfft(chance.standard_normal(length))
    spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 20.0) ** (-chance.uniform(0, 2) / 2)
    noise: Signal = np.fft.irfft(spectrum, length)
    levelled: Signal = noise / (noise.std() + 1e-9)
    return levelled


def babble(length: int, corpus: list[Wave], chance: Chance) -> Signal:
    """Four other utterances at once, together of deviation 1 or so."""
    chosen = [corpus[index].astype(np.float64) for index in chance.choice(len(corpus), 4)]
    together: Signal = np.sum([np.resize(wave / (wave.std() + 1e-9), length) for wave in chosen], axis=0) / 2
    return together


def companded(wave: Signal) -> Signal:
    """Quantised to 8 bits on the mu-law scale, as a telephone codec does (ITU-T G.711)."""
    peak = np.abs(wave).max() + 1e-9
    compressed = np.round(np.log1p(255 * np.abs(wave) / peak) / np.log(256) * 127) / 127
    expanded: Signal = np.sign(wave) * np.expm1(compressed * np.log(256)) * (peak / 255)
    return expanded
