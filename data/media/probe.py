"""Probing: what a media file really holds, measured from its packets, and sentences for those that hold nothing."""

import os
import warnings
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from data.errors import MediaError
from data.files import file_digest, name_problem
from data.media.channels import is_silent
from data.media.clip import Clip, clip_id_of
from data.media.clock import LONGEST_GAP, Clock
from data.media.declared import declared_size
from data.media.joined import readable_end
from data.media.limits import USUAL, Limits
from data.media.tracks import is_decodable, preferred, sound_tracks, subtitle_track

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

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
    """The streams of a file that count, and `zero`: the second of its clock that is time 0."""

    video: "av.VideoStream | None"
    audio: "av.AudioStream | None"
    subtitles: "av.subtitles.stream.SubtitleStream | None"
    zero: float

    @property
    def chosen(self) -> "tuple[av.stream.Stream, ...]":
        """Those that are there."""
        return tuple(stream for stream in (self.video, self.audio, self.subtitles) if stream is not None)


def probe(path: Path, limits: Limits = USUAL, audio_track: int = 0) -> Clip:
    """Measure a media file; MediaError, a sentence with the remedy, when it has neither a picture nor sound to decode, or claims
    more than the limits.

    Reads the whole file once for its hash and once packet by packet; decodes one picture and one piece of sound. `audio_track`:
    the sound track to take, from 1; 0: the one that sounds.
    """
    check_readable(path)
    content_hash = _digest(path)
    sound = choose_sound(path, audio_track, limits)
    with open_media(path, limits) as container:
        streams = pick_streams(container, sound)
        if streams.video is None and streams.audio is None:
            raise MediaError(f"{path} holds neither video nor sound that can be decoded; give a file with at least one of them.")
        limits.check_streams(path, streams.video, streams.audio)
        measured = _measure(container, streams)
        if measured.image is None and not measured.heard:
            check_still(path, limits)
            raise MediaError(f"{path} is damaged: none of its video or sound can be decoded; copy or record it again.")
        duration, facts = _duration(streams, measured), _image_facts(streams, measured)
        limits.check_times(path, duration, facts.get("frame_rate", 0.0))
        subtitles = None if streams.subtitles is None else streams.subtitles.index
        return Clip(
            path.absolute(), clip_id_of(path.stem, content_hash), content_hash, duration,
            has_audio=measured.heard, audio_stream=sound, subtitle_stream=subtitles, **facts,
        )


def choose_sound(path: Path, number: int, limits: Limits = USUAL) -> int | None:
    """The stream of the sound track that is to be heard; None where the file has no choice.

    `number`: the track that the user names, from 1; 0: the preferred one, or where that is silent the first that sounds.
    MediaError where the file has no such track.
    """
    with open_media(path, limits) as container:
        tracks = sound_tracks(container)
        if number > len(tracks):
            many = f"{len(tracks)} sound track{'s' * (len(tracks) != 1)}"
            raise MediaError(f"{path} has {many}, so there is no track {number} to take with --audio-track.")
        if number:
            return int(tracks[number - 1].index)
        if len(tracks) < 2:
            return None
        first = preferred(tracks)
        indices: list[int] = sorted((track.index for track in tracks), key=lambda index: first is None or index != first.index)
    return next((index for index in indices if _sounds(path, index, limits)), indices[0])


def _sounds(path: Path, index: int, limits: Limits) -> bool:
    """Whether anything can be heard in a sound track; reads it up to there."""
    with open_media(path, limits) as container:
        limits.check_streams(path, None, container.streams[index])
        for packet in container.demux(container.streams[index]):
            if any(not is_silent(frame) for frame in decoded(packet) or ()):
                return True
    return False


def check_readable(path: Path) -> None:
    """MediaError when `path` is missing, a folder, empty, not ours to read, or its name no text."""
    if problem := name_problem(path):
        raise MediaError(problem)
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
def open_media(path: Path, limits: Limits | None = None) -> "Iterator[av.container.InputContainer]":
    """Open a file with FFmpeg, quietly and without following any address in it; MediaError when it is no media file.

    With limits, images of more pixels are not decoded, neither here nor later: they are as damaged ones.
    """
    import av

    av.logging.set_level(None)
    bounds = {} if limits is None else {"max_pixels": str(limits.pixels)}
    address = f"file:{path.absolute()}"  # 'file:' keeps a name such as 'data:x.mp4' from being read as an address
    if (end := readable_end(path)) is not None:
        address = f"subfile,,start,0,end,{end},,:{address}"
    try:
        container = av.open(
            address, metadata_errors="replace", container_options={"protocol_whitelist": "file,subfile"}, options=bounds
        )
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(_not_media(path)) from error
    with container:
        if NOT_CLIPS & set(container.format.name.split(",")):
            raise MediaError(_not_media(path))
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.options = dict(bounds)
        yield container


