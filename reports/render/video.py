"""The annotated video of a clip: what `reports.render.annotations` draws, decoded and encoded picture by picture.

The time stamps are those of the container, so that a variable frame rate stays as it is, and memory does not grow with the clip;
sound is copied where the output's format takes it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError, MediaError
from data.files import atomic_path
from data.media.clip import Clip
from data.media.clock import Clock
from data.media.probe import Streams, check_readable, decoded, open_media, packets, pick_streams, shown_size, turned
from reports.render.annotations import Annotations, Drawing
from reports.render.drawing import Canvas, Plane, panel_height

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".mov", ".mkv")
COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
"""Sound that players expect in these containers; other sound is encoded again, as AAC."""
SMALLEST = 360
"""A picture whose shorter side has fewer pixels is enlarged, so that letters can be read."""
FINEST = 1_000_000
LEAD = 1.0
"""Seconds of sound that are read before a segment, as decoders of sound need some packets to begin."""
AUDIO_SLACK = 0.05
"""Seconds by which sound that is encoded again may be off its time stamp before it is moved."""


@dataclass(frozen=True)
class Rendered:
    """What was written: pictures, seconds of the clip, the codec, whether sound was copied, and packets that were damaged."""

    frames: int
    seconds: float
    codec: str
    audio: str
    damaged: int


def render(
    clip: Clip, drawn: Annotations, output: Path, *, report: Callable[[float], None] | None = None, plain: bool = False
) -> Rendered:
    """Write the annotated video of a clip; `report` is told the second that is reached.

    A segment (`clip.start`) is rendered alone. H.264 where FFmpeg has an encoder for it, else MPEG-4. The file appears when it is
    complete. `plain` decodes and encodes without drawing, for measuring. InputError for a clip without picture and for a name
    that no video has, MediaError for a file that cannot be read, OSError when the disk is full.
    """
    import av

    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"{output} does not end like a video that can be written; choose one of {', '.join(SUFFIXES)}.")
    if not clip.has_video:
        raise InputError(f"{clip.path} has no picture to draw on; 'dyad report' shows its sound over time.")
    check_readable(clip.path)
    first = _first_image(clip)
    with open_media(clip.path) as source, atomic_path(output) as aside, av.open(str(aside), "w") as target:
        streams = pick_streams(source, clip.audio_stream)
        writer = _Writer(target, streams, clip, None if plain else Drawing(drawn, clip), first)
        damaged = 0
        every = packets(source, streams, Clock(streams.zero))
        for packet in every if clip.start is None else _from_key_frame(every, streams.zero + clip.start):
            before = writer.reached
            damaged += not writer.take(packet)
            if writer.reached >= clip.duration and clip.start is not None:
                break
            if report and writer.reached > before:
                report(writer.reached)
        writer.finish()
        if not writer.frames:
            raise MediaError(f"No picture of {clip.path} could be decoded; copy or record it again.")
        return Rendered(writer.frames, writer.reached, writer.codec, writer.audio, damaged)


def _first_image(clip: Clip) -> "av.VideoFrame":
    """The first picture that can be decoded: the encoder must know its size and colours before anything is written."""
    with open_media(clip.path) as source:
        streams = pick_streams(source)
        for packet in packets(source, streams):
            if packet.stream == streams.video and (frames := decoded(packet)):
                return frames[0]
    raise MediaError(f"No picture of {clip.path} could be decoded; copy or record it again.")


def _from_key_frame(every: "Iterable[av.Packet]", start: float) -> "Iterator[av.Packet]":
    """The packets from the last key frame of the picture before `start` (s) on, and the sound from a second before it.

    Those before are read all the same, though not decoded: where a clock jumps, times are known from the beginning only.
    """
    held: list[av.Packet] | None = []
    for packet in every:
        at = _seconds(packet)
        if held is None:
            yield packet
            continue
        if packet.stream.type == "video" and packet.is_keyframe and at is not None and at <= start:
            held = [one for one in held if one.stream.type != "video"]
        elif packet.stream.type == "audio" and at is not None and at < start - LEAD:
            continue
        held.append(packet)
        if at is None or (packet.stream.type == "video" and at >= start):
            yield from held
            held = None


def _seconds(packet: "av.Packet") -> float | None:
    """When a packet is decoded (s); None for one without a time, as those at the end are."""
    stamp = packet.pts if packet.dts is None else packet.dts
    return None if stamp is None else float(stamp * packet.time_base)


class _Writer:
    """Takes the packets of the source and muxes pictures and sound into the target."""

    def __init__(
        self, target: "av.container.OutputContainer", streams: Streams, clip: Clip, drawing: Drawing | None,
        first: "av.VideoFrame",
    ) -> None:
        assert streams.video is not None, "only a clip with a picture is drawn on"
        self._target, self._streams, self._clip = target, streams, clip
        self._drawing, self._image = drawing, _Image(first, streams.video, clip)
        self._zero = streams.zero + (clip.start or 0.0)
        self._end = clip.duration if clip.start is not None else float("inf")
        self.codec = "libx264" if _has_encoder("libx264") else "mpeg4"
        self._base = _time_base(streams.video.time_base, self.codec)
        rate = Fraction(clip.frame_rate or 25.0).limit_denominator(1001)  # 30000/1001 and the like stay exact
        self._video: av.VideoStream = target.add_stream(self.codec, rate=rate)
        self._image.describe(self._video, self._base)
        self._last, self.frames, self.reached = -1, 0, 0.0
        self._audio: av.AudioStream | None = None
        self._resampler: av.AudioResampler | None = None
        self._heard = 0
        self.audio = self._add_audio()
        streams.video.thread_type = "AUTO"

    def _add_audio(self) -> str:
        """Add the stream of the sound; 'copied', 'encoded' or 'none'."""
        import av

        source = self._streams.audio
        if source is None or not self._clip.has_audio:
            return "none"
        if source.codec_context.codec.canonical_name in COPIED & self._target.supported_codecs:
            self._audio = self._target.add_stream_from_template(source)
            return "copied"
        layout = "stereo" if source.codec_context.channels > 1 else "mono"
        self._audio = self._target.add_stream("aac", rate=min(source.rate, 48_000), layout=layout)
        self._audio.codec_context.open()
        form = {"format": "fltp", "layout": layout, "rate": self._audio.rate, "frame_size": self._audio.codec_context.frame_size}
        self._resampler = av.AudioResampler(**form)
        return "encoded"

    def take(self, packet: "av.Packet") -> bool:
        """Draw and encode the pictures of a packet, or pass its sound on; False when it is damaged."""
        if packet.stream == self._streams.video:
            frames = decoded(packet)
            for frame in frames or ():
                self._take_image(frame)
            return frames is not None
        if packet.stream == self._streams.audio and self._audio is not None:
            return self._copy_audio(packet) if self._resampler is None else self._encode_audio(packet, self._resampler)
        return True

    def _take_image(self, frame: "av.VideoFrame") -> None:
        if frame.pts is None:
            return
        time_s = float(frame.pts * frame.time_base) - self._zero
        if not -0.5 / max(self._clip.frame_rate, 1) <= time_s < self._end:
            return
        made, planes = self._image.upright(frame)
        if self._drawing is not None:
            self._drawing.draw(planes, time_s, self._image.canvas)
        self._last = made.pts = max(round(time_s / self._base), self._last + 1)
        made.time_base = self._base
        self._target.mux(self._video.encode(made))
        self.frames, self.reached = self.frames + 1, max(time_s, self.reached)

    def _copy_audio(self, packet: "av.Packet") -> bool:
        if packet.dts is None or packet.pts is None:
            return not packet.size
        shift = round(self._zero / packet.time_base)
        if not 0 <= float((packet.pts + packet.duration - shift) * packet.time_base) <= self._end:
            return True
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, self._audio
        self._target.mux(packet)
        return True

    def _encode_audio(self, packet: "av.Packet", resampler: "av.AudioResampler") -> bool:
        frames = decoded(packet)
        for frame in frames or ():
            time_s = float(frame.pts * frame.time_base) - self._zero if frame.pts is not None else 0.0
            if 0 <= time_s < self._end:
                frame.pts = round(time_s / frame.time_base)
                self._mux_audio(resampler.resample(frame))
        return frames is not None

    def _mux_audio(self, frames: "Sequence[av.AudioFrame | None]") -> None:
        assert self._audio is not None
        for frame in frames:
            if frame is not None:  # time stamps rounded by the container must not make the sound stutter
                sample = round(float(frame.pts * frame.time_base) * frame.sample_rate)
                near = abs(sample - self._heard) < AUDIO_SLACK * frame.sample_rate
                frame.time_base, frame.pts = Fraction(1, frame.sample_rate), self._heard if near else sample
                self._heard = frame.pts + frame.samples
            self._target.mux(self._audio.encode(frame))

    def finish(self) -> None:
        """Write what the encoders still hold."""
        if not self.frames:
            return
        self._target.mux(self._video.encode(None))
        if self._resampler is not None:
            self._mux_audio([*self._resampler.resample(None), None])


def _has_encoder(name: str) -> bool:
    import av

    try:
        av.codec.Codec(name, "w")
    except ValueError:
        return False
    return True


def _time_base(source: Fraction, codec: str) -> Fraction:
    """The container's unit of time; one that the encoder can write where that is too fine."""
    if codec == "mpeg4":
        return Fraction(1, 60_000)
    return source if source.denominator <= FINEST else Fraction(1, 90_000)


