"""The formats that an answer can be written in: name -> writer, as data; and the writing of files, which is separate."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from reports.documents import SummaryDocument
from reports.exports.abaw import EXPRESSION, abaw
from reports.exports.annotation import elan, subrip, textgrid, webvtt
from reports.exports.clip import ClipAnswer, Item
from reports.exports.excel import Row, sheet_rows, write_workbook
from reports.exports.run_tables import SCHEMAS, csv_of, sheets_of
from reports.exports.tables import (
    arrow_long,
    arrow_wide,
    csv_fuse,
    csv_long,
    csv_wide,
    json_lines,
    json_whole,
    segments,
    speaker_turns,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Format:
    """How a format is written; exactly one of the four writers is there.

    `write_clips` gives the pieces of one text about any number of clips, `write_tables` the pieces of one table, `write_sheets`
    the rows of a workbook (from the clips and the content of summary.json, or None), `write_clip` the text about one clip.
    `suffix` ends its files' names, differently for each format; `frames`, `cues` and `table` (a name) say what it reads beside
    result.json, `persons` that it holds the answers of everybody in a clip.
    """

    suffix: str
    write_clips: Callable[[Iterable[Item]], Iterator[str]] | None = None
    write_clip: Callable[[ClipAnswer], str] | None = None
    write_tables: "Callable[[Iterable[Item]], Iterator[pa.Table]] | None" = None
    write_sheets: Callable[[Iterable[Item], SummaryDocument | None], Iterator[Row]] | None = None
    frames: bool = False
    cues: bool = False
    table: str = ""
    persons: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its files are text, which a terminal can show."""
        return self.write_tables is None and self.write_sheets is None


def _abaw(clips: Iterable[Item]) -> Iterator[str]:
    yield abaw(clips).text


def _expressions(clips: Iterable[Item]) -> Iterator[str]:
    yield abaw(clips, track=EXPRESSION).text


FORMATS: Mapping[str, Format] = {
    "abaw": Format(".abaw.txt", _abaw, frames=True),
    "abaw-expr": Format(".abaw-expr.txt", _expressions, frames=True),
    "csv": Format(".csv", csv_wide, persons=True),
    "csv-long": Format(".long.csv", csv_long, persons=True),
    "fuse": Format(".fuse.csv", csv_fuse),
    "parquet": Format(".parquet", write_tables=arrow_wide, persons=True),
    "parquet-long": Format(".long.parquet", write_tables=arrow_long, persons=True),
    "xlsx": Format(".xlsx", write_sheets=sheet_rows, persons=True),
    "json": Format(".json", json_whole, persons=True),
    "jsonl": Format(".jsonl", json_lines, persons=True),
    "rttm": Format(".rttm", segments, persons=True),
    "rttm-speakers": Format(".speakers.rttm", speaker_turns),
    "vtt": Format(".vtt", write_clip=webvtt),
    "srt": Format(".srt", write_clip=subrip),
    "eaf": Format(".eaf", write_clip=elan, cues=True),
    "textgrid": Format(".TextGrid", write_clip=textgrid, cues=True),
    **{f"csv-{name}": Format(f".{name}.csv", csv_of(name), table=name) for name in SCHEMAS},
    **{f"xlsx-{name}": Format(f".{name}.xlsx", write_sheets=sheets_of(name), table=name) for name in SCHEMAS},
}
OTHER_NAMES = {"elan": "eaf", "excel": "xlsx", "praat": "textgrid", "webvtt": "vtt", "subrip": "srt"}
"""What people call some of them by the tool that reads them."""
NOT_ESTIMATED = {"abaw-va": "valence and arousal", "abaw-au": "action units"}
"""Tracks of the challenge that Dyad has no numbers for."""


def format_named(name: str) -> Format:
    """The format of this name; InputError that lists them when there is none."""
    return FORMATS[own_name(name)]


def own_name(name: str) -> str:
    """The name in `FORMATS` that is meant; InputError that lists them when there is none."""
    said = OTHER_NAMES.get(name.lower(), name.lower())
    if said in NOT_ESTIMATED:
        raise InputError(f"Dyad does not estimate {NOT_ESTIMATED[said]}, so there is nothing to write as {name}.")
    if said not in FORMATS:
        raise InputError(f"'{name}' is not a format that Dyad writes; give one of: {', '.join(FORMATS)}.")
    return said


def name_by_ending(file: str) -> str:
    """The format whose suffix, the longest that fits, ends a file's name; InputError when none does."""
    fitting = [name for name, form in FORMATS.items() if file.lower().endswith(form.suffix.lower())]
    if not fitting:
        raise InputError(f"The ending of {file} does not tell the format; name it with --to: {', '.join(FORMATS)}.")
    return max(fitting, key=lambda name: len(FORMATS[name].suffix))


def formats_named(names: str) -> dict[str, Format]:
    """The formats of a list such as 'eaf,csv', each once; InputError when one is unknown or there is none."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise InputError(f"'{names}' names no format; give one or more of: {', '.join(FORMATS)}.")
    return {own_name(name): format_named(name) for name in wanted}


def write_format(path: Path, form: Format, clips: Iterable[Item], summary: SummaryDocument | None = None) -> None:
    """Write a file of a format about clips; of one that is a file a clip, about the only one. Give a path aside: see
    `data.files.atomic_path`."""
    if form.write_sheets is not None:
        write_workbook(path, form.write_sheets(clips, summary))
    elif form.write_tables is not None:
        _write_tables(path, form.write_tables(clips))
    else:
        write_pieces(path, text_pieces(form, clips))


def text_pieces(form: Format, clips: Iterable[Item]) -> Iterator[str]:
    """The pieces of a text format's text."""
    if form.write_clips is not None:
        yield from form.write_clips(clips)
    elif form.write_clip is not None:
        yield from (form.write_clip(clip) for clip in clips if isinstance(clip, ClipAnswer))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write text as UTF-8, its line ends as they are."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(pieces)


def _write_tables(path: Path, tables: "Iterator[pa.Table]") -> None:
    import pyarrow.parquet as pq

    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
