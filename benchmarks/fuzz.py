"""Damaged media, thousands of files: small clips of every kind, changed at random, are measured and decoded.

    ./dyad benchmark fuzz [--files 5000] [--seed 0]

Each file is one of ten small clips with bytes flipped, fields set to extremes, stretches cut out, doubled, emptied or taken from
another one; the same seed makes the same files. It must be decoded or refused in a sentence, in 20 s of
processor time and 1,500 MB.
Files that are not are kept in the folder that is named at the end.
"""

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import av
import numpy as np

from benchmarks.common import header, make_parser, peak_megabytes, print_table
from data.errors import DyadError
from data.media.decode import DecodeOptions, decode
from data.media.probe import probe

SECONDS, MEGABYTES = 20.0, 1500.0
"""What one file may cost."""
KINDS = {
    "mp4": ("libx264", "aac"), "mov": ("mpeg4", "pcm_s16le"), "mkv": ("libx264", "libopus"), "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "pcm_s16le"), "ts": ("mpeg2video", "mp2"), "wav": ("", "pcm_s16le"), "flac": ("", "flac"),
    "mp3": ("", "libmp3lame"), "gif": ("gif", ""),
}  # fmt: skip
"""Codecs of image and sound by container."""
EXTREMES = tuple(number.to_bytes(4, "big") for number in (0, 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1))


class Tried(TypedDict):
    """What became of a file: decoded, refused, traceback, ended (by a signal), slow or large; and what was said."""

    number: int
    became: str
    said: str
    seconds: float
    peak: float


def make_clips(folder: Path) -> list[Path]:
    """A second of moving stripes and a tone in each of `KINDS`."""
    return [_make_clip(folder / f"clip.{kind}", *codecs) for kind, codecs in KINDS.items()]


