"""Clip: one media file, measured and named."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

LONGEST_STEM = 80
"""Bytes of a file's stem that its clip id keeps, well below the 255 of a file name."""


@dataclass(frozen=True)
class Clip:
    """One media file as `data.media.probe.probe` measured it.

    duration: seconds of the longer of picture and sound, counted from time 0, the earliest start of the two.
    frame_rate: average frames a second, 0.0 without video.
    width, height: pixels as shown (after rotation, with square pixels), 0 without video.
    rotation: degrees clockwise (0, 90, 180, 270) that turn the coded picture upright.
    audio_stream: index of the sound's stream in the file where it has several, else None.
    subtitle_stream: index of the text subtitle stream in the file, None without one.
    start: where in the file a segment begins, s; None for a clip that is the whole file.
    """

    path: Path
    clip_id: str
    content_hash: str
    duration: float
    frame_rate: float = 0.0
    width: int = 0
    height: int = 0
    rotation: int = 0
    has_video: bool = False
    has_audio: bool = False
    subtitle_stream: int | None = None
    start: float | None = None
    audio_stream: int | None = None


def clip_id_of(stem: str, content_hash: str) -> str:
    """A folder name for a clip: its stem as letters, digits, '-', '_' (NFC, at most 80 bytes), and 8 hash digits."""
    kept = "".join(
        letter if letter in "-_" or unicodedata.category(letter)[0] in "LMN" else "_"
        for letter in unicodedata.normalize("NFC", stem)
    )
    tidy = re.sub("_+", "_", kept).strip("-_")
    short = tidy.encode()[:LONGEST_STEM].decode(errors="ignore").strip("-_")
    return f"{short or 'clip'}-{content_hash[:8]}"
