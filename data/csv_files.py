"""CSV files for people: no cell of them is a formula, in whatever spreadsheet somebody opens them.

A name or a label that begins like a formula gets an apostrophe in front, as OWASP advises against "CSV injection"; numbers stay
numbers. `as_given` takes it off again.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from data.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

Cell = TypeVar("Cell")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def harmless(cell: Cell) -> Cell | str:
    """The cell, text that begins like a formula (or like one that was made harmless) with an apostrophe in front."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def as_given(cell: str) -> str:
    """What `harmless` was given."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


class CsvWriter:
    """Writes rows of cells as CSV to a stream that translates no ends of lines."""

    def __init__(self, stream: IO[str], end: str = "\r\n") -> None:
        self._writer = csv.writer(stream, lineterminator=end)

    def add(self, cells: Iterable[object]) -> None:
        """Write a row."""
        self._writer.writerow([harmless(cell) for cell in cells])


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV without its index, whole or not at all."""
    from pandas.api.types import is_numeric_dtype

    texts = {name: [harmless(cell) for cell in column] for name, column in table.items() if not is_numeric_dtype(column.dtype)}
    with atomic_path(path) as aside:
        table.assign(**texts).rename(columns=harmless).to_csv(aside, index=False)  # type: ignore[arg-type]
