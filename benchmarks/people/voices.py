"""Dialogues joined from single sentences of actors, with who speaks when."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from modalities.people.turns import Turn
from modalities.speech.detect import SAMPLE_RATE, Wave, find_speech, read_audio
from modalities.speech.vad_network import SpeechNetwork

RAVDESS = [f"Actor_{number:02d}" for number in range(1, 19)]
NEMO = ["EB0", "KS0", "MK0", "MP0", "TP0"]
KNOWN = (*RAVDESS[:8], *NEMO[:2])
"""Actors that the whitening and the threshold were chosen on; the others only measure."""
UNSEEN: Mapping[str, Sequence[str]] = {"RAVDESS, English": RAVDESS[8:], "nEMO, Polish": NEMO[2:]}
LEVEL = 0.05
"""Root mean square of an utterance, before it is made louder or softer by up to 3 dB."""


@dataclass(frozen=True)
class Dialogue:
    """A dialogue: its sound at 16 kHz, and who truly speaks when, the actor in place of the speaker."""

    wave: Wave
    turns: list[Turn]


def folder_of(data: Path, actor: str) -> Path:
    """Where an actor's recordings lie."""
    return data / "audio" / ("ravdess_speech" if actor.startswith("Actor") else "nemo") / actor


def utterances(data: Path, actors: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The recordings of actors, each with the actor's name."""
    for actor in actors:
        yield from ((actor, file) for file in sorted(folder_of(data, actor).glob("*.flac")))


@lru_cache(2000)
def speech_of(file: Path, detector: SpeechNetwork) -> Wave | None:
    """The recording from its first to its last speech, at one level; None when nothing is said."""
    wave = read_audio(file)
    spoken = find_speech(detector, [wave])
    if not len(spoken):
        return None
    cut = wave[round(spoken[0, 0] * SAMPLE_RATE) : round(spoken[-1, 1] * SAMPLE_RATE)]
    return cut * (LEVEL / max(float(np.sqrt((cut**2).mean())), 1e-6))


def make_dialogue(
    data: Path, actors: Sequence[str], detector: SpeechNetwork, rng: np.random.Generator, turns: int = 14,
    overlap: float = 0.15, noise: float = 25.0,
) -> Dialogue:  # fmt: skip
    """A dialogue of `turns` turns of one to three sentences in any emotion, never two turns of one actor on end.

    `overlap`: the share of turns that begin 0.3 to 0.9 s before the last one ends; others pause for 0.1 to 1 s. `noise`: white,
    as many decibels below the speech.
    """
    files = {actor: [file for _, file in utterances(data, [actor])] for actor in actors}
    placed, said, end, last = list[tuple[int, Wave]](), list[Turn](), 0.0, ""
    for number in range(turns):
        last = str(rng.choice([actor for actor in actors if actor != last] or list(actors)))
        begins_early = number > 0 and rng.random() < overlap
        start = max(end + (-rng.uniform(0.3, 0.9) if begins_early else rng.uniform(0.1, 1.0)), 0.0)
        for _ in range(rng.integers(1, 4)):
            wave = speech_of(files[last][rng.integers(len(files[last]))], detector)
            if wave is None:
                continue
            placed.append((round(start * SAMPLE_RATE), wave * np.float32(10 ** (rng.uniform(-3, 3) / 20))))
            end = start + len(wave) / SAMPLE_RATE
            said.append(Turn(start, end, last))
            start = end + rng.uniform(0.05, 0.4)
    length = max(first + len(wave) for first, wave in placed) + SAMPLE_RATE // 2
    sound = rng.standard_normal(length).astype(np.float32) * np.float32(LEVEL * 10 ** (-noise / 20))
    for first, wave in placed:
        sound[first : first + len(wave)] += wave
    return Dialogue(sound, said)
