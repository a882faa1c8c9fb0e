"""A clip with faces and a voice, made of the sample clip: 720p, 25 fps and one face, or as wanted, and as long as wanted."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from data.sample import sample_clip

SIZE = (1280, 720)
RATE = 25


def make_long_clip(
    path: Path, seconds: float, size: tuple[int, int] = SIZE, frames_per_second: int = RATE, faces: int = 1
) -> Path:
    """Write `seconds` of the sample clip, repeated, its image in the middle of each of `faces` parts of a frame of `size`
    (width, height); more than one lie in two rows."""
    images, wave, rate = _read_sample(size, faces)
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=frames_per_second, options={"preset": "ultrafast", "crf": "28"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono")
        for number in range(round(seconds * frames_per_second)):
            shown = number * RATE // frames_per_second % len(images)
            frame = av.VideoFrame.from_ndarray(images[shown], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, frames_per_second)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for frame in _audio_frames(wave, rate, seconds):
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def repeat_sound(file: Path, path: Path, seconds: float, pause: float = 0.7) -> None:
    """Write `seconds` of the sound of a file as WAV, over and over with a pause (s) between."""
    import soundfile

    wave, rate = soundfile.read(file, dtype="float32", always_2d=True)
    once = np.concatenate([wave.mean(1), np.zeros(round(pause * rate), np.float32)])
    soundfile.write(path, np.resize(once, round(seconds * rate)), rate)


def _read_sample(size: tuple[int, int], faces: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32], int]:
    """Frames, samples and sample rate of the sample clip."""
    with av.open(sample_clip()) as container:
        images = [_framed(frame.to_ndarray(format="rgb24"), size, faces) for frame in container.decode(video=0)]
    with av.open(sample_clip()) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        parts = [part.to_ndarray().reshape(-1) for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return images, np.concatenate(parts).astype(np.float32), rate


def _framed(image: NDArray[np.uint8], size: tuple[int, int], faces: int) -> NDArray[np.uint8]:
    """The image as large as it fits into each part of a grey frame."""
    import cv2

    rows = min(faces, 2)
    width, height = size[0] // (faces // rows), size[1] // rows
    shrink = min(width / image.shape[1], height / image.shape[0])
    scaled = cv2.resize(image, (round(image.shape[1] * shrink), round(image.shape[0] * shrink)))
    frame = np.full((size[1], size[0], 3), 96, np.uint8)
    for number in range(faces):
        left = number // rows * width + (width - scaled.shape[1]) // 2
        top = number % rows * height + (height - scaled.shape[0]) // 2
        frame[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return frame


def _audio_frames(wave: NDArray[np.float32], rate: int, seconds: float) -> Iterator[av.AudioFrame]:
    """The wave over and over, in frames of 1024 samples."""
    for first in range(0, round(seconds * rate), 1024):
        piece = np.take(wave, np.arange(first, first + 1024), mode="wrap")
        frame = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield frame
