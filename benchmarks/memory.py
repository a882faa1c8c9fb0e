"""Peak memory of a long clip beside that of a short one, each in a process of its own.

    ./dyad benchmark memory [--minutes 3 30]

The clips are 720p, 25 fps, one face and a voice, made of the sample clip; the figure is the process's largest resident set.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import print_table, run_directly
from benchmarks.long_clip import make_long_clip
from benchmarks.machine import header


def measure(clip: Path, output: Path) -> dict[str, float]:
    """Seconds and peak resident set (MB) of a process that recognises `clip`."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(clip), str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def child(clip: Path, output: Path) -> None:
    """Recognise one clip and print what it took."""
    began = time.perf_counter()
    run_directly(clip, output)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": time.perf_counter() - began, "peak": kilobytes / 1024}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 30])
    parser.add_argument("--child", type=Path, nargs=2)
    options = parser.parse_args(arguments)
    if options.child:
        child(*options.child)
        return
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        rows: list[list[object]] = []
        for minutes in options.minutes:
            clip = make_long_clip(Path(folder) / f"{minutes:g}.mp4", minutes * 60)
            figures = measure(clip, Path(folder))
            first = rows[0][2] if rows else figures["peak"]
            rows.append([f"{minutes:g} min", figures["seconds"], figures["peak"], figures["peak"] / float(str(first))])
        print_table(["clip", "seconds", "peak MB", "to the first"], rows)


if __name__ == "__main__":
    main()
