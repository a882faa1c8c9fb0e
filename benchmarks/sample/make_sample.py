"""Makes the sample clip that comes with Dyad, and its texts.

    ./dyad benchmark make_sample [--output FOLDER]

Writes `sample.mp4`, `sample.vtt` (the sentences and when they are heard) and `sample_descriptions.csv` (what is
seen, in words written by hand). Needs the packages scikit-image and mediapipe, and the program espeak-ng.
"""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import make_parser
from benchmarks.sample.drawing import draw
from benchmarks.sample.expressions import BLINKS, DESCRIPTIONS, DURATION, FRAME_RATE, Expression, expression_at
from benchmarks.sample.portrait import SIZE, load_portrait
from benchmarks.sample.posing import HeadPose
from benchmarks.sample.speech import SAMPLE_RATE, Spoken, Wave, loudness, speak
from data.errors import DyadError
from data.files import atomic_path, write_text
from data.sample import sample_clip

SWAY = ((0.19, 1.0), (0.43, 0.5), (0.9, 0.33))
"""Waves of the head's movement: Hz and share."""
LABEL = "animated portrait, synthetic voice"
ABOUT = (
    "Synthetic: NASA's public-domain portrait of an astronaut (from scikit-image), warped by a script; the voice is "
    "espeak-ng's. The person shown never said these words or made these faces."
)


def make_sample(folder: Path, seed: int = 7) -> None:
    """Write the clip, its subtitles and its descriptions into `folder`; InputError says what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    wave, spoken = speak()
    with atomic_path(folder / "sample.mp4") as aside:
        _encode(aside, _frames(loudness(wave), seed), wave)
    write_text(folder / "sample.vtt", _subtitles(spoken))
    write_text(folder / "sample_descriptions.csv", _descriptions())


def _frames(loud: NDArray[np.float64], seed: int) -> Iterator[NDArray[np.uint8]]:
    """Every frame of the story, RGB [SIZE, SIZE, 3]."""
    portrait, heads = load_portrait(), _head_motion(len(loud), seed)
    for number, (level, head) in enumerate(zip(loud, heads, strict=True)):
        time = number / FRAME_RATE
        yield _labelled(draw(portrait, _blinked(_talking(expression_at(time), float(level)), time), head))


def _talking(face: Expression, level: float) -> Expression:
    """`face` with lips and jaw opened by a voice of loudness `level` (0..1), half closed in its pauses."""
    rest = face.gap * (0.72 + 0.28 * level)
    width = face.mouth_width - 0.012 * level
    return replace(face, gap=rest + 0.085 * level, jaw=face.jaw + 0.045 * level, mouth_width=width)


def _blinked(face: Expression, time: float) -> Expression:
    """`face` with its lids down when `time` (s) is near a blink."""
    nearest = min(abs(time - blink) for blink in BLINKS)
    shut = float(np.clip(1.4 - nearest / 0.09, 0, 1))
    return replace(face, lids=face.lids * (1 - shut) + 0.05 * shut)


def _head_motion(count: int, seed: int) -> list[HeadPose]:
    """Small slow movements of the head: sums of sines with drawn phases, and a start and a sinking with the story."""
    draws = np.random.default_rng(seed)
    time = np.arange(count) / FRAME_RATE

    def sway(size: float) -> NDArray[np.float64]:
        waves = [share * np.sin(2 * np.pi * (rate * time + draws.random())) for rate, share in SWAY]
        return np.asarray(size * np.sum(waves, 0))

    story = np.interp(time, (0, 1.9, 2.3, 4.9, 5.2, 7.8, 8.6, DURATION), (0, 0, 1, 0.5, -1, -0.6, 0, 0))
    sunk = np.interp(time, (0, 7.8, 8.8, DURATION), (0, 0, 1, 1))
    right, down, turn = sway(2.2), sway(1.2) - 4 * np.abs(story) + 6 * sunk, sway(0.8) + 1.2 * story - 1.5 * sunk
    scale = 1 + sway(0.004) + 0.02 * np.clip(story, 0, 1) - 0.02 * np.clip(-story, 0, 1) + 0.015 * sunk
    return [HeadPose(*map(float, row)) for row in zip(right, down, turn, scale, strict=True)]


def _labelled(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`frame` with the small print that says it is not a recording."""
    import cv2

    font, grey = cv2.FONT_HERSHEY_SIMPLEX, (190, 190, 190)
    return np.asarray(cv2.putText(frame, LABEL, (126, SIZE - 10), font, 0.36, grey, 1, cv2.LINE_AA), np.uint8)


def _encode(path: Path, frames: Iterable[NDArray[np.uint8]], wave: Wave) -> None:
    """H.264 at constant quality and mono AAC in an MP4 whose index comes first."""
    import av

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        container.metadata.update({"title": "Dyad sample clip", "comment": ABOUT})
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "24", "preset": "slow"})
        video.width, video.height, video.pix_fmt = SIZE, SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 40_000
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        for piece in _audio_frames(wave):
            container.mux(audio.encode(piece))
        container.mux(audio.encode())


def _audio_frames(wave: Wave, size: int = 1024) -> Iterator[Any]:
    import av

    for start in range(0, len(wave), size):
        frame = av.AudioFrame.from_ndarray(wave[None, start:start + size], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        yield frame


def _subtitles(spoken: Iterable[Spoken]) -> str:
    """WebVTT with a note on what the clip is."""
    cues = [f"{_clock(cue.start)} --> {_clock(cue.end)}\n{cue.text}\n" for cue in spoken]
    return "\n".join(["WEBVTT\n", f"NOTE\n{ABOUT}\n", *cues])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _descriptions() -> str:
    """CSV `clip,start,end,text,author` with a row a window."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["clip", "start", "end", "text", "author"])
    writer.writerows(["sample", start, end, text, "written by hand"] for start, end, text in DESCRIPTIONS)
    return table.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when the clip was made, 1 with a sentence when something was missing."""
    parser = make_parser(__doc__)
    parser.add_argument("-o", "--output", type=Path, default=sample_clip().parent, help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="seed of the head's small movements")
    chosen = parser.parse_args(arguments)
    try:
        make_sample(chosen.output, chosen.seed)
    except DyadError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
