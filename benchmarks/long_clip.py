"""A long clip with one face and a voice, made of the sample clip: 720p, 25 fps, as long as wanted."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from data.sample import sample_clip

SIZE = (1280, 720)
RATE = 25


def make_long_clip(path: Path, seconds: float) -> Path:
    """Write `seconds` of the sample clip, repeated, its image in the middle of a 1280x720 frame."""
    images, wave, rate = _read_sample()
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "28"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono")
        for number in range(round(seconds * RATE)):
            frame = av.VideoFrame.from_ndarray(images[number % len(images)], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for frame in _audio_frames(wave, rate, seconds):
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def _read_sample() -> tuple[list[NDArray[np.uint8]], NDArray[np.float32], int]:
    """Frames, samples and sample rate of the sample clip."""
    with av.open(sample_clip()) as container:
        images = [_framed(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    with av.open(sample_clip()) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        parts = [part.to_ndarray().reshape(-1) for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return images, np.concatenate(parts).astype(np.float32), rate


def _framed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image as high as the frame, in its middle, with grey at both sides."""
    import cv2

    width, height = SIZE
    scaled = cv2.resize(image, (round(image.shape[1] * height / image.shape[0]), height))
    frame = np.full((height, width, 3), 96, np.uint8)
    left = (width - scaled.shape[1]) // 2
    frame[:, left : left + scaled.shape[1]] = scaled
    return frame


def _audio_frames(wave: NDArray[np.float32], rate: int, seconds: float) -> Iterator[av.AudioFrame]:
    """The wave over and over, in frames of 1024 samples."""
    for first in range(0, round(seconds * rate), 1024):
        piece = np.take(wave, np.arange(first, first + 1024), mode="wrap")
        frame = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield frame
