"""Peak memory of a long clip beside that of a short one, each in a process of its own.

    ./dyad benchmark memory [--minutes 3 30] [--speech FILE]

The clips are 720p, 25 fps, one face and a voice, made of the sample clip, or, with a file of speech, its
sound alone, repeated; the figure is the process's largest resident set.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import figures_of_process, header, make_parser, peak_megabytes, print_table, run_directly, timed
from benchmarks.long_clip import make_long_clip, repeat_sound


def child(clip: Path, output: Path) -> None:
    """Recognise one clip and print the seconds and the peak resident set (MB) that it took."""
    seconds = timed(lambda: run_directly(clip, output))
    print(json.dumps({"seconds": seconds, "peak": peak_megabytes()}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 30])
    parser.add_argument("--speech", type=Path, metavar="FILE", help="speech to repeat in place of the sample clip")
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(*options.child)
        return
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        rows: list[list[object]] = []
        for minutes in options.minutes:
            clip = Path(folder) / f"{minutes:g}.{'wav' if options.speech else 'mp4'}"
            repeat_sound(options.speech, clip, minutes * 60) if options.speech else make_long_clip(clip, minutes * 60)
            figures = figures_of_process("benchmarks.memory", ["--child", clip, folder])
            first = rows[0][2] if rows else figures["peak"]
            rows.append([f"{minutes:g} min", figures["seconds"], figures["peak"], figures["peak"] / float(str(first))])
        print_table(["clip", "seconds", "peak MB", "to the first"], rows)


if __name__ == "__main__":
    main()
