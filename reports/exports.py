"""The formats that an answer can be written in: name -> writer, as data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from data.errors import InputError
from reports.export_abaw import abaw
from reports.export_annotation import elan, subrip, textgrid, webvtt
from reports.export_clip import ClipAnswer
from reports.export_tables import csv_long, csv_wide, json_lines, segments


@dataclass(frozen=True)
class Format:
    """How a format is written: `write_clips` gives the pieces of one text about any number of clips, or `write_clip` the text
    about one clip; `suffix` ends its files' names; `frames` and `cues` say what it reads beside result.json."""

    suffix: str
    write_clips: Callable[[Iterable[ClipAnswer]], Iterator[str]] | None = None
    write_clip: Callable[[ClipAnswer], str] | None = None
    frames: bool = False
    cues: bool = False


def _abaw(clips: Iterable[ClipAnswer]) -> Iterator[str]:
    yield abaw(clips).text


FORMATS: Mapping[str, Format] = {
    "abaw": Format(".txt", _abaw, frames=True),
    "csv": Format(".csv", csv_wide),
    "csv-long": Format(".csv", csv_long),
    "jsonl": Format(".jsonl", json_lines),
    "rttm": Format(".rttm", segments),
    "vtt": Format(".vtt", write_clip=webvtt),
    "srt": Format(".srt", write_clip=subrip),
    "eaf": Format(".eaf", write_clip=elan, cues=True),
    "textgrid": Format(".TextGrid", write_clip=textgrid, cues=True),
}


def format_named(name: str) -> Format:
    """The format of this name; InputError that lists them when there is none."""
    if name.lower() not in FORMATS:
        raise InputError(f"'{name}' is not a format that Dyad writes; give one of: {', '.join(FORMATS)}.")
    return FORMATS[name.lower()]
