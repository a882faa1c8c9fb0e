"""Whether a voice that is heard in two clips is known again: clips made of an actor's sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from benchmarks.people.voices import KNOWN, RAVDESS, UNSEEN, folder_of, speech_of
from modalities.people.recognise import Recogniser, cut_speech, embed_speech
from modalities.people.same import ALIKE, mean_direction
from modalities.people.turns import Embeddings
from modalities.speech.detect import SAMPLE_RATE

ACTORS = {"RAVDESS, chosen on": RAVDESS[:8], **UNSEEN}
KINDS = (("all", 6.0), ("all", 15.0), ("all", 30.0), ("one", 6.0), ("one", 12.0))
"""Moods in a clip, and seconds of speech."""
Heard = list[tuple[str, float, Embeddings]]
"""Of each sentence the mood, the seconds, and the windows [N, D] that were heard."""
assert set(RAVDESS[:8]) <= set(KNOWN)


def sentences(data: Path, actor: str, model: Recogniser) -> Heard:
    """What is heard of an actor's sentences, in a random order."""
    files, found = sorted(folder_of(data, actor).glob("*.flac")), Heard()
    with TemporaryDirectory() as folder:
        audio = Path(folder) / "sentence.wav"
        for number in np.random.default_rng(0).permutation(len(files))[:60]:
            wave = speech_of(files[number], model.detector)
            if wave is not None:
                soundfile.write(audio, wave, SAMPLE_RATE, subtype="PCM_16")
                seconds, told = len(wave) / SAMPLE_RATE, files[number].stem.replace("_", "-").split("-")
                voices = embed_speech(model, audio, cut_speech(np.array([[0.0, seconds]])))
                found.append((told[2 if actor in RAVDESS else 1], seconds, voices))
    return found


def clips_of(heard: Heard, moods: str, seconds: float) -> list[Embeddings]:
    """What is heard of clips of so many seconds or a little more, no sentence in two of them."""
    found = []
    for mood in sorted({mood for mood, _, _ in heard}) if moods == "one" else [""]:
        group = [one for one in heard if mood in ("", one[0])]
        parts, lasts = list[Embeddings](), 0.0
        for _, length, voices in group:
            parts, lasts = [*parts, voices], lasts + length
            if lasts >= seconds:
                found.append(mean_direction(np.concatenate(parts)))
                parts, lasts = [], 0.0
    return found


def link_rows(data: Path, model: Recogniser) -> Iterator[tuple[object, ...]]:
    """By corpus and kind of clip: of pairs of clips of two actors those that are linked, and of one actor those that are not."""
    for corpus, actors in ACTORS.items():
        heard = {actor: sentences(data, actor, model) for actor in actors}
        for moods, seconds in KINDS:
            clips = [(actor, clip) for actor in actors for clip in clips_of(heard[actor], moods, seconds)]
            false, missed = _errors([actor for actor, _ in clips], np.stack([clip for _, clip in clips]))
            yield (corpus, moods, f"{seconds:.0f}", len(clips), false, missed)


def _errors(actors: Sequence[str], clips: Embeddings) -> tuple[str, str]:
    """Per cent and number of the pairs of two actors that are linked, and of those of one that are not."""
    upper, names = np.triu(np.ones((len(clips), len(clips)), bool), 1), np.array(actors)
    alike, same = (clips @ clips.T)[upper] >= ALIKE, (names[:, None] == names)[upper]
    false, missed = (f"{100 * part.mean():.1f} of {len(part)}" for part in (alike[~same], ~alike[same]))
    return false, missed
