"""What the head of a media file says of its length, and whether its end is there; FFmpeg often goes by the size it finds."""

from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

NEVER_SET = 2**13
"""Bytes around 2^31 and 2^32: such sizes stand in what was written to a pipe, where nobody could come back and set them."""
_WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_OGG_PAGE = 27 + 255 + 255 * 255
"""Bytes of the longest page (RFC 3533, 6)."""


def declared_size(path: Path) -> int | None:
    """Bytes that a WAV (RF64 and Wave64 too), AVI, AIFF, CAF, AU or ASF file says it has; None where it was not set, and for
    others."""
    with path.open("rb") as file:
        head = bytes_at(file, 0, 40)
        kind, form = head[:4], head[8:12]
        if kind == b"RIFF":
            return _riff(file, form)
        if kind == b"RF64" and head[12:16] == b"ds64":
            return _set(8 + int.from_bytes(head[20:28], "little"))
        if head[:16] == _WAVE64:
            return _set(int.from_bytes(head[16:24], "little"))
        if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
            return _set(8 + int.from_bytes(head[4:8], "big"))
        if kind == b".snd":
            return _set(int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big"))
        if kind == b"caff":
            return _caf(file)
        if head[:4] == b"\x30\x26\xb2\x75":
            return _asf(bytes_at(file, 0, 2**16))
    return None


def lacks_end(path: Path) -> bool:
    """Whether an Ogg or GIF file goes on behind its last byte: its last page or its trailer is missing."""
    with path.open("rb") as file:
        head, size = bytes_at(file, 0, 6), file.seek(0, SEEK_END)
        if head[:4] == b"OggS":
            tail = bytes_at(file, max(0, size - _OGG_PAGE), _OGG_PAGE)
            page = tail[tail.rfind(b"OggS") :]
            whole = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else size
            return len(page) < max(whole, 27) or not page[5] & 4
        return head in (b"GIF87a", b"GIF89a") and not bytes_at(file, max(0, size - 64), 64).rstrip(b"\0\r\n").endswith(b";")


def bytes_at(file: BinaryIO, place: int, size: int) -> bytes:
    """So many bytes from a place on; fewer where the file ends, and none behind its end, where some disks cannot even look."""
    if place >= file.seek(0, SEEK_END):
        return b""
    file.seek(place)
    return file.read(size)


def _set(size: int) -> int | None:
    """A size, None where nobody set it."""
    unknown = any(abs(size - limit) <= NEVER_SET for limit in (0, 2**31, 2**32)) and size > 2**20
    return None if unknown or not 40 < size < 2**62 else size + size % 2


def _riff(file: BinaryIO, form: bytes) -> int | None:
    """WAVE has one part, AVI further ones behind it (OpenDML)."""
    end, place = file.seek(0, SEEK_END), 0
    while place < end and (head := bytes_at(file, place, 12))[:4] == b"RIFF":
        if place and (form, head[8:]) != (b"AVI ", b"AVIX"):
            break
        size = _set(8 + int.from_bytes(head[4:8], "little"))
        if size is None:
            return None
        place += size
    return place


def _caf(file: BinaryIO) -> int | None:
    """The chunks of a CAF, up to a second CAF that follows."""
    end, place = file.seek(0, SEEK_END), 8
    while place < end and (head := bytes_at(file, place, 12))[:4] != b"caff":
        size = int.from_bytes(head[4:], "big", signed=True)
        if not 0 <= size < 2**62:
            return None
        place += 12 + size
    return place


def _asf(head: bytes) -> int | None:
    """The size in the file properties; those of a broadcast say nothing."""
    place = head.find(_ASF_PROPERTIES)
    if place < 0 or len(head) < place + 89 or head[place + 88] & 1:
        return None
    return _set(int.from_bytes(head[place + 40 : place + 48], "little"))