def pick_streams(container: "av.container.InputContainer", sound: int | None = None, language: str = "") -> Streams:
    """The video (no cover picture), audio and text subtitles of a file that count, and the earliest start of the first two.

    Where there are several, the audio is the stream `sound` (None: the one that the file prefers), and the subtitles are those in
    `language` where there are some (see `data.media.tracks`).
    """
    videos = [stream for stream in container.streams.video if is_decodable(stream) and not _is_cover(stream)]
    audios = [stream for stream in sound_tracks(container) if sound is None or stream.index == sound]
    video, audio = preferred(videos), preferred(audios)
    starts = [_seconds(s.start_time, s.time_base) for s in (video, audio) if s is not None and s.start_time is not None]
    return Streams(video, audio, subtitle_track(container, language), min(starts, default=0.0))


def packets(
    container: "av.container.InputContainer", streams: Streams, clock: Clock | None = None
) -> "Iterator[av.Packet]":
    """Every packet of the chosen streams, damaged stretches left out, then an empty one each to flush its decoder.

    With a clock, time stamps that jump are set right.
    """
    import av

    failures, wanted = 0, {stream.index for stream in streams.chosen}
    while failures <= DAMAGE_LIMIT:
        try:
            for packet in container.demux(streams.chosen):
                failures = 0
                if packet.size and packet.stream.index in wanted:
                    if clock is not None:
                        clock.set_right(packet)
                    yield packet
            break
        except IndexError:  # a stream that first appears at the end, which PyAV does not know
            break
        except av.FFmpegError:  # its out-of-memory too: a damaged size asks for terabytes
            failures += 1
    for stream in streams.chosen:
        flush = av.Packet()
        flush.stream, flush.time_base = stream, stream.time_base
        yield flush


def declared_end(stream: "av.stream.Stream | None", zero: float) -> float | None:
    """When the container says that a stream ends, seconds from time 0; None where it does not say."""
    if stream is None or not stream.duration:
        return None
    return _seconds((stream.start_time or 0) + stream.duration, stream.time_base) - zero


def turned(frame: "av.VideoFrame") -> tuple[int, bool]:
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


def shown_size(frame: "av.VideoFrame", stream: "av.VideoStream") -> tuple[int, int]:
    """Width and height (pixels) of a decoded picture with square pixels, before it is turned upright."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    ratio = ratio if Fraction(1, 10) < ratio < 10 else Fraction(1)
    return max(1, round(frame.width * ratio)), int(frame.height)


@dataclass(frozen=True)
class _Span:
    """From when to when a stream has packets, seconds on the clock of the file: first and last start, and the end."""

    first: float = 0.0
    last: float = 0.0
    end: float = 0.0
    packets: int = 0


@dataclass(frozen=True)
class _Measured:
    """What one pass over the packets found; a stream without any times has no span."""

    image: "av.VideoFrame | None"
    heard: bool
    images: int
    video: _Span | None
    audio: _Span | None


def _measure(container: "av.container.InputContainer", streams: Streams) -> _Measured:
    """Read every packet; decode until there is one picture and one piece of sound."""
    image, heard, images = None, False, 0
    starts = {stream.index: array("q") for stream in streams.chosen}
    lengths = {stream.index: array("q") for stream in streams.chosen}
    for packet in packets(container, streams, Clock(streams.zero)):
        kind, start = packet.stream.type, packet.dts if packet.pts is None else packet.pts
        if start is not None:
            starts[packet.stream.index].append(start)
            lengths[packet.stream.index].append(packet.duration or 0)
        images += kind == "video" and packet.size > 0
        if kind == "video" and image is None:
            image = next(iter(decoded(packet) or ()), None)
        elif kind == "audio" and not heard:
            heard = bool(decoded(packet))
    return _Measured(image, heard, images, *_spans((streams.video, streams.audio), starts, lengths))


def _spans(
    media: "tuple[av.stream.Stream | None, ...]", starts: "dict[int, array[int]]", lengths: "dict[int, array[int]]"
) -> list[_Span | None]:
    """The span of each stream, damaged time stamps left out: they would make a clip of days out of one of seconds."""
    import numpy as np

    ticks = {stream.index: float(stream.time_base) for stream in media if stream is not None}
    begins = {index: np.array(starts[index], float) * tick for index, tick in ticks.items()}
    every = np.concatenate([np.empty(0), *begins.values()])
    if not every.size:
        return [None] * len(media)
    low, high = _densest(every)
    return [
        None if stream is None else _span(begins[stream.index], lengths[stream.index], ticks[stream.index], low, high)
        for stream in media
    ]


def _densest(times: "NDArray[np.float64]") -> tuple[float, float]:
    """First and last of the most times (s) between which there is no gap longer than `LONGEST_GAP`."""
    import numpy as np

    times = np.sort(times)
    run = np.cumsum(np.diff(times, prepend=times[0]) > LONGEST_GAP)
    most = times[run == np.bincount(run).argmax()]
    return float(most[0]), float(most[-1])


def _span(
    begin: "NDArray[np.float64]", lengths: "array[int]", tick: float, low: float, high: float
) -> _Span | None:
    """The span of a stream's packets that begin from `low` to `high` (s); None without any."""
    import numpy as np

    length = np.array(lengths, float) * tick
    end = begin + np.where(length <= LONGEST_GAP, length, 0.0)
    inside = (begin >= low) & (begin <= high)
    begin, end = begin[inside], end[inside]
    return _Span(float(begin.min()), float(begin.max()), float(end.max()), len(begin)) if begin.size else None


