"""One reader for every table that people bring: manifests, transcripts, descriptions, scores, frame labels, corpora.

What a file holds comes back as text, cell by cell, or is refused with its line and column; nothing is silently changed.
"""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.csv_files import as_given
from data.errors import EmptyTableError, InputError
from data.location import Location, StorageError
from data.times import parse_time

MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})
"""What stands in a column of numbers where there is no number."""
SEPARATORS = ",;\t|"
PARQUET = (".parquet", ".pq")
OTHER_NAMES: dict[str, str] = {
    **dict.fromkeys(("start_time", "time_start", "begin", "begin_time", "onset", "onset_time", "from"), "start"),
    **dict.fromkeys(("end_time", "time_end", "stop", "stop_time", "to"), "end"),
}
"""Other words for the columns of time."""
DURATION = "duration"
_TIMED = frozenset({"start", "end", "offset", DURATION, *OTHER_NAMES})
_SECONDS = re.compile(r"_(?:s|sec|seconds)$")
_MS = re.compile(r"(?:_ms|_milliseconds|\s*[(\[](?:ms|msec|milliseconds)[)\]])[\"'\s]*$")
"""How a header says that the numbers below it are milliseconds."""
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?")
_IN_QUOTES = re.compile(r'"(?:[^"]|"")*"')
_PIECE = 65_536
"""Rows that are held as Python lists at a time, and bytes that are looked at to tell the encoding."""
_CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x1f]")
"""Bytes that stand in no text; a zero may have got into one."""
MOST_COLUMNS, LONGEST_HEADER = 1000, 1_000_000
"""Columns, and letters of the first line, that are read."""
_SIGNATURES = {
    b"PK\x03\x04": "it is a workbook or an archive; save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "it is an old workbook; save the sheet as CSV (UTF-8)",
}


