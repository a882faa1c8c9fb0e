"""Seconds and peak memory of exporting data sets of different sizes, each format in a process of its own.

    ./dyad benchmark exports [--clips 200 10000] [--formats csv xlsx]

Every clip is a hard link to one real result.json, that of the sample clip: five windows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

MEASURED = ("csv", "csv-long", "parquet", "parquet-long", "xlsx", "json", "jsonl", "rttm", "vtt", "eaf")


def make_data_set(result: Path, folder: Path, clips: int) -> Path:
    """A data set of so many clips that all have this result.json."""
    folder.mkdir()
    rows = ["clip_id,state,reason,path,start,end,split,label"]
    for number in range(clips):
        (folder / f"clip{number}").mkdir()
        os.link(result, folder / f"clip{number}" / "result.json")
        rows.append(f"clip{number},done,,clip.mp4,,,test,")
    (folder / "status.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def measure(place: Path, name: str, target: Path) -> dict[str, float]:
    """Processor seconds and peak resident set (MB) of a process that exports."""
    command = [sys.executable, "-m", "benchmarks.exports", "--child", str(place), name, str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def child(place: str, name: str, target: str) -> None:
    """Export and print what it took, without loading the libraries."""
    from flows.exports.source import source_at
    from flows.exports.write import export_to
    from reports.exports.formats import FORMATS

    for library in ("pandas", "pyarrow.parquet", "openpyxl"):
        __import__(library)
    began = time.process_time()
    export_to(source_at(place), name, f"{target}/" if FORMATS[name].write_clip else target)
    print(json.dumps({"seconds": time.process_time() - began, "peak": peak()}))


def peak() -> float:
    """This process's largest resident set (MB); `ru_maxrss` would count that of the process which started it, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, nargs="+", default=[200, 10_000])
    parser.add_argument("--formats", nargs="+", default=list(MEASURED))
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args(arguments)
    if options.child:
        child(*options.child)
        return
    from benchmarks.common import print_table, run_directly  # what these load would count as memory of the exports
    from benchmarks.machine import header
    from data.sample import sample_clip

    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        run_directly(sample_clip(), Path(folder) / "runs")
        (result,) = Path(folder).glob("runs/*/result.json")
        places = {count: make_data_set(result, Path(folder) / str(count), count) for count in options.clips}
        rows: list[list[object]] = []
        for name in options.formats:
            row: list[object] = [name]
            for count, place in places.items():
                figures = measure(place, name, Path(folder) / f"{count}-{name}")
                row += [round(figures["seconds"], 1), round(figures["peak"])]
            rows.append(row)
        print_table(["format", *(f"{what}, {count} clips" for count in places for what in ("seconds", "peak MB"))], rows)


if __name__ == "__main__":
    main()
