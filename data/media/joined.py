"""Recordings that were put one behind the other byte by byte (`cat a.mp4 b.mp4`): many formats end with the first of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import av

UNREAD = (
    "The file holds more than one recording: a second one begins at byte {begin:,}, and only the first is read. Join them "
    "with FFmpeg's concat (ffmpeg -f concat -i list.txt), not byte by byte."
)
AROUND = (
    "The file holds more than one recording, put together byte by byte: where the second one begins, at byte {begin:,}, some "
    "may be missing or out of place. Join them with FFmpeg's concat (ffmpeg -f concat -i list.txt)."
)
_REPEATED = {b"fLaC": 8, b"FLV\x01": 13, b"caff": 12, b"TTA1": 12}
"""Formats that do not say how long they are, and how many bytes at their beginning nothing inside of them repeats."""
_PIECE = 2**20


class Joint:
    """Where in a file a second recording begins, and whether anything of it is read."""

    def __init__(self, path: Path) -> None:
        self._begin = second_recording(path)
        self._reached = False

    def watched(self, packets: "Iterable[av.Packet]") -> "Iterator[av.Packet]":
        """The same packets; those behind the joint are noted."""
        for packet in packets:
            self._reached |= self._begin is not None and packet.pos is not None and packet.pos >= self._begin
            yield packet

    def notes(self, jumps: int, form: str) -> tuple[str, ...]:
        """A sentence where the second recording was not read, or not surely whole; `jumps` of the clock, FFmpeg's name of `form`.

        Pieces of an MP4 may go on behind a second head, as those of a stream whose quality changes: the clock then goes on too.
        """
        if self._begin is None or (self._reached and not jumps and "mp4" in form):
            return ()
        return ((AROUND if self._reached or jumps else UNREAD).format(begin=self._begin),)


def second_recording(path: Path) -> int | None:
    """The byte at which a second recording begins in an MP4, QuickTime, WAV, AIFF, FLV, FLAC, CAF or TTA file; None where none
    does for certain."""
    with path.open("rb") as file:
        head = file.read(16)
        if head[4:8] == b"ftyp":
            return _second_boxes(file)
        if (head[:4], head[8:12]) in ((b"RIFF", b"WAVE"), (b"FORM", b"AIFF"), (b"FORM", b"AIFC")):
            size = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
            begin = 8 + size + size % 2  # of streams whose length was not known, nowhere
            again = _at(file, begin, 12)
            return begin if (again[:4], again[8:]) == (head[:4], head[8:12]) else None
        begun = head[: _REPEATED.get(head[:4], 0)]
        return _found(file, begun) if begun else None


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _second_boxes(file: BinaryIO) -> int | None:
    """Where `ftyp`, and after it `moov`, stand a second time among the outermost boxes (ISO 14496-12, 4.2)."""
    begin, place, ready = None, 0, False
    while len(box := _at(file, place, 16)) >= 8:
        size, name = int.from_bytes(box[:4], "big"), box[4:8]
        if name == b"ftyp" and ready:
            begin = place
        elif name == b"moov":
            if begin is not None:
                return begin
            ready = True
        size = int.from_bytes(box[8:], "big") if size == 1 else size
        if size < 8:  # 0: it goes on to the end of the file
            return None
        place += size
    return None


def _found(file: BinaryIO, begun: bytes) -> int | None:
    """Where `begun`, which the file begins with, stands a second time."""
    place, kept = len(begun), b""
    file.seek(place)
    while piece := file.read(_PIECE):
        found = (kept + piece).find(begun)
        if found >= 0:
            return place - len(kept) + found
        place, kept = place + len(piece), piece[-len(begun) + 1 :]
    return None