@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table as it stands in a file.

    rows: the cells, text from a CSV, as stored from parquet; columns as the header writes them, without spaces around.
    lines: where each row begins [N], line of the CSV (the header is line 1) or row of the parquet file (from 1).
    source, word: what the file and a row are called in messages.
    errors: by line, what is wrong with the form of a row.
    notes: sentences about how the file was read, such as its encoding.
    """

    rows: pd.DataFrame
    lines: NDArray[np.int64]
    source: str
    word: str = "line"
    errors: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        return self.header(name) is not None

    def where(self, row: int) -> str:
        """'talk.csv, line 5' for the row with this index."""
        return f"{self.source}, {self.word} {self.lines[row]}"

    def checked(self, empty: str = "give at least one row") -> "GivenTable":
        """The same; InputError for the first row of the wrong form, and where there are no rows (`empty`: what to do)."""
        for line, problem in self.errors.items():
            raise InputError(f"{self.source}, {self.word} {line}: {problem}.")
        if not len(self.rows):
            raise EmptyTableError(f"{self.source} has no rows; {empty}.")
        return self

    def kept(self, rows: NDArray[np.bool_]) -> "GivenTable":
        """The rows that are chosen."""
        return GivenTable(
            self.rows[rows].reset_index(drop=True), self.lines[rows], self.source, self.word, self.errors, self.notes
        )

    def header(self, *names: str) -> str | None:
        """The header of the column that one of `names` means; None without one, InputError where several columns mean it."""
        wanted = {plain_name(name) for name in names}
        named = zip(map(str, self.rows.columns), plain_names(self.rows.columns), strict=True)
        found = [column for column, name in named if name in wanted]
        if len(found) > 1:
            several = " and ".join(f"'{name}'" for name in found)
            raise InputError(f"{self.source} has more than one column for {names[0]} ({several}); keep one.")
        return found[0] if found else None

    def required(self, *names: str) -> str:
        """The header of a column that must be there; InputError, with the columns that are, where it is not."""
        found = self.header(*names)
        if found is None:
            has = ", ".join(str(name) for name in self.rows.columns)[:200]
            raise InputError(
                f"{self.source} has no column '{names[0]}' (its columns: {has}); its first line must name the columns."
            )
        return found

    def text(self, *names: str) -> pd.Series:
        """The cells of a column that must be there as text, spaces around and missing values left out."""
        return as_text(self.rows[self.required(*names)])

    def numbers(self, *names: str, missing: str = "") -> NDArray[np.float64]:
        """A column of numbers [N]: decimal points or commas, per cent as shares of 1.

        InputError with line and column for text, and for an empty cell where `missing` says what to do; else that is NaN.
        """
        values, wrong = self.numbers_and_words(*names)
        for problem in wrong.values():
            raise InputError(problem)
        return self._all_there(values, self.required(*names), missing)

    def numbers_and_words(self, *names: str) -> tuple[NDArray[np.float64], dict[int, str]]:
        """A column of numbers [N] as `numbers` reads it, NaN for text, and by row the sentence about that."""
        name = self.required(*names)
        values, wrong = parse_numbers(self.rows[name])
        said = f"in the column '{name}' is not a number."
        rows = map(int, np.flatnonzero(wrong))
        return values, {row: f"{self.where(row)}: '{self.rows[name].iloc[row]}' {said}" for row in rows}

    def times(self, *names: str, rate: float | None = None, missing: str = "") -> NDArray[np.float64]:
        """A column of times in seconds [N], as `data.times.parse_time` reads them; else like `numbers`.

        Where the header says milliseconds (`start_ms`, `Start (ms)`), numbers without a unit are such. The end of rows of which
        start and duration are given is their sum.
        """
        name = self.required(*names)
        values, wrong = parse_times(with_unit(self.rows[name]), rate)
        for row in map(int, np.flatnonzero(wrong | (values < 0))):
            cell = self.rows[name].iloc[row]
            raise InputError(
                f"{self.where(row)}: '{cell}' in the column '{name}' is not a time in seconds; write for example 12.5 or 0:12.5."
            )
        values = self._all_there(values, name, missing)
        return self.times("start", rate=rate) + values if plain_name(name) == DURATION else values

    def are_whole(self, *names: str) -> bool:
        """Whether the cells of these columns are whole numbers without a unit, also in the header, or empty."""
        unit = any(_MS.search(" ".join(self.required(name).casefold().split())) for name in names)
        return not unit and all(self.text(name).str.fullmatch(r"\d*(?:\.0*)?").all() for name in names)

    def window_numbers(self, count: int, every: "GivenTable | None" = None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """The column `window` as numbers from 0 [N] of a clip of `count` windows, and a note where they were counted from 1.

        `every`: the table with the rows of other clips too, which may tell from what they count. InputError with line and column
        for numbers that are no windows, and where it cannot be told whether they count from 0 or from 1.
        """
        values = self.numbers("window", missing=f"write a whole number from 0 to {count - 1}")
        zero = every is not None and bool((parse_numbers(every.rows[every.required("window")])[0] == 0).any())
        from_zero = zero or not len(values) or values.min() == 0
        from_one = not from_zero and values.min() == 1 and values.max() == count
        wrong = (values % 1 != 0) | (values < 0) | (values >= count + from_one)
        for row in map(int, np.flatnonzero(wrong)):
            cell = self.rows[self.required("window")].iloc[row]
            raise InputError(
                f"{self.where(row)}: '{cell}' in the column 'window' is not valid; write a whole number from 0 to {count - 1}, a "
                "window of this clip."
            )
        if from_one:
            note = f"{self.source} counts windows from 1, as its numbers go from 1 to {count}; read as such."
            return values.astype(np.int64) - 1, (note,)
        if not from_zero:
            raise InputError(
                f"{self.source}: its window numbers, {values.min():g} to {values.max():g} of {count} windows, may count from 0 "
                "or from 1; add a row for window 0 (it may be empty), or give start and end."
            )
        return values.astype(np.int64), ()

    def _all_there(self, values: NDArray[np.float64], name: str, missing: str) -> NDArray[np.float64]:
        for row in map(int, np.flatnonzero(np.isnan(values))) if missing else ():
            raise InputError(f"{self.where(row)}: the cell in the column '{name}' is empty; {missing}.")
        return values


def plain_name(header: str) -> str:
    """A column's name as it is compared: no case, quotes, spaces or unit; other words for times as `start` and `end`."""
    name = " ".join(unicodedata.normalize("NFKC", header).split()).strip("\"'").strip().casefold()
    name = re.sub(r"\s*[(\[](?:s|sec|seconds|ms|msec|milliseconds)[)\]]$", "", name)
    name = re.sub(r"[\s\-]+", "_", name)
    bare = _SECONDS.sub("", _MS.sub("", name))
    return OTHER_NAMES.get(bare, bare) if bare in _TIMED else name


