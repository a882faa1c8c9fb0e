"""Real-time factor of the embedded profile on real clips and on films of many kinds, beside plain decoding of the same file.

    ./dyad benchmark speed --data ../shared/datasets
    ./dyad benchmark speed --films all [--longest 60] [--words]

The floor is PyAV decoding every frame and sample of the file and throwing them away. Each clip is run as often as --repeats
says; the median counts. `--films` prints another table: films made of the sample clip, each in a process of its own that has
recognised the sample clip before, so that models are loaded; on the clock, by the processor, and with its largest memory.
`--longest` makes films shorter, in seconds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import av

from benchmarks.common import (
    figures_of_process,
    header,
    make_parser,
    names_among,
    peak_megabytes,
    print_table,
    run_directly,
    timed,
)
from benchmarks.long_clip import make_long_clip
from data.media.probe import probe
from data.sample import sample_clip
from flows.clip.graph import NEEDS

STAGES = [name for name in NEEDS if name not in ("compose", "publish")]


@dataclass(frozen=True)
class Film:
    """A film made of the sample clip: what it is, width and height, frames a second, how long (s), and how many faces."""

    what: str
    size: tuple[int, int]
    frames_per_second: int
    seconds: float
    faces: int = 1


FILMS = {
    "minute": Film("720p, one face", (1280, 720), 25, 60),
    "full-hd": Film("1080p, one face", (1920, 1080), 50, 60),
    "4k": Film("4K, one face", (3840, 2160), 25, 60),
    "portrait": Film("a phone held upright, one face", (1080, 1920), 30, 60),
    "crowd": Film("720p, ten faces", (1280, 720), 25, 60, 10),
    "lecture": Film("720p, one face", (1280, 720), 25, 1800),
}


def decode_plainly(path: Path) -> None:
    """Decode every frame and sample, and do nothing with them."""
    with av.open(path) as container:
        for stream in container.streams.video:
            stream.thread_type = "AUTO"
        streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        for packet in container.demux(streams):
            try:
                packet.decode()
            except av.error.InvalidDataError:
                continue


def row(path: Path, output: Path, repeats: int) -> list[object]:
    """One clip: length, floor, total, their ratio, real-time factor, and the seconds of each stage."""
    clip = probe(path)
    floor = timed(lambda: decode_plainly(path), repeats)
    stages: dict[str, float] = {}

    def whole() -> None:
        stages.update(run_directly(path, output))

    total = timed(whole, repeats)
    frames = f"{clip.width}x{clip.height} {clip.frame_rate:.0f} fps" if clip.has_video else "audio"
    figures = [clip.duration, floor, total, total / floor, total / clip.duration]
    return [path.name, frames, *figures, *(stages[name] for name in STAGES)]


def film_row(name: str, folder: Path, options: argparse.Namespace) -> list[object]:
    """One film, in a process of its own."""
    film = FILMS[name]
    seconds = min(film.seconds, options.longest)
    path = make_long_clip(folder / f"{name}.mp4", seconds, film.size, film.frames_per_second, film.faces)
    arguments = ["--child", path, folder, "--repeats", options.repeats, *(["--words"] if options.words else [])]
    figures = figures_of_process("benchmarks.speed", arguments)
    shown = f"{film.size[0]}x{film.size[1]} {film.frames_per_second} fps"
    floor, spent = figures["floor cpu"], figures["cpu"]
    clocks = [figures["floor"], figures["seconds"], figures["seconds"] / figures["floor"]]
    return [film.what, shown, seconds, *clocks, floor, spent, spent / floor, figures["faces"], f"{figures['peak']:.0f}"]


def child(path: Path, output: Path, repeats: int, words: bool) -> None:
    """Recognise a film after the sample clip, and print what that cost."""
    run_directly(sample_clip(), output, words=words)
    stages: dict[str, float] = {}
    floor, floor_cpu = spent(lambda: decode_plainly(path), repeats)
    seconds, cpu = spent(lambda: stages.update(run_directly(path, output, words=words)), repeats)
    figures = {"floor": floor, "floor cpu": floor_cpu, "seconds": seconds, "cpu": cpu, "faces": stages["faces"]}
    print(json.dumps(figures | {"peak": peak_megabytes()}))


def spent(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of a call on the clock, and of the processor by all threads."""
    both = []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        work()
        both.append((time.perf_counter() - clock, time.process_time() - cpu))
    return median(clock for clock, _ in both), median(cpu for _, cpu in both)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--films", type=names_among(["all", *FILMS], "film"), metavar="NAME,...",
                        help=f"films instead of clips: all, or some of {', '.join(FILMS)}")  # fmt: skip
    parser.add_argument("--longest", type=float, default=float("inf"), help="seconds of a film at most")
    parser.add_argument("--words", action="store_true", help="hear the words of films, too")
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        film, output = options.child
        child(film, output, options.repeats, options.words)
        return
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        if options.films:
            names = FILMS if "all" in options.films else options.films
            heads = ["film", "frames", "s", "floor s", "total s", "ratio", "floor CPU s", "CPU s", "ratio", "faces s", "MB"]
            print_table(heads, (film_row(name, output, options) for name in names))
            return
        run_directly(sample_clip(), output)
        clips = [sample_clip(), *sorted((options.data / "media").glob("*.*"))]
        heads = ["clip", "frames", "s", "floor s", "total s", "total/floor", "s per s"]
        rows = (row(clip, output, options.repeats) for clip in clips)
        print_table([*heads, *(name.replace("_", " ") for name in STAGES)], rows)


if __name__ == "__main__":
    main()
