"""The sound of a clip as a file: 16 kHz mono 16-bit WAV, in its form for long files (RF64) from 4 GB on."""

import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

AUDIO_RATE = 16_000
"""Samples a second: what voice activity, emotion and speech models are trained on."""
LONGEST_RIFF = 2**32 - 1
"""Bytes that the 32-bit sizes of a plain WAV can tell."""
HEADER = 80


class SoundWriter:
    """Writes samples as they come; the header, which says how many there are, is right once the block is left without error."""

    def __init__(self, path: Path) -> None:
        self._stream: BinaryIO = path.open("wb")
        self._stream.write(bytes(HEADER))
        self.path, self.written = path, 0

    def write(self, samples: bytes) -> None:
        """Append 16-bit samples (little endian)."""
        self._stream.write(samples)
        self.written += len(samples) // 2

    def fill(self, samples: int) -> None:
        """Append silence; nothing when `samples` is negative."""
        while samples > 0:
            self.write(bytes(2 * min(samples, AUDIO_RATE)))
            samples -= AUDIO_RATE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stream:
            if kind is None:
                self._stream.seek(0)
                self._stream.write(header(self.written))


def header(samples: int) -> bytes:
    """The header of 16-bit mono sound: RIFF with room for what RF64 needs (EBU Tech 3306), else RF64."""
    data = 2 * samples
    whole = HEADER - 8 + data
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, AUDIO_RATE, 2 * AUDIO_RATE, 2, 16)
    if whole <= LONGEST_RIFF:
        return struct.pack("<4sI4s4sI28x", b"RIFF", whole, b"WAVE", b"JUNK", 28) + form + struct.pack("<4sI", b"data", data)
    sizes = struct.pack("<4sI4s4sIQQQI", b"RF64", LONGEST_RIFF, b"WAVE", b"ds64", 28, whole, data, samples, 0)
    return sizes + form + struct.pack("<4sI", b"data", LONGEST_RIFF)