def plain_names(headers: Iterable[object]) -> list[str]:
    """The plain names of a table's columns; `end` also for what says when a row ends where no column is called so: `offset`
    beside `onset`, or `duration` beside a start."""
    written = list(map(str, headers))
    names = list(map(plain_name, written))
    if "start" in names and "end" not in names:
        offset = "offset" in names and "onset" in written[names.index("start")].casefold()
        names = ["end" if name == ("offset" if offset else DURATION) else name for name in names]
    return names


def with_unit(column: pd.Series) -> pd.Series:
    """Cells of times; where the header says milliseconds, numbers without a unit as text that says so."""
    if not _MS.search(" ".join(str(column.name).casefold().split())):
        return column
    cells = as_text(column)
    return cells.where(~cells.str.fullmatch(r"[\d.,]+"), cells + " ms")


def ends_of(start: pd.Series, duration: pd.Series) -> pd.Series:
    """Start and duration of rows as text that says when they end (s); '' where the duration is empty, and where one of the two
    cannot be read the duration as it stands."""
    begin, wrong = parse_times(with_unit(start))
    length, unread = parse_times(with_unit(duration))
    ends = pd.Series(np.nan_to_num(begin) + length, duration.index).map(repr).where(~np.isnan(length), "")
    return ends.where(~(wrong | unread), f"{duration.name} " + as_text(duration)).astype("str")


def as_text(column: pd.Series) -> pd.Series:
    """Cells as text, '' where they are missing, spaces around left out."""
    return column.astype("str").where(column.notna(), "").astype("str").str.strip()


