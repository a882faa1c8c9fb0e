"""Small media files that claim to be huge, or are damaged so; `python -m tests.faults.bombs FILE...` probes and decodes them."""

import json
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

from benchmarks.common import peak_megabytes
from data.errors import DyadError
from data.media.decode import DecodeOptions, decode
from data.media.probe import probe


def png(path: Path, width: int, height: int) -> Path:
    """A black picture with 64 bits a pixel, of which a hundred rows are compressed and said again and again."""
    rows = 100
    block = bytes((1 + 8 * width) * rows)
    packer = zlib.compressobj(9)
    once = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", (1 + 8 * width) * height % 65_521, 1)  # Adler-32 of zeros
    data = once + again * (height // rows - 1) + zlib.compressobj(9, zlib.DEFLATED, -15).flush() + checksum
    head = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return path


def wav(path: Path, rate: int, channels: int, size: int) -> Path:
    """Silence, `size` bytes of it, which take no room on the disk; channels have no names."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, 0, 2 * channels, 16)
    path.write_bytes(struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size))
    with path.open("r+b") as stream:
        stream.truncate(44 + size)
    return path


def slow_avi(path: Path, clip: Path) -> Path:
    """An AVI whose images last 5 years each, by four bytes."""
    content = bytearray(clip.read_bytes())
    scale = content.index(b"strh") + 28
    content[scale : scale + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    return path


def attempt(path: Path) -> dict[str, str | float]:
    """Probe and decode a file: what was said, the seconds of processor time, and the most memory of this process so far (MB)."""
    began, said = time.process_time(), ""
    try:
        with tempfile.TemporaryDirectory() as work:
            done = decode(probe(path), Path(work), DecodeOptions(5.0, 960))
            said = f"decoded {done.duration:.1f} s"
    except DyadError as error:
        said = str(error)
    return {"file": path.name, "said": said, "seconds": time.process_time() - began, "peak": peak_megabytes()}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(attempt(Path(name))), flush=True)
