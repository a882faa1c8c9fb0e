"""Real-time factor of the embedded profile on real clips, by stage, beside plain decoding of the same file.

    ./dyad benchmark speed --data ../shared/datasets [--minute]

The floor is PyAV decoding every frame and sample of the file and throwing them away. Each clip is run once to warm up the
models (not counted), then as often as --repeats says; the median counts. `--minute` adds a 720p, 25 fps minute with one
face, made of the sample clip.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import av

from benchmarks.common import header, make_parser, print_table, run_directly, timed
from benchmarks.long_clip import make_long_clip
from data.media.probe import probe
from data.sample import sample_clip
from flows.clip.graph import NEEDS

STAGES = [name for name in NEEDS if name not in ("compose", "publish")]


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minute", action="store_true")
    options = parser.parse_args(arguments)
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        run_directly(sample_clip(), output)
        clips = [sample_clip(), *sorted((options.data / "media").glob("*.*"))]
        if options.minute:
            clips.append(make_long_clip(output / "minute_720p.mp4", 60.0))
        heads = ["clip", "frames", "s", "floor s", "total s", "total/floor", "s per s"]
        rows = (row(clip, output, options.repeats) for clip in clips)
        print_table([*heads, *(name.replace("_", " ") for name in STAGES)], rows)


if __name__ == "__main__":
    main()
