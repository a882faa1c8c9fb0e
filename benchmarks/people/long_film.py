"""Memory of a film of twenty persons: cut after cut another face and voice, in a process of its own for each length."""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import figures_of_process, peak_megabytes, run_directly, timed
from benchmarks.people.voices import NEMO, RAVDESS, folder_of
from data.media.probe import probe
from data.run_folder import RunFolder
from data.tables import read_table
from modalities.speech.detect import SAMPLE_RATE, Wave, read_audio

CLIPS = ("expressive_1", "expressive_2", "expressive_3", "expressive_4", "expressive_5", "talking_1", "talking_2", "talking_3",
         "silent_19s", "single_face", "debate_two_faces_5s")  # fmt: skip
"""Real clips of people who move; the others are stills that move a little."""
PERSONS = 20
SIZE, RATE = (640, 360), 10
"""Width and height, and pictures a second."""
MOST_IMAGES = 80
"""Of a person, which are shown over and over."""
SHOT = (5.0, 12.0)
"""Seconds that a shot lasts, at least and at most."""
TWO = 0.25
"""The share of shots that show two persons, side by side."""
Images = list[NDArray[np.uint8]]


def moving(file: Path) -> Images:
    """Images of a clip, RATE a second, as high as the film."""
    images, shown = Images(), -1
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            if int((frame.time or 0.0) * RATE) > shown and len(images) < MOST_IMAGES:
                shown = int((frame.time or 0.0) * RATE)
                width = min(round(frame.width * SIZE[1] / frame.height), SIZE[0])
                images.append(frame.reformat(width, SIZE[1], "rgb24").to_ndarray())
    return images


def still(face: NDArray[np.uint8], rng: np.random.Generator) -> Images:
    """Images of a face that stands still but for some pixels."""
    import cv2

    large = cv2.resize(face, (240, 240), interpolation=cv2.INTER_CUBIC)
    images = Images()
    for _ in range(MOST_IMAGES // 2):
        image = np.full((SIZE[1], 320, 3), 96, np.uint8)
        top, left = rng.integers(56, 64), rng.integers(36, 44)
        image[top : top + 240, left : left + 240] = large[..., None]
        images.append(image)
    return images


def cast(data: Path, rng: np.random.Generator) -> list[Images]:
    """Images of each of the PERSONS."""
    found = [moving(data / "media" / f"{name}.mp4") for name in CLIPS]
    with np.load(data / "face" / "ferplus_valid.npz") as stored:
        faces = stored["images"]
    return found + [still(faces[number], rng) for number in rng.choice(len(faces), PERSONS - len(found), replace=False)]


def shots(seconds: float, rng: np.random.Generator) -> Iterator[tuple[float, list[int]]]:
    """Shots until the film is over: seconds, and who is seen; the first one speaks."""
    while seconds > 0:
        lasts = min(float(rng.uniform(*SHOT)), seconds)
        yield lasts, rng.choice(PERSONS, 2 if rng.random() < TWO else 1, replace=False).tolist()
        seconds -= lasts


def said(files: Sequence[Path], seconds: float, rng: np.random.Generator) -> Wave:
    """Sentences of one actor with pauses between, so many seconds."""
    parts: list[Wave] = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        parts += [read_audio(files[int(rng.integers(len(files)))]), np.zeros(SAMPLE_RATE // 2, np.float32)]
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]


def framed(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """One or two images side by side in a grey frame."""
    frame, place = np.full((SIZE[1], SIZE[0], 3), 96, np.uint8), SIZE[0] // len(images)
    for number, image in enumerate(images):
        margin = max(image.shape[1] - place, 0) // 2
        cut = image[:, margin : margin + place]
        left = number * place + (place - cut.shape[1]) // 2
        frame[:, left : left + cut.shape[1]] = cut
    return frame


def make_film(path: Path, seconds: float, data: Path) -> None:
    """Write a film of twenty persons, each with a face and a voice of their own."""
    rng = np.random.default_rng(0)
    persons = cast(data, rng)
    voices = [sorted(folder_of(data, actor).glob("*.flac")) for actor in (*NEMO, *RAVDESS)[:PERSONS]]
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "26"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        count, heard, left = 0, 0, np.zeros(0, np.float32)
        for lasts, seen in shots(seconds, rng):
            shown = [cycle(persons[number]) for number in seen]
            for _ in range(round(lasts * RATE)):
                frame = av.VideoFrame.from_ndarray(framed([next(images) for images in shown]), format="rgb24")
                frame.pts, frame.time_base = count, Fraction(1, RATE)
                container.mux(video.encode(frame))
                count += 1
            left = np.concatenate([left, said(voices[seen[0]], round(lasts * RATE) / RATE, rng)])
            for first in range(0, len(left) - 1023, 1024):
                piece = av.AudioFrame.from_ndarray(left[None, first : first + 1024].copy(), format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = SAMPLE_RATE, heard, Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(piece))
                heard += 1024
            left = left[len(left) // 1024 * 1024 :]
        container.mux(video.encode())
        container.mux(audio.encode())


def memory_rows(data: Path, minutes: Sequence[float]) -> Iterator[tuple[object, ...]]:
    """By length: persons found, seconds, the largest resident set (MB) and its share of the first, without words and with."""
    with tempfile.TemporaryDirectory() as folder:
        films = [Path(folder) / f"{length:g}.mp4" for length in minutes]
        for film, length in zip(films, minutes, strict=True):
            make_film(film, length * 60, data)
        for words in ("off", "heard"):
            first = 0.0
            for film in films:
                found = figures_of_process("benchmarks.people.long_film", [film, folder, words])
                first = first or found["peak"]
                told = (f"{found[name]:.0f}" for name in ("persons", "seconds", "peak"))
                yield (words, film.stem, *told, found["peak"] / first)


def main(clip: Path, output: Path, words: str) -> None:
    """Recognise one film and print how many persons are in it, the seconds, and the peak resident set (MB) that it took."""
    seconds = timed(lambda: run_directly(clip, output, words=words == "heard"))
    people = read_table(RunFolder(output / probe(clip).clip_id).people)
    print(json.dumps({"seconds": seconds, "peak": peak_megabytes(), "persons": len(people)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