def parse_numbers(column: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cells as numbers [N], NaN where they are missing, and where there is text that is no finite number [N]."""
    return _parsed(column, _number)


def parse_times(column: pd.Series, rate: float | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cells as seconds [N], NaN where they are missing, and where there is text that is no time [N]."""
    return _parsed(column, lambda cell: parse_time(cell, rate))


def _parsed(column: pd.Series, parse: Callable[[str], float]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        stored = column.to_numpy(np.float64, na_value=np.nan)
        return np.where(np.isfinite(stored), stored, np.nan), np.isinf(stored)
    cells = as_text(column)
    # Plain numbers, nearly all there is, are read at once; what is left is looked at cell by cell.
    plain = cells.str.fullmatch(r"[+-]?\d+(?:\.\d+)?").to_numpy(bool)
    values = np.full(len(cells), np.nan)
    values[plain] = cells[plain].astype(np.float64)
    wrong = np.zeros(len(cells), bool)
    for row in np.flatnonzero(~plain):
        cell = cells.iloc[row]
        if cell.lower() not in MISSING:
            try:
                values[row] = parse(cell)
            except ValueError:
                wrong[row] = True
    return values, wrong


def _number(cell: str) -> float:
    """'0.5', '0,5', '5e-3' and '50 %' as a number; ValueError for anything else."""
    share = cell.endswith("%")
    bare = cell.removesuffix("%").strip()
    if not _NUMBER.fullmatch(bare) or not np.isfinite(value := float(bare.replace(",", "."))):
        raise ValueError(cell)
    return value / 100 if share else value


# ---- reading -------------------------------------------------------------------------------------------------------------


def read_given_table(source: str | os.PathLike[str], what: str = "table") -> GivenTable:
    """Read a table, local or at an fsspec address: a CSV (comma, semicolon, tab, upright line) or parquet, by its name.

    A CSV may be UTF-8 with or without a byte order mark, UTF-16, or Windows-1252 (said in a note); cells in double quotes may
    hold separators and line ends. Empty lines are left out, empty rows at the end, and separators at the end of a row; rows with
    too few or too many cells are noted in `errors`. InputError when there is no such file or it is no table; `what` is what
    messages call it.
    """
    source = os.fspath(source)
    location = Location.at(source)
    try:
        if source.lower().endswith(PARQUET):
            with location.open() as stream:
                rows = _read_parquet(stream)
            rows.columns = pd.Index([str(name) for name in rows.columns])
            return GivenTable(rows, np.arange(1, len(rows) + 1), source, "row")
        with location.open() as stream:
            encoding = encoding_of(stream.read(_PIECE))
        try:
            return _read(location, source, encoding)
        except UnicodeDecodeError:
            note = f"{source} is not in UTF-8: it was read as Windows-1252."
            return _read(location, source, "cp1252", (note,))
    except FileNotFoundError:
        raise InputError(f"There is no {what} {source}; check the name.") from None
    except IsADirectoryError:
        raise InputError(f"{source} is a folder; give a {what}, a CSV or parquet file.") from None
    except (OSError, ValueError, csv.Error, StorageError, InputError) as error:
        reason = str(error.__cause__ or error).rstrip(".")
        raise InputError(f"{source} cannot be read as a {what} ({reason}); give a CSV in UTF-8 or a parquet file.") from error


def table_of_text(text: str, source: str) -> GivenTable:
    """The table in a CSV's text; InputError as `read_given_table`."""
    try:
        return _table(io.StringIO(text, newline=""), source)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as a table ({error}); give a CSV in UTF-8.") from error


def encoding_of(begin: bytes) -> str:
    """The encoding of a text by how it begins: UTF-16 by its mark or by its zeros, else UTF-8; ValueError when it is no text."""
    for signature, problem in _SIGNATURES.items():
        if begin.startswith(signature):
            raise ValueError(problem)
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in begin:
        # Read the wrong way round, a line end or a space is a letter of no script in use, and anything but text has many of them.
        latin = {way: _latin(begin[:_PIECE], way) for way in ("utf-16-le", "utf-16-be")}
        best, other = sorted(latin, key=latin.__getitem__, reverse=True)
        if latin[best] > latin[other] and latin[best] > 0:
            return best
        if _CONTROLS.search(begin) or begin.count(b"\0") * 100 > len(begin):
            raise ValueError("it is not text")
    return "utf-8-sig"


def _latin(begin: bytes, encoding: str) -> int:
    """Letters, digits and blanks of ASCII in the beginning of a text in UTF-16; 0 where it is none."""
    text = begin[: len(begin) // 2 * 2].decode(encoding, errors="replace")
    broken = any(unicodedata.category(letter) == "Cc" and letter not in "\t\r\n\f" for letter in text[:2000])
    return 0 if broken or "\ufffd" in text[:-1] or not re.search(r"\s", text) else sum(letter.isascii() for letter in text)


def decoded_text(raw: bytes) -> tuple[str, bool]:
    """A whole text, and whether it had to be read as Windows-1252; ValueError when it is no text."""
    encoding = encoding_of(raw[:_PIECE])
    try:
        return raw.decode(encoding), False
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), True


def _read(location: Location, source: str, encoding: str, notes: tuple[str, ...] = ()) -> GivenTable:
    with location.open("rt", encoding=encoding, newline="") as stream:
        return _table(stream, source, notes)


def _read_parquet(stream: IO[bytes]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    _check_width(pq.read_schema(stream).names)
    stream.seek(0)
    table = pq.read_table(stream)
    rows: pd.DataFrame = table.to_pandas()
    for name, column in zip(table.column_names, table.columns, strict=True):
        # A cell that is NaN is a number that failed, one that is null is empty: only as text do they stay apart, as in a CSV.
        if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
            rows[name] = pc.cast(column, pa.large_string()).to_pandas().set_axis(rows.index)  # which pandas may have written
    return rows


def _check_width(columns: Sequence[str]) -> None:
    if len(columns) > MOST_COLUMNS:
        raise ValueError(f"it has {len(columns):,} columns, and at most {MOST_COLUMNS:,} are read")


def _table(stream: IO[str], source: str, notes: tuple[str, ...] = ()) -> GivenTable:
    import pyarrow as pa

    line, first = 1, stream.readline(LONGEST_HEADER)
    separator = None
    while first and (not first.strip(f"{SEPARATORS} \r\n") or re.fullmatch(r"sep=.\s*", first)):
        if first.startswith("sep="):  # what Excel writes before the header to say how it separates
            separator = first[4]
        line, first = line + 1, stream.readline(LONGEST_HEADER)
    if len(first) == LONGEST_HEADER:
        raise ValueError(f"its first line has {LONGEST_HEADER:,} letters or more")
    separator = separator or _separator(first)
    lines: Iterator[str] = (_closed(line, separator) if '" ' in line else line for line in chain([first], stream))
    if separator == "\t":
        lines = _quoted(lines, first.count("\t"))
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    errors: dict[int, str] = {}
    numbers, tables = [], []
    header = [name.strip() for name in _next(reader, line) or []]
    while header and not header[-1]:
        header.pop()
    _check_width(header)
    names = [str(column) for column in range(len(header))]
    for begun, rows in _pieces(reader, line, separator, len(header), errors):
        tables.append(pa.table([pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)], names))
        numbers.append(begun)
    table: pd.DataFrame = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=names, dtype="str")
    table.columns = pd.Index(header)
    begun = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
    count = _without_empty_end(table) if len(header) > 1 else len(table)
    return GivenTable(table.iloc[:count], begun[:count], source, "line", errors, notes)


def _without_empty_end(table: pd.DataFrame) -> int:
    """How many rows there are without the empty ones at the end, which spreadsheets leave."""
    count = len(table)
    while count and not any(cell.strip() for cell in table.iloc[count - 1]):
        count -= 1
    return count


def _next(reader: "Iterator[list[str]]", line: int) -> list[str] | None:
    """The next row, None after the last; ValueError, with the `line` that it begins on, when its quotes are wrong."""
    try:
        cells = next(reader, None)
        return None if cells is None else [as_given(cell) for cell in cells]
    except csv.Error as error:
        said = "a double quote is not closed" if "unexpected end" in str(error) else str(error)
        raise ValueError(f"line {line}: {said}; check its double quotes") from None


def _closed(line: str, separator: str) -> str:
    """A line without the spaces between a closing quote and the separator or the end of the line."""
    return re.sub(rf'(?<!")" +(?={separator}|\r?\n?$)', '"', line)


def _quoted(lines: Iterator[str], tabs: int) -> Iterator[str]:
    """Lines whose cells that only begin with a double quote are quoted.

    Many programs write tables with tabs without quoting anything (Whisper does): a cell begins with a quote, and ends without
    one, in a line with as many `tabs` as the first line, before another such line or the last one.
    """
    for line, following in pairwise(chain(lines, [""])):
        if '"' in line and line.count("\t") == tabs and (not following or following.count("\t") == tabs):
            cells = line.rstrip("\r\n").split("\t")
            bare = [cell.startswith('"') and not _IN_QUOTES.fullmatch(cell) for cell in cells]
            cells = ['"' + cell.replace('"', '""') + '"' if wrong else cell for cell, wrong in zip(cells, bare, strict=True)]
            line = "\t".join(cells) + line[len(line.rstrip("\r\n")) :]
        yield line


def _separator(header: str) -> str:
    """The one of `SEPARATORS` that stands in the header most often outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _pieces(
    reader: "Iterator[list[str]]", begin: int, separator: str, width: int, errors: dict[int, str]
) -> Iterator[tuple[NDArray[np.int64], list[list[str]]]]:
    """Rows of `width` cells and the lines they begin on; rows with another number of cells are noted in `errors`."""
    lines: list[int] = []
    rows: list[list[str]] = []
    line = begin + reader.line_num  # type: ignore[attr-defined]
    while (cells := _next(reader, line)) is not None:
        if any(cell.strip() for cell in cells) or len(cells) >= width:
            if len(cells) != width:
                while len(cells) > width and not cells[-1].strip():
                    cells.pop()
                if len(cells) != width:
                    errors[line] = _other_width(len(cells), width, separator)
                    cells = [*cells, *[""] * width][:width]
            if "\0" in "".join(cells):
                errors[line] = "a cell holds a zero byte; remove it"
            lines.append(line)
            rows.append(cells)
        line = begin + reader.line_num  # type: ignore[attr-defined]
        if len(rows) == _PIECE:
            yield np.array(lines), rows
            lines, rows = [], []
    if rows:
        yield np.array(lines), rows


def _other_width(cells: int, width: int, separator: str) -> str:
    named = "a tab" if separator == "\t" else f"'{separator}'"
    count = f"it has {cells} cell{'s' * (cells != 1)}, the first line {width}"
    return f"{count}; put text with {named} in double quotes" if cells > width else f"{count}; write all of them, also empty ones"
