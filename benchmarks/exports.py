"""Seconds and peak memory of exporting data sets of different sizes, each format in a process of its own.

    ./dyad benchmark exports [--clips 200 10000] [--formats csv xlsx]

Every clip is a hard link to one real result.json, that of the sample clip: five windows.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import figures_of_process, header, make_parser, peak_megabytes, print_table, run_directly
from data.sample import sample_clip

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


def child(folder: str, name: str, target: str) -> None:
    """Export and print the processor seconds and the peak resident set (MB) that it took, without loading the libraries."""
    from flows.exports.source import source_at
    from flows.exports.write import export_to
    from reports.exports.formats import FORMATS

    for library in ("pandas", "pyarrow.parquet", "openpyxl"):
        __import__(library)
    began = time.process_time()
    export_to(source_at(folder), name, f"{target}/" if FORMATS[name].write_clip else target)
    print(json.dumps({"seconds": time.process_time() - began, "peak": peak_megabytes()}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[200, 10_000])
    parser.add_argument("--formats", nargs="+", default=list(MEASURED))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(*options.child)
        return
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        run_directly(sample_clip(), Path(folder) / "runs")
        (result,) = Path(folder).glob("runs/*/result.json")
        folders = {count: make_data_set(result, Path(folder) / str(count), count) for count in options.clips}
        rows: list[list[object]] = []
        for name in options.formats:
            row: list[object] = [name]
            for count, data_set in folders.items():
                target = Path(folder) / f"{count}-{name}"
                figures = figures_of_process("benchmarks.exports", ["--child", data_set, name, target])
                row += [round(figures["seconds"], 1), round(figures["peak"])]
            rows.append(row)
        print_table(["format", *(f"{what}, {count} clips" for count in folders for what in ("seconds", "peak MB"))], rows)


if __name__ == "__main__":
    main()
