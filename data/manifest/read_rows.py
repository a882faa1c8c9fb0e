"""The table in a manifest file: a CSV, read in pieces so that memory stays near what the table needs, or parquet."""

import csv
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.location import Location, StorageError

_PIECE = 65_536
"""Rows that are held as Python lists at a time."""
MOST_COLUMNS, LONGEST_HEADER = 1000, 1_000_000
"""Columns, and letters of the first line, that are read."""


def read_rows(source: str) -> tuple[pd.DataFrame, str, dict[int, str]]:
    """The table of a manifest, a file or an fsspec address, with `number`, the line (CSV) or row (parquet, from 1) of each.

    Also the word for what `number` counts, and by number what is wrong with the form of a row. InputError when the file is
    missing, no table, or has no rows.
    """
    location = Location.at(source)
    try:
        if source.lower().endswith((".parquet", ".pq")):
            with location.open() as stream:
                table = _read_parquet(stream)
                table["number"] = np.arange(1, len(table) + 1)
                word, errors = "Row", dict[int, str]()
        else:
            with location.open("rt", encoding="utf-8-sig", newline="") as stream:
                table, errors = _read_csv(stream)
                word = "Line"
    except FileNotFoundError:
        raise InputError(f"There is no manifest {source}; check the name.") from None
    except IsADirectoryError:
        raise InputError(f"{source} is a folder; give a manifest, a CSV or parquet file.") from None
    except (OSError, ValueError, csv.Error, StorageError, InputError) as error:
        reason = error.__cause__ or error
        raise InputError(f"{source} cannot be read as a manifest ({reason}); give a CSV in UTF-8 or a parquet file.") from error
    if table.empty:
        raise InputError(f"{source} has no rows; a manifest has a line for each clip.")
    return table, word, errors


def _read_parquet(stream: IO[bytes]) -> pd.DataFrame:
    import pyarrow.parquet as pq

    _check_width(pq.read_schema(stream).names)
    stream.seek(0)
    return pd.read_parquet(stream)


def _check_width(columns: Sequence[str]) -> None:
    if len(columns) > MOST_COLUMNS:
        raise ValueError(f"it has {len(columns):,} columns, and at most {MOST_COLUMNS:,} are read")


def _read_csv(stream: IO[str]) -> tuple[pd.DataFrame, dict[int, str]]:
    import pyarrow as pa

    first = stream.readline(LONGEST_HEADER)
    if "\x00" in first:
        raise ValueError("it is not text")
    if len(first) == LONGEST_HEADER:
        raise ValueError(f"its first line has {LONGEST_HEADER:,} letters or more")
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    _check_width(header)
    names = [str(column) for column in range(len(header))]
    tables, numbers = [], []
    errors: dict[int, str] = {}
    for lines, rows in _pieces(stream, delimiter, len(header), errors):
        tables.append(pa.table([pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)], names))
        numbers.append(lines)
    if not tables:
        return pd.DataFrame(columns=header), errors
    table: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    table.columns = pd.Index(header)
    table["number"] = np.concatenate(numbers)
    return table, errors


def _pieces(
    stream: IO[str], delimiter: str, width: int, errors: dict[int, str]
) -> Iterator[tuple[NDArray[np.int64], list[list[str]]]]:
    """Rows of `width` cells and the lines they begin on; missing cells at the end are empty, too many are noted in `errors`."""
    reader = csv.reader(stream, delimiter=delimiter)
    lines: list[int] = []
    rows: list[list[str]] = []
    line = 2
    for cells in reader:
        if cells:
            if len(cells) > width:
                errors[line] = f"it has {len(cells)} cells, the first line {width}; put text with '{delimiter}' in double quotes"
            lines.append(line)
            rows.append(cells if len(cells) == width else (cells + [""] * width)[:width])
        line = reader.line_num + 2
        if len(rows) == _PIECE:
            yield np.array(lines), rows
            lines, rows = [], []
    if rows:
        yield np.array(lines), rows