def _frame_rate(video: "av.VideoStream", measured: _Measured) -> float:
    """Average frames a second: the container's figure where the packets agree with it."""
    declared = float(video.average_rate or 0)
    span = measured.video or _Span()
    if span.last <= span.first:
        return declared if 0 < declared <= 240 else STILL_FRAME_RATE
    rate = (span.packets - 1) / (span.last - span.first)
    return declared if abs(declared - rate) < 0.02 * rate else rate


def _duration(streams: Streams, measured: _Measured) -> float:
    """Seconds of the longer of picture and sound; a video without any times lasts as long as its frames."""
    spans = [span for span in (measured.video, measured.audio) if span is not None]
    first = min((span.first for span in spans), default=0.0)
    zero = streams.zero if abs(streams.zero - first) < LONGEST_GAP else first
    ends = [0.0]
    if measured.image is not None:
        frame = 1 / _frame_rate(streams.video, measured)
        span = measured.video or _Span(end=streams.zero + measured.images * frame)
        ends.append(_believed(span.end + frame * (span.end == span.last) - zero, streams.video, zero))
    if measured.audio is not None:
        ends.append(_believed(measured.audio.end - zero, streams.audio, zero))
    return max(ends)


def _believed(measured: float, stream: "av.stream.Stream", zero: float) -> float:
    """The end of a stream (s) as the container says where the packets agree with it, else as the packets say."""
    declared = declared_end(stream, zero)
    return declared if declared is not None and abs(declared - measured) <= DURATION_SLACK else measured


def decoded(packet: "av.Packet") -> "list[av.VideoFrame | av.AudioFrame | av.subtitles.subtitle.Subtitle] | None":
    """The frames (or subtitles) of a packet, None when it is damaged."""
    import av

    try:
        return list(packet.decode())
    except (av.FFmpegError, ValueError):
        return None if packet.size else []


class _ImageFacts(TypedDict, total=False):
    """The fields of `Clip` about the picture."""

    has_video: bool
    frame_rate: float
    width: int
    height: int
    rotation: int


def _image_facts(streams: Streams, measured: _Measured) -> _ImageFacts:
    if measured.image is None:
        return {}
    rotation, _ = turned(measured.image)
    width, height = shown_size(measured.image, streams.video)
    if rotation in (90, 270):
        width, height = height, width
    rate = _frame_rate(streams.video, measured)
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
    if (whole := declared_size(path)) is not None and whole > (size := path.stat().st_size):
        return f"{path} is cut off: {size:,} of {whole:,} bytes are there; copy or record it again."
    if b"\0" not in head and "".join(head.decode("utf-8", errors="replace").split()).isprintable():
        return f"{path} holds text, not video or sound; give the media file itself."
    return f"{path} is not a media file that can be read; convert it, for example to .mp4, or copy it again."


def check_still(path: Path, limits: Limits) -> None:
    """MediaError when a file that FFmpeg did not decode is a picture of more pixels than the limit."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                limits.check_image(path, *image.size)
        except Image.DecompressionBombError as error:
            raise limits.too_large(path, "more than 178 megapixels") from error  # Pillow tells no size beyond its own limit
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            return


def _is_cover(stream: "av.VideoStream") -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _seconds(ticks: int, time_base: Fraction) -> float:
    return ticks * time_base.numerator / time_base.denominator