class _Image:
    """How decoded pictures become those that are drawn on: square pixels, upright, even sizes, 4:2:0, the panel's room below."""

    def __init__(self, frame: "av.VideoFrame", stream: "av.VideoStream", clip: Clip) -> None:
        from av.video.reformatter import VideoReformatter

        self.rotation, self.mirrored = turned(frame)
        width, height = shown_size(frame, stream)
        larger = -(-SMALLEST // min(width, height)) if min(width, height) < SMALLEST else 1
        self.size = (max(2, 2 * (width * larger // 2)), max(2, 2 * (height * larger // 2)))
        upright = self.size[::-1] if self.rotation in (90, 270) else self.size
        self._colours, self._reformatter = _colours(frame), VideoReformatter()
        self.scale = upright[0] / max(clip.width, 1)
        red, blue = {9: (0.2627, 0.0593), 1: (0.2126, 0.0722)}.get(self._colours[0], (0.299, 0.114))
        self.canvas = Canvas(*upright, panel_height(*upright), red, blue, self._colours[1] == 2)

    def describe(self, video: "av.VideoStream", base: Fraction) -> None:
        """Tell the encoder what it gets."""
        context = video.codec_context
        video.width, video.height, video.pix_fmt = self.canvas.width, self.canvas.height + self.canvas.panel, "yuv420p"
        context.time_base = base
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = self._colours
        if context.name == "libx264":
            context.options = {"preset": "veryfast", "crf": "20"}
        else:
            context.bit_rate = 4 * video.width * video.height

    def upright(self, frame: "av.VideoFrame") -> "tuple[av.VideoFrame, list[Plane]]":
        """A new picture with the decoded one in it, and its planes to draw on (the picture's and the panel's)."""
        import av

        coded = self._reformatter.reformat(frame, *self.size, "yuv420p", dst_colorspace=_swscale(frame), interpolation=None)
        made = av.VideoFrame(self.canvas.width, self.canvas.height + self.canvas.panel, "yuv420p")
        planes = []
        for source, target in zip(coded.planes, made.planes, strict=True):
            pixels, room = _pixels(source), _pixels(target)
            turned_pixels = np.rot90(pixels[:, ::-1] if self.mirrored else pixels, -self.rotation // 90)
            room[: turned_pixels.shape[0]] = turned_pixels
            planes.append(room)
        return made, planes


def _pixels(plane: "av.VideoPlane") -> Plane:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _colours(frame: "av.VideoFrame") -> tuple[int, int, int, int]:
    """Matrix, range, primaries and transfer of the pictures to write, the matrix always named: enlarged, it would be guessed
    differently."""
    unspecified = 2
    if not frame.format.name.startswith(("yuv", "nv", "p0")):
        return 6, 1, 2, 2
    matrix = frame.colorspace if frame.colorspace != unspecified else 1 if frame.height >= 720 else 6
    full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    return int(matrix), 2 if full else 1, int(frame.color_primaries), int(frame.color_trc)


def _swscale(frame: "av.VideoFrame") -> int | None:
    """The matrix to turn RGB into; pictures that are YUV keep theirs."""
    from av.video.reformatter import Colorspace

    return None if frame.format.name.startswith(("yuv", "nv", "p0")) else int(Colorspace.ITU601)
