"""Probing: what a media file really holds, measured from its packets, and sentences for those that hold nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from data.clip import Clip, clip_id_of
from data.errors import MediaError
from data.files import file_digest

TEXT_SUBTITLES = frozenset({"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text", "ttml"})
NOT_CLIPS = frozenset({"tty", "bin", "xbin", "adf", "idf", "concat", "hls", "dash"})
"""FFmpeg formats that draw text as pictures, or only name other files."""
STILL_FRAME_RATE = 25.0
"""Frames a second that a single picture is taken to have."""
DURATION_SLACK = 0.25
"""Seconds by which a container's own duration may differ from its packets and still be believed."""
DAMAGE_LIMIT = 100
"""Read errors in a row after which the rest of a file is given up."""


@dataclass(frozen=True)
class Streams:
    """The streams of a file that count (PyAV streams or None), and `zero`: the second of its clock that is time 0."""

    video: Any
    audio: Any
    subtitles: Any
    zero: float

    @property
    def chosen(self) -> tuple[Any, ...]:
        """Those that are there."""
        return tuple(stream for stream in (self.video, self.audio, self.subtitles) if stream is not None)


def probe(path: Path) -> Clip:
    """Measure a media file; MediaError, a sentence with the remedy, when it has neither a picture nor sound to decode.

    Reads the whole file once for its hash and once packet by packet; decodes one picture and one piece of sound.
    """
    check_readable(path)
    content_hash = _digest(path)
    with open_media(path) as container:
        streams = pick_streams(container)
        measured = _measure(container, streams)
        if measured.picture is None and not measured.heard:
            raise MediaError(_nothing_inside(path, streams))
        subtitles = None if streams.subtitles is None else streams.subtitles.index
        return Clip(
            path.absolute(), clip_id_of(path.stem, content_hash), content_hash, measured.duration(streams),
            has_audio=measured.heard, subtitle_stream=subtitles, **_picture_facts(streams, measured),
        )


def check_readable(path: Path) -> None:
    """MediaError when `path` is missing, a folder, empty, or not ours to read."""
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a media file, or the files in it.")
    if not path.exists():
        raise MediaError(f"There is no file {path}; check the name.")
    if not path.is_file():
        raise MediaError(f"{path} is not an ordinary file; copy the media to a file first.")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path} may not be read; change its permissions (chmod u+r) or copy it.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes); copy or download it again.")


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Open a file with FFmpeg, quietly and without following any address in it; MediaError when it is no media file."""
    import av

    av.logging.set_level(None)
    try:
        # 'file:' keeps a name such as 'data:x.mp4' from being read as an address.
        container = av.open(
            f"file:{path.absolute()}", metadata_errors="replace", container_options={"protocol_whitelist": "file"}
        )
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(_not_media(path)) from error
    with container:
        if NOT_CLIPS & set(container.format.name.split(",")):
            raise MediaError(_not_media(path))
        yield container


def pick_streams(container: Any) -> Streams:
    """The video (no cover picture), audio and text subtitles that the file prefers, and the earliest start of both."""
    videos = [stream for stream in container.streams.video if _decodable(stream) and not _is_cover(stream)]
    audios = [stream for stream in container.streams.audio if _decodable(stream)]
    texts = [stream for stream in container.streams.subtitles if _decodable(stream) and _is_text(stream)]
    video, audio, subtitles = _preferred(videos), _preferred(audios), _preferred(texts)
    starts = [_seconds(s.start_time, s.time_base) for s in (video, audio) if s is not None and s.start_time is not None]
    return Streams(video, audio, subtitles, min(starts, default=0.0))


def packets(container: Any, streams: Streams) -> Iterator[Any]:
    """Every packet of the chosen streams, damaged stretches left out, then an empty one each to flush its decoder."""
    import av

    failures = 0
    while failures <= DAMAGE_LIMIT:
        try:
            for packet in container.demux(streams.chosen):
                failures = 0
                if packet.size:
                    yield packet
            break
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            failures += 1
    for stream in streams.chosen:
        flush = av.Packet()
        flush.stream, flush.time_base = stream, stream.time_base
        yield flush


def declared_end(stream: Any, zero: float) -> float | None:
    """When the container says that a stream ends, seconds from time 0; None where it does not say."""
    if stream is None or not stream.duration:
        return None
    return _seconds((stream.start_time or 0) + stream.duration, stream.time_base) - zero


def turned(frame: Any) -> tuple[int, bool]:
    """Degrees clockwise that turn a decoded picture upright, and whether it must be mirrored left to right before that.

    Reads the display matrix (ISO 14496-12, 8.3.2: x' = a x + c y, y' = b x + d y), rounded to quarter turns.
    """
    import numpy as np

    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return 0, False
    a, b, _, c, d, *_ = np.frombuffer(bytes(side), np.int32).astype(float)
    mirrored = a * d - b * c < 0
    angle = np.degrees(np.arctan2(-b, -a) if mirrored else np.arctan2(b, a))
    return int(round(angle / 90) * 90 % 360), bool(mirrored)


def shown_size(frame: Any, stream: Any) -> tuple[int, int]:
    """Width and height (pixels) of a decoded picture with square pixels, before it is turned upright."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    ratio = ratio if Fraction(1, 10) < ratio < 10 else Fraction(1)
    return max(1, round(frame.width * ratio)), int(frame.height)


