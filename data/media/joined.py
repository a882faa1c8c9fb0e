"""Recordings that were put one behind the other byte by byte (`cat a.mp4 b.mp4`): many formats end with the first of them."""

from collections.abc import Iterable, Iterator
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from data.media.declared import bytes_at, declared_size

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
    """The byte at which a second recording begins in an MP4, QuickTime, WAV, Wave64, AIFF, FLV, FLAC, WavPack, CAF or TTA file.

    None where none does for certain.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if head[4:8] == b"ftyp":
            return _second_boxes(file)
        if head[:4] in (b"RIFF", b"RF64", b"FORM", b"riff") and head[8:12] != b"AVI ":  # AVI goes on behind its first part
            begin = declared_size(path)
            return begin if begin is not None and bytes_at(file, begin, 4) == head[:4] else None
        if head[:4] == b"wvpk":
            return _second_blocks(file)
        begun = head[: _REPEATED.get(head[:4], 0)]
        return _found(file, begun) if begun else None


def readable_end(path: Path) -> int | None:
    """The byte before which an MP4 is to be read: where a second recording begins whose clock begins anew; None elsewhere.

    FFmpeg mixes up the pieces of both then. Where the clock goes on, the second head is one more of the same stream.
    """
    with path.open("rb") as file:
        if bytes_at(file, 4, 4) != b"ftyp" or (begin := _second_boxes(file)) is None:
            return None
        latest: dict[bytes, int] = {}
        for place, size, name in _boxes(file):
            if place >= begin and name == b"mdat":
                break
            if name == b"moof":
                track, time = _fragment_time(bytes_at(file, place, min(size, _PIECE)))
                if place >= begin:
                    return None if latest and time > latest.get(track, -1) else begin
                latest[track] = time
        return begin


def _fragment_time(fragment: bytes) -> tuple[bytes, int]:
    """The track of the first run of a `moof` box, and when it begins in ticks, 0 unsaid (ISO 14496-12, 8.8.7 and 8.8.12)."""
    head, time = fragment.find(b"tfhd"), fragment.find(b"tfdt")
    size = 8 if fragment[time + 4 : time + 5] == b"\1" else 4
    return fragment[head + 8 : head + 12], int.from_bytes(fragment[time + 8 : time + 8 + size], "big") if time >= 0 else 0


def _boxes(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Where the outermost boxes of an MP4 begin, their sizes in bytes and their names (ISO 14496-12, 4.2)."""
    place, end = 0, file.seek(0, SEEK_END)
    while place < end and len(box := bytes_at(file, place, 16)) >= 8:
        size = int.from_bytes(box[:4], "big")
        size = int.from_bytes(box[8:], "big") if size == 1 else size
        yield place, size, box[4:8]
        if size < 8:  # 0: it goes on to the end of the file
            return
        place += size


def _second_boxes(file: BinaryIO) -> int | None:
    """Where `ftyp`, and after it `moov`, stand a second time among the outermost boxes."""
    begin, ready = None, False
    for place, _, name in _boxes(file):
        if name == b"ftyp" and ready:
            begin = place
        elif name == b"moov":
            if begin is not None:
                return begin
            ready = True
    return None


def _second_blocks(file: BinaryIO) -> int | None:
    """Where a first block of WavPack counts its samples from 0 again (WavPack 4 & 5 file format, 2.0)."""
    place = 0
    while len(block := bytes_at(file, place, 32)) == 32:
        if block[:4] != b"wvpk":  # a tag at the end of the first one
            further = bytes_at(file, place, _PIECE).find(b"wvpk")
            if further < 0:
                return None
            place += further
            continue
        if place and not any(block[16:20]) and block[25] & 8:
            return place
        place += 8 + int.from_bytes(block[4:8], "little")
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
