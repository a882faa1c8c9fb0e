"""One voice or two: what could tell that without being told how many speak, and how often it is right.

Each rule splits the windows of a recording in two, as with `people.speakers: 2`, and keeps the split where a figure of it is high
enough: by the threshold with the fewest mistakes on RAVDESS' known actors. Shown on others, on nEMO, and on a telephone call.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from benchmarks.people.errors import added, speaker_errors
from benchmarks.people.voices import NEMO, RAVDESS, make_dialogue
from modalities.people.recognise import HOP, Recogniser, cut_speech
from modalities.people.turns import Embeddings, Turn, group_voices, turns_of
from modalities.speech.detect import SAMPLE_RATE, Segments, Wave, find_speech, read_audio

CALL = "two_speakers.wav"
Groups = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Heard:
    """A recording: its speech, windows [N, 2] (s) with their embeddings, the groups of a split in two, and the true turns."""

    segments: Segments
    windows: NDArray[np.float64]
    voices: Embeddings
    groups: Groups
    truth: Sequence[Turn]

    def answer(self, split: bool) -> list[Turn]:
        """The turns of two, or of one."""
        return turns_of(self.segments, self.windows, self.voices, self.groups if split else np.zeros_like(self.groups))


def hear(model: Recogniser, wave: Wave, truth: Sequence[Turn], window: float) -> Heard:
    """Embeddings of windows so long (s), split in two."""
    import torch

    segments = find_speech(model.detector, [wave])
    spans = cut_speech(segments, window, HOP)
    with torch.inference_mode():
        found = [model.voices(torch.from_numpy(wave[first:last].copy())[None])[0].numpy() for first, last in spans]
    voices = np.stack(found)
    return Heard(segments, np.array(spans) / SAMPLE_RATE, voices, group_voices(voices, speakers=2), truth)


def mean_distance(voices: Embeddings, groups: Groups) -> float:
    """The mean cosine distance of the two."""
    return float(cdist(voices[groups == 0], voices[groups == 1], "cosine").mean())


def silhouette(voices: Embeddings, groups: Groups) -> float:
    """The mean silhouette, by cosine."""
    distances, found = cdist(voices, voices, "cosine"), []
    for place, group in enumerate(groups):
        own = groups == group
        near = distances[place, own].sum() / max(own.sum() - 1, 1)
        far = distances[place, ~own].mean()
        found.append((far - near) / max(far, near))
    return float(np.mean(found))


def bic(voices: Embeddings, groups: Groups) -> float:
    """By how much two normal distributions are likelier than one (Bayesian information criterion, one variance for all)."""
    one = ((voices - voices.mean(0)) ** 2).sum()
    two = sum(((voices[groups == group] - voices[groups == group].mean(0)) ** 2).sum() for group in (0, 1))
    dimensions = float(one / len(voices) / np.linalg.eigvalsh(np.cov(voices.T)).max())  # of what is there, not of the space
    return float(len(voices) * dimensions / 2 * np.log(one / two) - (dimensions + 1) / 2 * np.log(len(voices)))


def eigengap(voices: Embeddings, groups: Groups) -> float:
    """The gap of the normalised affinity's eigenvalues behind the second, less that behind the first (spectral clustering)."""
    likeness = np.clip(1 - cdist(voices, voices, "cosine"), 0, None)
    likeness[likeness < np.quantile(likeness, 0.7, axis=1, keepdims=True)] = 0
    likeness = (likeness + likeness.T) / 2
    root = np.sqrt(likeness.sum(1))
    values = np.linalg.eigvalsh(likeness / root[:, None] / root)[::-1]
    return float((values[1] - values[2]) - (values[0] - values[1]))


def centred(voices: Embeddings, groups: Groups) -> float:
    """The mean cosine distance, with the recording's own mean taken away: what a line or a room adds to all of it."""
    return mean_distance(np.asarray(voices - voices.mean(0)), groups)


RULES: Mapping[str, tuple[Callable[[Embeddings, Groups], float], float]] = {
    "mean distance": (mean_distance, 1.6), "mean distance, windows of 2.4 s": (mean_distance, 2.4),
    "mean distance, windows of 1 s": (mean_distance, 1.0), "mean distance from the recording's mean": (centred, 1.6),
    "silhouette": (silhouette, 1.6), "BIC": (bic, 1.6), "eigengap": (eigengap, 1.6),
}  # fmt: skip


def split_rows(data: Path, model: Recogniser, count: int) -> Iterator[tuple[object, ...]]:
    """By rule: errors, single actors cut in two and pairs found, on RAVDESS' unseen actors and nEMO's, and the call's answer."""
    rng = np.random.default_rng(3)
    sets = (("known", RAVDESS[:8]), ("RAVDESS", RAVDESS[8:]), ("nEMO", NEMO))
    made = {
        (name, persons): [make_dialogue(data, list(rng.choice(actors, persons, replace=False)), model.detector, rng)
                          for _ in range(count)]
        for name, actors in sets for persons in (1, 2)
    }  # fmt: skip
    call = read_audio(data / "media" / CALL)
    heard = {
        window: {key: [hear(model, one.wave, one.turns, window) for one in dialogues] for key, dialogues in made.items()}
        | {("call", 2): [hear(model, call, (), window)]}
        for window in sorted({window for _, window in RULES.values()})
    }
    for rule, (figure, window) in RULES.items():
        found = {key: np.array([_figure(figure, one) for one in all_]) for key, all_ in heard[window].items()}
        least = _threshold(found["known", 1], found["known", 2])
        shown: list[object] = []
        for name in ("RAVDESS", "nEMO"):
            errors = [speaker_errors(one.truth, one.answer(bool(value > least)))
                      for persons in (1, 2)
                      for one, value in zip(heard[window][name, persons], found[name, persons], strict=True)]  # fmt: skip
            split, pairs = (f"{100 * np.mean(found[name, persons] > least):.0f}" for persons in (1, 2))
            shown += [f"{100 * added(errors).rate:.1f}", split, pairs]
        value = found["call", 2][0]
        singles = np.concatenate([found[name, 1] for name, _ in sets])
        yield (rule, *shown, "two" if value > least else "one", f"{100 * np.mean(singles >= value):.0f}")


def _figure(figure: Callable[[Embeddings, Groups], float], one: Heard) -> float:
    return figure(one.voices, one.groups) if one.groups.any() else -np.inf


def _threshold(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """The value above which there are two with the fewest mistakes; the higher of those that are as good."""
    values = np.concatenate([one, two])
    mistakes = [int((one > value).sum() + (two <= value).sum()) for value in values]
    return float(max(value for value, count in zip(values, mistakes, strict=True) if count == min(mistakes)))