@dataclass
class _Measured:
    """What one pass over the packets found; `ends` and `firsts` in ticks of the stream with that index."""

    picture: Any = None
    heard: bool = False
    pictures: int = 0
    firsts: dict[int, int] = field(default_factory=dict)
    lasts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)

    def note(self, packet: Any) -> None:
        """Stretch the times of a stream by one packet."""
        if packet.pts is None and packet.dts is None:
            return
        index, start = packet.stream_index, packet.dts if packet.pts is None else packet.pts
        self.firsts[index] = min(start, self.firsts.get(index, start))
        self.lasts[index] = max(start, self.lasts.get(index, start))
        self.ends[index] = max(start + (packet.duration or 0), self.ends.get(index, start))

    def frame_rate(self, video: Any) -> float:
        """Average frames a second: the container's figure where the packets agree with it."""
        declared = float(video.average_rate or 0)
        span = _seconds(self.lasts.get(video.index, 0) - self.firsts.get(video.index, 0), video.time_base)
        measured = (self.pictures - 1) / span if span > 0 else 0.0
        if not measured:
            return declared if 0 < declared <= 240 else STILL_FRAME_RATE
        return declared if abs(declared - measured) < 0.02 * measured else measured

    def end(self, stream: Any, zero: float) -> float:
        """Seconds from time 0 to the end of a stream: the container's figure where the packets agree with it."""
        if stream is None or stream.index not in self.ends:
            return 0.0
        measured = _seconds(self.ends[stream.index], stream.time_base) - zero
        if stream.type == "video":
            unknown = self.ends[stream.index] == self.lasts[stream.index]
            measured += unknown / self.frame_rate(stream)
        declared = declared_end(stream, zero)
        return declared if declared is not None and abs(declared - measured) <= DURATION_SLACK else measured

    def duration(self, streams: Streams) -> float:
        """Seconds of the longer of picture and sound; a video without any times lasts as long as its frames."""
        ends = [self.end(stream, streams.zero) for stream in (streams.video, streams.audio)]
        untimed = self.pictures / self.frame_rate(streams.video) if self.picture is not None and not ends[0] else 0.0
        return max(0.0, *ends, untimed)


def _measure(container: Any, streams: Streams) -> _Measured:
    """Read every packet; decode until there is one picture and one piece of sound."""
    found = _Measured()
    for packet in packets(container, streams):
        found.note(packet)
        kind = packet.stream.type
        found.pictures += kind == "video" and packet.size > 0
        if kind == "video" and found.picture is None:
            found.picture = next(iter(decoded(packet) or ()), None)
        elif kind == "audio" and not found.heard:
            found.heard = bool(decoded(packet))
    return found


def decoded(packet: Any) -> list[Any] | None:
    """The frames (or subtitles) of a packet, None when it is damaged."""
    import av

    try:
        return list(packet.decode())
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError):
        return None if packet.size else []


def _picture_facts(streams: Streams, measured: _Measured) -> dict[str, Any]:
    if measured.picture is None:
        return {}
    rotation, _ = turned(measured.picture)
    width, height = shown_size(measured.picture, streams.video)
    if rotation in (90, 270):
        width, height = height, width
    rate = measured.frame_rate(streams.video)
    return {"has_video": True, "frame_rate": rate, "width": width, "height": height, "rotation": rotation}


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise MediaError(f"{path} cannot be read to its end ({error.strerror}); copy it again.") from error


def _not_media(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return f"{path} is cut off or damaged: its table of contents is missing; copy or record it again."
    if b"\0" not in head and "".join(head.decode("utf-8", errors="replace").split()).isprintable():
        return f"{path} holds text, not video or sound; give the media file itself."
    return f"{path} is not a media file that can be read; convert it, for example to .mp4, or copy it again."


def _nothing_inside(path: Path, streams: Streams) -> str:
    if streams.video is None and streams.audio is None:
        return f"{path} holds neither video nor sound; give a file with at least one of them."
    return f"{path} is damaged: none of its video or sound can be decoded; copy or record it again."


def _decodable(stream: Any) -> bool:
    return stream.codec_context is not None


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _is_text(stream: Any) -> bool:
    return stream.codec_context.name in TEXT_SUBTITLES


def _preferred(streams: list[Any]) -> Any:
    """The stream marked as default, else the first; None without any."""
    from av.stream import Disposition

    marked = (stream for stream in streams if stream.disposition & Disposition.default)
    return next(marked, streams[0] if streams else None)


def _seconds(ticks: int, time_base: Fraction) -> float:
    return ticks * time_base.numerator / time_base.denominator
