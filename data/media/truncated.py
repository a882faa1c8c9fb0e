"""Files that stop before they end: what a file says that it holds against what could be decoded."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from data.media.declared import declared_size, lacks_end
from data.media.probe import Streams, declared_end
from data.times import parse_time

if TYPE_CHECKING:
    import av

CUT_OFF = 0.5
"""Seconds that must be missing at the end before a stream counts as truncated."""
TELLING = frozenset({"mov", "matroska", "avi", "flac", "wav", "aiff", "au", "flv", "tta", "wv"})
"""Formats that write down how long they are; elsewhere FFmpeg estimates it from the size of the file."""
STOPS = "The {name} stops at {reached:.1f} s of {declared:.1f} s: the file is truncated or damaged."
ABOUT = "The file stops at {reached:.1f} s of about {declared:.1f} s: it is truncated ({size:,} of {whole:,} bytes)."
NO_END = "The end of the file is missing: it is truncated, or its recording was never closed."


def cut_off(
    path: Path, container: "av.container.InputContainer", streams: Streams, video_end: float, audio_end: float
) -> list[str]:
    """A sentence for every stream that ends well before the file says, or one for the file as a whole.

    `video_end`, `audio_end`: seconds from time 0 up to which they were decoded.
    """
    reached = max(video_end, audio_end)
    if _tells(path, container.format.name):
        chosen = (("video", streams.video, video_end), ("sound", streams.audio, audio_end))
        ends = [(name, _end_of(stream, container, streams.zero), end) for name, stream, end in chosen]
        others = [stream for stream in (*container.streams.video, *container.streams.audio) if stream not in streams.chosen]
        if all(declared is None for _, declared, _ in ends) and container.duration and not others:
            # Matroska counts from the clock's 0, also where the first stamp is another one.
            begin = streams.zero if "matroska" in container.format.name else 0.0
            ends = [("file", container.duration / 1e6 - begin, reached)]
        told = [
            STOPS.format(name=name, reached=end, declared=declared)
            for name, declared, end in ends
            if declared is not None and declared - end > CUT_OFF
        ]
        if told:
            return told
    whole, size = declared_size(path), os.stat(path).st_size
    if whole is not None and (declared := reached * whole / size) - reached > CUT_OFF:
        return [ABOUT.format(reached=reached, declared=declared, size=size, whole=whole)]
    return [NO_END] if lacks_end(path) else []


def _end_of(stream: "av.stream.Stream | None", container: "av.container.InputContainer", zero: float) -> float | None:
    """When a stream ends, seconds from time 0, as the container says or a tag of the stream, which FFmpeg and mkvmerge write.

    None where neither does, and where the tag tells of more than the whole file has: it is another file's.
    """
    if stream is None or (declared := declared_end(stream, zero)) is not None:
        return declared if stream is not None else None
    try:
        tagged = parse_time(stream.metadata.get("DURATION", ""))
    except ValueError:
        return None
    return tagged - zero if tagged <= (container.duration or 0) / 1e6 + CUT_OFF else None


def _tells(path: Path, form: str) -> bool:
    """Whether a file of this format says how long it is; an MP3 does in a first frame that is called so (Xing, Info, VBRI)."""
    if form != "mp3":
        return bool(TELLING & set(form.split(",")))
    with path.open("rb") as file:
        tag = file.read(10)
        sizes = tag[6:10] if tag[:3] == b"ID3" else bytes(4)
        file.seek(sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(sizes))) + 10 * (tag[:3] == b"ID3"))
        frame = file.read(256)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))
