"""The tables of a run folder (frames, faces, people) as CSV and as Excel: a row as it stands there, with its clip before it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from data.errors import InputError
from reports.documents import SummaryDocument
from reports.exports.clip import ClipAnswer, Item
from reports.exports.excel import Row
from reports.exports.file_schemas import FACES, FRAMES, PEOPLE, column_named
from reports.exports.tables import Cell, csv_line

if TYPE_CHECKING:
    import pandas as pd

SCHEMAS = {"frames": FRAMES, "faces": FACES, "people": PEOPLE}
"""By the name of the table, which is that of the file in a run folder (`data.run_folder.RunFolder`) without its ending."""
CLIP = ("clip_id", "", "the clip's name, and that of its run folder")


def table_rows(clips: Iterable[Item], name: str) -> Iterator[Sequence[Cell]]:
    """The names of the columns, clip_id first, then the rows of each clip that has the table; unknown values are None.

    Where no clip has it there is only clip_id. InputError when a clip has columns that the first one lacks (other compounds).
    """
    columns: list[str] = []
    for clip in clips:
        table = clip.table if isinstance(clip, ClipAnswer) else None
        if table is None:
            continue
        if not columns:
            columns = [str(column) for column in table.columns]
            yield ["clip_id", *columns]
        if extra := [str(column) for column in table.columns if column not in columns]:
            raise InputError(
                f"{clip.clip_id} has columns that the clips before it lack ({', '.join(extra)}): it was recognised with other "
                f"settings. Export its {name} by themselves."
            )
        yield from _rows(clip.clip_id, table.reindex(columns=columns))
    if not columns:
        yield ["clip_id"]


def _rows(clip_id: str, table: "pd.DataFrame") -> Iterator[Sequence[Cell]]:
    known = [column.astype(object).where(column.notna(), None).tolist() for _, column in table.items()]
    yield from ([clip_id, *map(_cell, row)] for row in zip(*known, strict=True))


def _cell(value: object) -> Cell:
    """A value of a table; several ones as text with spaces between."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return " ".join(str(one) for one in value)  # type: ignore[attr-defined]


def csv_of(name: str) -> Callable[[Iterable[Item]], Iterator[str]]:
    """What writes a table as CSV; unknown values are empty."""
    return lambda clips: map(csv_line, table_rows(clips, name))


def sheets_of(name: str) -> Callable[[Iterable[Item], SummaryDocument | None], Iterator[Row]]:
    """What writes a table as a workbook: the rows, and a sheet about the columns."""
    return partial(_sheets, name)


def _sheets(name: str, clips: Iterable[Item], summary: SummaryDocument | None = None) -> Iterator[Row]:
    yield "about", ("column", "unit", "meaning")
    columns: Sequence[Cell] = ()
    for row in table_rows(clips, name):
        columns = columns or row
        yield name, row
    for column in map(str, columns):
        found = column_named(SCHEMAS[name], column)
        yield "about", CLIP if column == "clip_id" else (column, found.unit if found else "", found.meaning if found else "")