def _make_clip(path: Path, video: str, audio: str) -> Path:
    rate = 48_000 if audio == "libopus" else 44_100
    with av.open(str(path), "w") as container:
        images = container.add_stream(video, rate=10) if video else None
        sound = container.add_stream(audio, rate=rate, layout="mono") if audio else None
        if images is not None:
            images.width, images.height = 96, 64
            images.pix_fmt = "rgb8" if video == "gif" else "yuv420p"
            for number in range(10):
                stripes = np.tile((np.arange(96) * 8 + 20 * number).astype(np.uint8)[None, :, None], (64, 1, 3))
                container.mux(images.encode(av.VideoFrame.from_ndarray(stripes, format="rgb24").reformat(format=images.pix_fmt)))
            container.mux(images.encode(None))
        if sound is not None:
            resampler = av.AudioResampler(sound.format.name, "mono", rate, frame_size=sound.codec_context.frame_size or 1024)
            wave = (0.3 * np.sin(np.arange(rate) * 0.06)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return path


def damaged(clips: Sequence[bytes], seed: int, number: int) -> tuple[int, bytes]:
    """File `number`: which clip it is of, and its content after one to four changes."""
    chance = random.Random(f"{seed}/{number}")
    which = number % len(clips)
    content = bytearray(clips[which])
    for _ in range(chance.randint(1, 4)):
        chance.choice(CHANGES)(content, chance, chance.choice(clips))
    return which, bytes(content)


def _place(content: bytearray, chance: random.Random) -> int:
    """A place in the content; half of them near its beginning or its end, where the tables are."""
    end = max(len(content) - 1, 0)
    return chance.choice((chance.randint(0, end), chance.randint(0, min(600, end)), max(0, end - chance.randint(0, 2000))))


def _flip(content: bytearray, chance: random.Random, _other: bytes) -> None:
    for _ in range(chance.randint(1, 20)):
        if content:
            content[_place(content, chance)] ^= 1 << chance.randint(0, 7)


def _extreme(content: bytearray, chance: random.Random, _other: bytes) -> None:
    place = _place(content, chance)
    content[place : place + 4] = chance.choice(EXTREMES)


def _cut_end(content: bytearray, chance: random.Random, _other: bytes) -> None:
    del content[_place(content, chance) :]


def _remove(content: bytearray, chance: random.Random, _other: bytes) -> None:
    place = _place(content, chance)
    del content[place : place + chance.randint(1, 2000)]


def _double(content: bytearray, chance: random.Random, _other: bytes) -> None:
    place = _place(content, chance)
    content[place:place] = content[place : place + chance.randint(1, 4000)] * chance.randint(1, 5)


def _empty(content: bytearray, chance: random.Random, _other: bytes) -> None:
    place, size = _place(content, chance), chance.randint(1, 4000)
    content[place : place + size] = bytes(len(content[place : place + size]))


def _graft(content: bytearray, chance: random.Random, other: bytes) -> None:
    place, start, size = _place(content, chance), chance.randint(0, len(other)), chance.randint(1, 4000)
    content[place : place + size] = other[start : start + size]


CHANGES: tuple[Callable[[bytearray, random.Random, bytes], None], ...] = (
    _flip, _flip, _extreme, _extreme, _cut_end, _remove, _double, _empty, _graft,
)  # fmt: skip


def attempt(path: Path, number: int) -> Tried:
    """Probe and decode a file."""
    began, became = time.process_time(), "decoded"
    try:
        with tempfile.TemporaryDirectory() as work:
            said = f"{decode(probe(path), Path(work), DecodeOptions(5.0, 960)).duration:.2f} s"
    except DyadError as error:
        became, said = "refused", str(error)
    except Exception:
        became, said = "traceback", traceback.format_exc(limit=-3)
    seconds, peak = time.process_time() - began, peak_megabytes()
    if became != "traceback" and (seconds > SECONDS or peak > MEGABYTES):
        became = "slow" if seconds > SECONDS else "large"
    return Tried(number=number, became=became, said=said, seconds=seconds, peak=peak)


def child(folder: Path, seed: int, first: int, last: int) -> None:
    """Try the files from `first` to before `last`, and print what became of each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)  # ends the process, whatever it computes
    clips = [(folder / f"clip.{kind}").read_bytes() for kind in KINDS]
    kinds = list(KINDS)
    for number in range(first, last):
        which, content = damaged(clips, seed, number)
        path = folder / f"damaged-{number}.{kinds[which]}"
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_VIRTUAL, 3 * SECONDS)
        tried = attempt(path, number)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if tried["became"] in ("decoded", "refused"):
            path.unlink()
        print(json.dumps(tried), flush=True)


def fuzz(folder: Path, files: int, seed: int) -> Iterator[Tried]:
    """What becomes of so many damaged files; the process that tries them is started again where one ends it."""
    make_clips(folder)
    number = 0
    while number < files:
        command = [sys.executable, "-m", "benchmarks.fuzz", "--child", folder, seed, number, files]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                tried: Tried = json.loads(line)
                number = tried["number"] + 1
                yield tried
        if number < files:
            yield Tried(number=number, became="ended", said=f"exit code {process.returncode}", seconds=0.0, peak=0.0)
            number += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        folder, *numbers = options.child
        return child(Path(folder), *map(int, numbers))
    print(header(), end="\n\n", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="dyad-fuzz-"))
    tried = list(fuzz(folder, options.files, options.seed))
    counts = Counter(one["became"] for one in tried)
    heads = ("decoded", "refused", "traceback", "ended", "slow", "large")
    most = max(one["seconds"] for one in tried), max(one["peak"] for one in tried)
    row = [len(tried), *(counts[name] for name in heads), f"{most[0]:.1f}", f"{most[1]:.0f}"]
    said = ["files", "decoded", "refused in a sentence", "tracebacks", "crashes", "slow", "large", "most s", "peak MB"]
    print_table(said, [row])
    for one in tried:
        if one["became"] not in ("decoded", "refused"):
            print(f"\n{folder}/damaged-{one['number']}.*: {one['became']}\n{one['said']}")
    return None


if __name__ == "__main__":
    main()
