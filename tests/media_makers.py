"""Small real media files for the tests, encoded here and now with FFmpeg (PyAV)."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
CORNERS = {"red": (200, 30, 30), "green": (30, 170, 30), "blue": (30, 30, 200), "white": (235, 235, 235)}
"""Colours of a colour card: top left, top right, bottom left, bottom right."""


def colour_card(time_s: float = 0.0, size: tuple[int, int] = (320, 240)) -> Picture:
    """RGB [H, W, 3]: a quarter each red, green, blue and white; a grey bar at the bottom grows by 10 pixels a second."""
    width, height = size
    card = np.empty((height, width, 3), np.uint8)
    top, left = slice(0, height // 2), slice(0, width // 2)
    card[:] = CORNERS["white"]
    card[top, left] = CORNERS["red"]
    card[top, width // 2 :] = CORNERS["green"]
    card[height // 2 :, left] = CORNERS["blue"]
    card[-4:, : int(10 * time_s)] = 128
    return card


def tone(seconds: float, rate: int = 44_100, hertz: float = 440.0) -> NDArray[np.float32]:
    """A sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: float = 25.0,
    size: tuple[int, int] = (320, 240),
    picture: Callable[[float], Picture] | None = None,
    times: Sequence[float] | None = None,
    codec: str | None = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    clockwise: int = 0,
    mirrored: bool = False,
    pixel_aspect: Fraction | None = None,
    sound: NDArray[np.float32] | Sequence[tuple[float, NDArray[np.float32]]] | str | None = "tone",
    sound_codec: str = "aac",
    sound_rate: int = 44_100,
    sound_start: float = 0.0,
    cues: Sequence[tuple[float, float, str]] = (),
    muxer: dict[str, str] | None = None,
) -> Path:
    """Write a clip and return its path; the suffix chooses the container.

    picture: time (s) -> RGB [H, W, 3], by default the colour card; times: of the frames (s), by default every 1 / fps;
    codec None: no video; sound: mono samples (float, -1 to 1), or pieces of them with their start (s), "tone" for a sine
    as long as the video, None for none; clockwise: degrees that a player must turn the picture (after mirroring it);
    cues: (start, end, text) of a subtitle track; muxer: options of the container.
    """
    times = [k / fps for k in range(round(seconds * fps))] if times is None else times
    sound = tone(seconds, sound_rate) if isinstance(sound, str) else sound
    pieces = [(sound_start, sound)] if isinstance(sound, np.ndarray) else sound
    with av.open(str(path), "w", options=muxer or {}) as container:
        video = audio = words = None
        if codec is not None:
            video = _video_stream(container, codec, fps, size, pixels, options)
            video.set_display_rotation(-clockwise, hflip=mirrored) if clockwise or mirrored else None
            if pixel_aspect:
                video.codec_context.sample_aspect_ratio = pixel_aspect
        if pieces is not None:
            audio = container.add_stream(sound_codec, rate=sound_rate, layout="mono")
        if cues:
            words = container.add_mux_stream("mov_text" if path.suffix in (".mp4", ".mov") else "subrip")
            words.time_base = Fraction(1, 1000)
        container.start_encoding()
        if audio is not None:
            _write_sound(container, audio, pieces)
        if video is not None:
            _write_pictures(container, video, picture or (lambda time_s: colour_card(time_s, size)), times)
        if words is not None:
            _write_cues(container, words, cues)
    return path


def make_sound(path: Path, seconds: float = 2.0, *, codec: str, rate: int = 44_100, start: float = 0.0) -> Path:
    """Write a sine as a sound file."""
    return make_clip(path, seconds=seconds, codec=None, sound_codec=codec, sound_rate=rate, sound_start=start)


def _video_stream(container: Any, codec: str, fps: float, size: tuple[int, int], pixels: str, options: Any) -> Any:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    fast = {"preset": "ultrafast"} if codec in ("libx264", "libx265") else {}
    video = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=quiet | fast | (options or {}))
    video.width, video.height, video.pix_fmt = *size, pixels
    video.codec_context.time_base = Fraction(1, 12_000 if codec != "mpeg4" else round(fps))
    return video


def _write_pictures(container: Any, video: Any, picture: Callable[[float], Picture], times: Sequence[float]) -> None:
    for time_s in times:
        frame = av.VideoFrame.from_ndarray(picture(time_s), format="rgb24")
        if video.pix_fmt != "rgb24":
            # Untagged pictures are taken as BT.709 from 720 lines on, as BT.601 below.
            frame = frame.reformat(format=video.pix_fmt, dst_colorspace="ITU709" if frame.height >= 720 else "ITU601")
        frame.time_base = video.codec_context.time_base
        frame.pts = round(time_s / frame.time_base)
        container.mux(video.encode(frame))
    container.mux(video.encode(None))


def _write_sound(container: Any, audio: Any, pieces: Sequence[tuple[float, NDArray[np.float32]]]) -> None:
    rate, size = audio.rate, audio.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=audio.format.name, layout="mono", rate=rate)
    for start, samples in pieces:
        for first in range(0, len(samples), size):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + size], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first + round(start * rate)
            for ready in resampler.resample(frame):
                container.mux(audio.encode(ready))
    container.mux(audio.encode(None))


def _write_cues(container: Any, words: Any, cues: Sequence[tuple[float, float, str]]) -> None:
    for start, end, text in cues:
        payload = text.encode()
        if words.codec_context is None and container.format.name in ("mp4", "mov"):
            payload = len(payload).to_bytes(2, "big") + payload
        packet = av.Packet(payload)
        packet.stream, packet.time_base = words, Fraction(1, 1000)
        packet.pts = packet.dts = round(1000 * start)
        packet.duration = round(1000 * (end - start))
        container.mux(packet)
