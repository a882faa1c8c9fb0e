"""Whether a voice is given to the face that speaks: real clips of one who speaks, put beside each other, a still or a mirror.

Of each kind the sound is that of the clip at the left, and where there are two halves, in the second that of the right one.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.people.lips import CLIPS
from configs.settings import load_settings
from data.media.probe import probe
from data.people import with_persons
from data.run_folder import RunFolder
from data.tables import read_table
from flows.clip.steps.decode import decode
from flows.clip.steps.faces import find_faces
from flows.clip.steps.people import find_people
from flows.job import Job
from modalities.faces.detectors import choose_detector
from modalities.speech.detect import SAMPLE_RATE, Wave, read_audio

SIDE, RATE = 360, 10
"""Pixels of each picture's side, and pictures a second."""
Pictures = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Shown:
    """A clip of one who speaks: pictures [N, SIDE, SIDE, 3] at RATE, and the sound."""

    pictures: Pictures
    wave: Wave

    def cut(self, seconds: float) -> "Shown":
        """Its beginning."""
        return Shown(self.pictures[: round(seconds * RATE)], self.wave[: round(seconds * SAMPLE_RATE)])

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return min(len(self.pictures) / RATE, len(self.wave) / SAMPLE_RATE)

    @property
    def still(self) -> Pictures:
        """Its first picture for as long."""
        return np.repeat(self.pictures[:1], len(self.pictures), 0)


class Given(NamedTuple):
    """Seconds of speech given to the face that speaks, to another, to nobody who is seen; and the faces taken for persons."""

    right: float
    wrong: float
    nobody: float
    persons: int


def read_shown(file: Path) -> Shown:
    """A square clip."""
    with av.open(file) as container:
        frames = [(frame.time or 0.0, frame) for frame in container.decode(video=0)]
        times = np.array([time for time, _ in frames])
        wanted = np.arange(0, times[-1], 1 / RATE)
        near = [frames[min(int(np.searchsorted(times, time)), len(frames) - 1)][1] for time in wanted]
        pictures = [cv2.resize(one.to_ndarray(format="rgb24"), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in near]
    return Shown(np.stack(pictures).astype(np.uint8), read_audio(file))


def write_film(path: Path, pictures: Pictures, wave: Wave) -> None:
    """Write pictures [N, H, W, 3] at RATE with their sound."""
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        video.height, video.width, video.pix_fmt = *pictures.shape[1:3], "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = (wave.clip(-1, 1) * 32767).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def people_of(film: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The faces of a film with their persons, its people, and its turns of speech."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(probe(film), RunFolder(Path(folder)), load_settings())
        job.folder.create()
        job.folder.mark_done("decode", "", 0.0, decode(job))
        job.folder.mark_done("faces", "", 0.0, find_faces(job))
        find_people(job)
        people = read_table(job.folder.people)
        return with_persons(read_table(job.folder.faces), people), people, read_table(job.folder.turns)


def given(pictures: Pictures, wave: Wave, until: float = np.inf) -> Given:
    """Whom a film's speech is given to; the face at the left speaks `until` then (s), from then on that at the right."""
    with tempfile.TemporaryDirectory() as folder:
        write_film(Path(folder) / "film.mkv", pictures, wave)
        faces, people, turns = people_of(Path(folder) / "film.mkv")
    middle = (faces["x"] + faces["width"] / 2).groupby(faces["person"]).mean()
    found = dict.fromkeys(("right", "wrong", "nobody"), 0.0)
    for start, end, person in turns[["start", "end", "person"]].itertuples(index=False, name=None):
        at = middle.get(person)
        for time in np.arange(start, end, 0.05):
            key = "nobody" if at is None else "right" if (at < pictures.shape[2] / 2) == (time < until) else "wrong"
            found[key] += 0.05
    return Given(**found, persons=int((people["pictures"] > 0).sum()))


def masked(clip: Shown) -> Pictures:
    """The clip's pictures with a grey rectangle over the lower half of the face."""
    kept, pictures = None, clip.pictures.copy()
    with choose_detector().open() as finder:
        for picture, clear in zip(pictures, clip.pictures, strict=True):
            found = finder.search(clear)
            kept = found[0].box if found else kept
            if kept is not None:
                left, top, width, height = (round(float(number)) for number in kept)
                picture[max(top + height // 2, 0) : top + round(1.15 * height), max(left, 0) : left + width] = (170, 180, 190)
    return pictures


def on_the_wall(clip: Shown, other: Shown) -> Pictures:
    """The clip beside a wall on which a small still of another hangs."""
    wall = np.full_like(clip.pictures, 120)
    wall[:, 40 : 40 + SIDE // 2, SIDE // 4 : SIDE // 4 + SIDE // 2] = cv2.resize(other.pictures[0], (SIDE // 2, SIDE // 2))
    return np.concatenate([clip.pictures, wall], 2)


def _pairs(clips: Sequence[Shown]) -> Iterator[tuple[Shown, Shown]]:
    for one, other in combinations(clips, 2):
        seconds = min(one.seconds, other.seconds)
        yield one.cut(seconds), other.cut(seconds)


def _both_move(clips: Sequence[Shown]) -> Iterator[Given]:
    for left, right in _pairs(clips):
        film, sound = np.concatenate([left.pictures, right.pictures], 2), np.concatenate([left.wave, right.wave])
        yield given(np.concatenate([film, film]), sound, left.seconds)


def _other_listens(clips: Sequence[Shown]) -> Iterator[Given]:
    for left, right in _pairs(clips):
        halves = [np.concatenate([left.pictures, right.still], 2), np.concatenate([left.still, right.pictures], 2)]
        sound = np.concatenate([left.wave, right.wave])
        yield given(np.concatenate(halves), sound, left.seconds)


def _beside(clips: Sequence[Shown], make: Callable[[Shown, Shown], Pictures]) -> Iterator[Given]:
    """Each clip with its own sound in a film that is made of it and the next one; only the face at the left speaks."""
    for clip, other in zip(clips, [*clips[1:], clips[0]], strict=True):
        yield given(make(clip, other), clip.wave)


def _mirror(clip: Shown, _: Shown) -> Pictures:
    return np.concatenate([clip.pictures, clip.pictures[:, :, ::-1]], 2)


def _mask(clip: Shown, other: Shown) -> Pictures:
    return np.concatenate([masked(clip), np.repeat(other.pictures[:1], len(clip.pictures), 0)], 2)


def side_rows(data: Path) -> Iterator[tuple[object, ...]]:
    """Of each kind of film: how many, their speech, whom it is given to, and how many persons are seen."""
    clips = [read_shown(data / "media" / f"{name}.mp4") for name in CLIPS]
    kinds = {
        "two who speak, both mouths move all the time": _both_move(clips),
        "two who speak, the other one is still": _other_listens(clips),
        "beside the mirror image": _beside(clips, _mirror), "a still of another on the wall": _beside(clips, on_the_wall),
        "lower half of the face masked, beside a still": _beside(clips, _mask),
    }  # fmt: skip
    for name, films in kinds.items():
        found = list(films)
        seconds = sum(one.right + one.wrong + one.nobody for one in found)
        shares = [f"{100 * sum(values) / seconds:.0f}" for values in list(zip(*found, strict=True))[:3]]
        persons = ", ".join(str(count) for count in sorted({one.persons for one in found}))
        yield (name, f"{len(found)} ({seconds:.0f} s)", *shares, persons)
