"""Whether a face is known again after a cut, also from far: nine real clips of eight persons, near and then smaller."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from benchmarks.people.lips import CLIPS
from benchmarks.people.side_by_side import RATE, SIDE, Pictures, people_of, read_shown, write_film
from modalities.speech.detect import SAMPLE_RATE

SHOWN = (*CLIPS, "expressive_1", "expressive_2", "expressive_3", "expressive_5")
PERSONS = {"speech_podium": "talking_3"}
"""The clips that show a person of another one."""
SIZES, SECONDS = (1.0, 0.35, 0.25, 0.2, 0.17), 1.6


def shrunk(pictures: Pictures, size: float) -> Pictures:
    """Pictures so much smaller, in the middle of what is left of them without any form: colours tell where a cut is."""
    side, found = round(SIDE * size), np.stack([cv2.blur(picture, (SIDE // 2, SIDE // 2)) for picture in pictures])
    first = (SIDE - side) // 2
    for picture, large in zip(found, pictures, strict=True):
        picture[first : first + side, first : first + side] = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
    return found


def same_pairs(groups: Sequence[object]) -> set[tuple[int, int]]:
    """The pairs of places that hold the same."""
    return {(one, other) for one, other in combinations(range(len(groups)), 2) if groups[one] == groups[other]}


def near_far_rows(data: Path) -> Iterator[tuple[object, ...]]:
    """By how small the second shot of each clip is: its faces' width, and precision, recall and F1 of pairs of tracks."""
    shots = {name: read_shown(data / "media" / f"{name}.mp4").pictures for name in SHOWN}
    length = round(SECONDS * RATE)
    for size in SIZES:
        near, far = [one[:length] for one in shots.values()], [shrunk(one[length : 2 * length], size) for one in shots.values()]
        film = np.concatenate([*near, *far])
        with tempfile.TemporaryDirectory() as folder:
            write_film(Path(folder) / "film.mkv", film, np.zeros(round(len(film) / RATE * SAMPLE_RATE), np.float32))
            faces, _, _ = people_of(Path(folder) / "film.mkv")
        tracks = faces.groupby("track_id").agg(time=("time_s", "median"), person=("person", "first"), width=("width", "mean"))
        clips = [[*SHOWN, *SHOWN][int(time // SECONDS)] for time in tracks["time"]]
        truth = same_pairs([PERSONS.get(clip, clip) for clip in clips])
        said = same_pairs(tracks["person"].tolist())
        right = len(truth & said)
        width = tracks.loc[tracks["time"] >= len(SHOWN) * SECONDS, "width"]
        scores = right / max(len(said), 1), right / len(truth), 2 * right / (len(said) + len(truth))
        trivial = 2 * len(truth) / (len(truth) + len(tracks) * (len(tracks) - 1) / 2)
        yield (f"{width.min():.0f} to {width.max():.0f}", len(tracks), *(f"{100 * one:.0f}" for one in (*scores, trivial)))
