"""Decoding: one pass over a file gives sampled frames, their times, 16 kHz sound placed in time, and subtitles."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, MediaError
from data.media.channels import Mixable
from data.media.clip import Clip
from data.media.clock import LONGEST_GAP, Clock
from data.media.cues import Cue, said_in, substation_cue
from data.media.frames import FrameWriter, Ticks
from data.media.joined import Joint
from data.media.limits import USUAL, Limits
from data.media.probe import (
    DURATION_SLACK,
    Streams,
    decoded,
    open_media,
    packets,
    pick_streams,
    turned,
)
from data.media.sound_file import AUDIO_RATE, SoundWriter
from data.media.subtitles import table_of, to_vtt
from data.media.tracks import notes_on_tracks
from data.media.truncated import cut_off

if TYPE_CHECKING:
    import av

AUDIO_SLACK = 0.05
"""Seconds by which sound may be off its time stamp before silence is put in or a frame is left out."""
JUMPS = "The clock of the file jumps{places}, as that of joined recordings does; what comes after goes on where it was."
CANCELLED = "Channels of the sound cancel each other; for {seconds:.1f} s one of them is heard alone."
NAMES = {"video": "video", "audio": "sound", "subtitle": "subtitles"}


@dataclass(frozen=True)
class DecodeOptions:
    """Frames a second that are kept, the pixels of their longest side at most, and the language of subtitles that come first."""

    frames_per_second: float
    longest_side: int
    language: str = ""

    def __post_init__(self) -> None:
        if not self.frames_per_second > 0 or self.longest_side < 16:
            raise InputError("Decoding needs more than 0 frames per second and a longest side of at least 16 pixels.")


@dataclass(frozen=True)
class Decoded:
    """What `decode` wrote (None where the clip has no such thing), what was damaged, the seconds really decoded, and sentences
    about what was taken.

    frames, index: the frame store (`data.media.frames.read_frames`); audio: 16 kHz mono 16-bit WAV from time 0;
    subtitles: WebVTT.
    """

    frames: Path | None
    index: Path | None
    audio: Path | None
    subtitles: Path | None
    problems: tuple[str, ...]
    duration: float
    notes: tuple[str, ...] = ()


def decode(
    clip: Clip, work: Path, options: DecodeOptions, on_time: Callable[[float], None] = lambda seconds: None,
    limits: Limits = USUAL,
) -> Decoded:  # fmt: skip
    """Decode a probed clip into the folder `work` in one pass and with flat memory.

    Damage inside the file is stepped over and told in `problems`. MediaError when nothing at all can be decoded, when there is
    less room than the sound alone needs, and beyond the limits; OSError when the disk is full. Files appear under their names
    only when all of them are complete. `on_time` is told, packet by packet, up to which second of the clip all was decoded.
    """
    work.mkdir(parents=True, exist_ok=True)
    _check_room(clip, work)
    with tempfile.TemporaryDirectory(prefix=".decode-", dir=work) as aside:
        done = _decode(clip, Path(aside), options, on_time, limits)
        written = {name: getattr(done, name) for name in ("frames", "index", "audio", "subtitles")}
        for name, path in written.items():
            if path is not None:
                os.replace(path, work / path.name)
                written[name] = work / path.name
    return replace(done, **written)


def _check_room(clip: Clip, work: Path) -> None:
    """MediaError when not even the sound of a clip finds room."""
    needed, free = 2 * AUDIO_RATE * clip.duration * clip.has_audio, shutil.disk_usage(work).free
    if needed > free:
        sizes = f"its sound alone needs {needed / 1e9:.1f} GB, and {work} has room for {free / 1e9:.1f} GB"
        raise MediaError(f"{clip.path}: {sizes}; free some space, or choose another disk with -o.")


def _decode(
    clip: Clip, folder: Path, options: DecodeOptions, on_time: Callable[[float], None], limits: Limits
) -> Decoded:
    with ExitStack() as stack:
        container = stack.enter_context(open_media(clip.path, limits))
        streams = pick_streams(container, clip.audio_stream, options.language)
        clock, joint = Clock(streams.zero), Joint(clip.path)
        video = stack.enter_context(_VideoSink(clip, streams, folder / "frames.mjpeg", options))
        audio = stack.enter_context(_AudioSink(clip, streams, folder / "audio.wav"))
        words = _SubtitleSink(streams)
        sinks: dict[str, _Sink] = {"video": video, "audio": audio, "subtitle": words}

        def told(seconds: float) -> None:
            limits.check_written(clip.path, video.size + 2 * audio.written)
            on_time(seconds)

        every = joint.watched(packets(container, streams, clock))
        damaged = _run(every, streams, sinks, audio if streams.video is None else video, told)
        reached = max(video.end, audio.end)
        if not reached:
            raise MediaError(f"Nothing in {clip.path} could be decoded; copy or record it again.")
        problems = (*damaged, *(() if clock.jumps else cut_off(clip.path, container, streams, video.end, audio.end)))
        notes = notes_on_tracks(container, streams.audio, streams.subtitles if words.count else None, options.language)
        notes += (JUMPS.format(places=f" in {clock.jumps} places" if clock.jumps > 1 else ""),) if clock.jumps else ()
        notes += joint.notes(clock.jumps, container.format.name)
        notes += (CANCELLED.format(seconds=audio.cancelled),) if audio.cancelled > 0.5 else ()
    index = folder / "frames_index.parquet"
    if video.count:
        video.write_index(index)
    return Decoded(
        frames=video.path if video.count else None,
        index=index if video.count else None,
        audio=audio.path if audio.written else None,
        subtitles=words.write(folder / "subtitles.vtt"),
        problems=problems,
        duration=clip.duration if abs(clip.duration - reached) <= DURATION_SLACK else reached,
        notes=notes,
    )


class _Sink(Protocol):
    """What takes the decoded frames of one kind of stream."""

    def take(self, frame: "av.frame.Frame", packet: "av.Packet") -> None:
        """Take a frame that a packet gave."""


def _run(
    every: "Iterable[av.Packet]", streams: Streams, sinks: Mapping[str, _Sink], leading: "_VideoSink | _AudioSink",
    on_time: Callable[[float], None],
) -> list[str]:
    """Decode every packet into the sink of its kind and tell how far `leading` is; return what was damaged."""
    damaged: Counter[str] = Counter()
    if streams.video is not None:
        streams.video.thread_type = "AUTO"
    for packet in every:
        kind = packet.stream.type
        frames = decoded(packet)
        if frames is None:
            damaged[kind] += 1
        for frame in frames or ():
            sinks[kind].take(frame, packet)
        on_time(leading.end)
    return [f"Left out because damaged: {count} packets of the {NAMES[kind]}." for kind, count in damaged.items()]


class _VideoSink:
    """Scales, turns and keeps the frames that are sampled; notes the time of every frame."""

    def __init__(self, clip: Clip, streams: Streams, path: Path, options: DecodeOptions) -> None:
        from av.video.reformatter import VideoReformatter

        shrink = min(1.0, options.longest_side / max(clip.width, clip.height, 1))
        width, height = max(1, round(clip.width * shrink)), max(1, round(clip.height * shrink))
        self._size = (height, width) if clip.rotation in (90, 270) else (width, height)
        self._clip, self._zero = clip, streams.zero
        self._reformatter = VideoReformatter()
        self._ticks = Ticks(options.frames_per_second)
        self._writer = FrameWriter(path, scale=max(1.0, clip.width / width))
        self._mirrored: bool | None = None
        self._last = 0.0
        self.path, self.end, self.count = path, 0.0, 0

    def take(self, frame: "av.VideoFrame", packet: "av.Packet") -> None:
        """Note a decoded frame, and keep its picture when it is the first of its tick."""
        if not self._clip.has_video:  # damage that probing did not get over: what is measured and what is decoded must agree
            return
        step = 1 / self._clip.frame_rate
        time_s = _time(frame, self._zero, self._clip.duration, otherwise=self._last + step * (self.count > 0))
        self._last = time_s = max(time_s, self._last)  # damaged stamps must not make time run backwards
        self._writer.add(time_s, partial(self._image, frame) if self._ticks.takes(time_s) else None)
        self.end = time_s + (min(float(frame.duration * frame.time_base), LONGEST_GAP) if frame.duration else step)
        self.count += 1

    def _image(self, frame: "av.VideoFrame") -> NDArray[np.uint8]:
        """A frame as uint8 BGR, scaled and converted in one step, upright."""
        from av.video.reformatter import Interpolation

        width, height = self._size
        coded = self._reformatter.reformat(
            frame, width, height, "bgr24", src_colorspace=_colour_matrix(frame), interpolation=Interpolation.AREA, threads=1
        ).to_ndarray()
        if self._mirrored is None:  # asked of one frame only: side data ties a frame into a cycle that outlives it
            _, self._mirrored = turned(frame)
        if self._mirrored:
            coded = coded[:, ::-1]
        return np.ascontiguousarray(np.rot90(coded, -self._clip.rotation // 90))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    def write_index(self, index: Path) -> None:
        """Write the index of the frame store."""
        self._writer.write_index(index)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)


class _AudioSink:
    """Resamples to 16 kHz mono and writes a WAV with every sound at its time; silence fills what is missing."""

    def __init__(self, clip: Clip, streams: Streams, path: Path) -> None:
        self._writer = SoundWriter(path)
        self._zero, self._duration = streams.zero, clip.duration
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._expected = 0.0
        self._mixable = Mixable()
        self.path = path

    @property
    def cancelled(self) -> float:
        """Seconds of which one channel was taken, as the two cancel each other."""
        return self._mixable.cancelled

    @property
    def written(self) -> int:
        """Samples written so far."""
        return self._writer.written

    @property
    def end(self) -> float:
        """Seconds written so far."""
        return self.written / AUDIO_RATE

    def take(self, frame: "av.AudioFrame", packet: "av.Packet") -> None:
        """Put a decoded piece of sound at its time; one that lies wholly over what is there already is left out."""
        start = _time(frame, self._zero, self._duration, otherwise=self._expected)
        if start < self._expected - AUDIO_SLACK:
            return
        frame = self._mixable(frame)
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if start > self._expected + AUDIO_SLACK or form != self._form:
            self._restart(form, start)
        assert self._resampler is not None
        self._write(self._resampler.resample(frame))
        self._expected += frame.samples / frame.sample_rate

    def _restart(self, form: tuple[str, str, int], start: float) -> None:
        """Finish what was begun, fill with silence up to `start` (s), and resample afresh from there."""
        import av

        self._finish()
        self._writer.fill(round(start * AUDIO_RATE) - self.written)
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_RATE)
        self._form, self._expected = form, max(start, self._expected)

    def _write(self, frames: "list[av.AudioFrame]") -> None:
        for frame in frames:
            self._writer.write(frame.to_ndarray().tobytes())

    def _finish(self) -> None:
        if self._resampler is not None:
            self._write(self._resampler.resample(None))
            self._resampler = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._writer.__exit__(kind, error, trace)


class _SubtitleSink:
    """Collects the cues of a text subtitle stream."""

    def __init__(self, streams: Streams) -> None:
        self._zero = streams.zero
        self._cues: list[Cue] = []

    @property
    def count(self) -> int:
        """Cues so far."""
        return len(self._cues)

    def take(self, frame: "av.subtitles.subtitle.Subtitle", packet: "av.Packet") -> None:
        """Note one cue."""
        if packet.pts is not None:
            start = float(packet.pts * packet.time_base) - self._zero
            end = start + float((packet.duration or 0) * packet.time_base)
            event = (getattr(frame, "ass", b"") or b"").decode("utf-8", errors="replace")
            self._cues.append(substation_cue(event, max(start, 0.0), max(end, 0.0)))

    def write(self, path: Path) -> Path | None:
        """Write what is said as WebVTT; None without any."""
        said = table_of(said_in(sorted(self._cues, key=lambda cue: cue.start)))
        if said.empty:
            return None
        path.write_text(to_vtt(said), encoding="utf-8")
        return path


def _colour_matrix(frame: "av.VideoFrame") -> int | None:
    """The matrix of a picture that does not name one: BT.709 from 720 lines on, BT.601 below, as players assume."""
    from av.video.reformatter import Colorspace

    unspecified = 2
    if frame.colorspace != unspecified or not frame.format.name.startswith(("yuv", "nv", "p0")):
        return None
    return int(Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601)


def _time(frame: "av.frame.Frame", zero: float, duration: float, otherwise: float) -> float:
    """Seconds from time 0 of a frame; `otherwise` when it has no time stamp or one outside the clip, which is damage."""
    if frame.pts is None:
        return otherwise
    time_s = float(frame.pts * frame.time_base) - zero
    return time_s if -1.0 <= time_s <= duration + 1.0 else otherwise
