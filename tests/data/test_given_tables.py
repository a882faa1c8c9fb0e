"""The reader of all tables that people bring: any dialect comes back as it was written, or is refused by its line."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.given_tables import GivenTable, plain_name, read_given_table, table_of_text
from data.manifest.manifest import read_manifest

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12).map(str.strip)
ROWS = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5))


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@settings(max_examples=60, deadline=None)
@given(
    rows=ROWS, separator=st.sampled_from(",;\t|"), newline=st.sampled_from(["\n", "\r\n"]), trailing=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
)  # fmt: skip
def test_what_is_written_in_any_dialect_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], separator: str, newline: str, trailing: bool, quoting: int,
    encoding: str,
) -> None:  # fmt: skip
    rows = [*rows, ["last"] * len(rows[0])]  # empty rows at the end are what spreadsheets leave
    names = [f"column {number}" for number in range(len(rows[0]))]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=newline, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(names)
    writer.writerows([*row, ""] if trailing else row for row in rows)
    read = read_given_table(written(tmp_path_factory.mktemp("t"), text.getvalue(), encoding))
    assert not read.errors
    assert [read.text(name).tolist() for name in names] == [list(column) for column in zip(*rows, strict=True)]


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, row=st.integers(0, 4), more=st.sampled_from([-1, 1, 2]))
def test_a_row_of_another_width_is_named_by_its_line(rows: list[list[str]], row: int, more: int) -> None:
    row %= len(rows)
    cells = [f"{cell}x" for cell in rows[row]]
    rows[row] = cells[:more] if more < 0 else [*cells, *["more"] * more]
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b", "c", "d"][: len(cells)], *rows])
    complaint = f"table.csv, line {row + 2}: it has {len(rows[row])} cells?, the first line {len(cells)}"
    with pytest.raises(InputError, match=complaint):
        table_of_text(text.getvalue(), "table.csv").checked()


@settings(max_examples=60, deadline=None)
@given(value=st.floats(-1e6, 1e6).map(lambda value: round(value, 6)), comma=st.booleans(), share=st.booleans())
def test_numbers_with_points_commas_and_per_cent(value: float, comma: bool, share: bool) -> None:
    cell = f"{100 * value:.4f} %" if share else f"{value:.6f}"
    read = table_of_text(f"x;y\n{cell.replace('.', ',') if comma else cell};\n", "t.csv")
    assert read.numbers("x")[0] == pytest.approx(value, abs=1e-5)


def test_a_header_in_any_case_with_quotes_spaces_and_units(tmp_path: Path) -> None:
    text = '\ufeff"Start (s)" ; "END" ;Text;\r\n0,5;1:02,5;"two\r\nlines; here";\r\n\r\n2;3;x;\r\n'
    read = read_given_table(written(tmp_path, text))
    assert (read.times("start").tolist(), read.times("end").tolist()) == ([0.5, 2.0], [62.5, 3.0])
    assert read.text("text").tolist() == ["two\r\nlines; here", "x"]
    assert read.lines.tolist() == [2, 5]


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("text,label\nHello,joy,\nBye,fear,\n", "text", ["Hello", "Bye"]),
        (",text\n0,Hello\n1,Bye\n", "text", ["Hello", "Bye"]),
        ("text;label\nHello;joy\n;\nBye;\n;\n;\n", "text", ["Hello", "", "Bye"]),
        ("sep=;\ntext;label\nHello, you;joy\n", "text", ["Hello, you"]),
        ("\n\ntext\nHello\n", "text", ["Hello"]),
        ('text\nHello\n""\n\nBye\n', "text", ["Hello", "", "Bye"]),
        ('text\n" spaced "\n', "text", ["spaced"]),
        ("text\tlabel\nnan\tNone\n", "text", ["nan"]),
        ('n\ttext\n1\t"No," he\n2\tsaid", no"\n3\t"two\nlines"\n', "text", ['"No," he', 'said", no"', "two\nlines"]),
        ('n\ttext\n1\t"No\n2\tyes"\n3\t"No\n', "text", ['"No', 'yes"', '"No']),
    ],
)
def test_forms_that_programs_write(text: str, column: str, values: list[str]) -> None:
    assert table_of_text(text, "t.csv").checked().text(column).tolist() == values


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("happiness,joy\n1,2\n", "more than one column for x .'happiness' and 'joy'."),
        ("x\none\n", "line 2: 'one' in the column 'x' is not a number"),
        ("x\n1\n\n1,234.5\n", "line 4: it has 2 cells"),
        ("x;y\n1;\n1.234,5;\n", "line 3: '1.234,5' in the column 'x'"),
        ("x;y\n1;\n;2\n", "line 3: the cell in the column 'x' is empty; give one"),
        ("x\ninf\n", "line 2: 'inf'"),
        ("y\n1\n", "no column 'x' .its columns: y.; its first line must name the columns"),
        ('x\n"1\n2\n', "line 2: a double quote is not closed"),
        ("x\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_what_cannot_be_read_is_named_by_line_and_column(text: str, complaint: str) -> None:
    names = ("x", "happiness", "joy") if "joy" in text else ("x",)
    with pytest.raises(InputError, match=complaint):
        table_of_text(text, "t.csv").checked().numbers(*names, missing="give one")


def test_the_header_may_say_that_times_are_milliseconds() -> None:
    read = table_of_text('start_ms;"End (ms)"\n0;500\n500;1,5 s\n', "t.csv")
    assert (read.times("start").tolist(), read.times("end").tolist()) == ([0, 0.5], [0.5, 1.5])
    assert not read.are_whole("start", "end"), "they are not to be converted again"


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("onset,offset", "1,2.5", (1.0, 2.5)), ("Onset (s),Offset (s)", "1,2.5", (1.0, 2.5)),
        ("onset_ms,offset_ms", "1000,2500", (1.0, 2.5)), ("start,duration", "1,1.5", (1.0, 2.5)),
        ("onset,Duration (ms)", "1,1500", (1.0, 2.5)), ("begin_s,duration_s", "0:01,1.5 s", (1.0, 2.5)),
        ("start,end,duration", "1,2.5,90", (1.0, 2.5)), ("onset,offset,duration", "1,2.5,90", (1.0, 2.5)),
        ("from,to", "1,2.5", (1.0, 2.5)), ("start,end", "1e-05,2.5", (0.00001, 2.5)),
    ],
)  # fmt: skip
def test_the_end_may_be_an_offset_or_a_duration(tmp_path: Path, header: str, row: str, expected: tuple[float, float]) -> None:
    read = table_of_text(f"{header},path\n{row},a.mp4\n", "t.csv")
    assert (read.times("start")[0], read.times("end")[0]) == expected
    manifest = read_manifest(written(tmp_path, f"{header},path\n{row},a.mp4\n"), check_files=False).table
    assert manifest[["start", "end"]].to_numpy().tolist() == [list(expected)]
    assert manifest["problem"].tolist() == [""]


def test_what_may_be_no_end_is_none(tmp_path: Path) -> None:
    assert "end" not in table_of_text("start,offset\n1,2\n", "t.csv"), "an offset from what?"
    assert "end" not in table_of_text("text,duration\nHello,2\n", "t.csv")
    read = table_of_text("start,duration\n1,soon\n", "t.csv")
    with pytest.raises(InputError, match="line 2: 'soon' in the column 'duration' is not a time"):
        read.times("end")
    manifest = read_manifest(written(tmp_path, "path,start,duration\na,1,soon\nb,1,\nc,,2\n"), check_files=False).table
    assert "'duration soon' is not a time" in manifest["problem"][0]
    np.testing.assert_array_equal(manifest["end"], [np.nan, np.nan, 2])


def test_a_foreign_encoding_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "text;label\nGrüße – schön;freude\n", "cp1252")
    read = read_given_table(path)
    assert read.text("text").tolist() == ["Grüße – schön"]
    assert read.notes == (f"{path} is not in UTF-8: it was read as Windows-1252.",)
    assert read_given_table(written(tmp_path, "text;label\nHello;joy\n", "utf-16-le")).text("text").tolist() == ["Hello"]


@pytest.mark.parametrize(
    ("begin", "complaint"),
    [(b"PK\x03\x04rest", "it is a workbook or an archive; save the sheet as CSV"), (b"\x89PNG\r\n\0\1\2", "it is not text"),
     (b"a,b\n1,\0\0\0", "it is not text")],
)  # fmt: skip
def test_other_files_are_no_tables(tmp_path: Path, begin: bytes, complaint: str) -> None:
    (tmp_path / "t.csv").write_bytes(begin)
    with pytest.raises(InputError, match=f"t.csv cannot be read as a table .{complaint}"):
        read_given_table(tmp_path / "t.csv")


def test_a_zero_byte_is_the_trouble_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label\na.wav,joy\nb\0.wav,joy\n" + b"c.wav,fear\n" * 20)
    read = read_given_table(tmp_path / "t.csv")
    assert (len(read), read.errors) == (22, {3: "a cell holds a zero byte; remove it"})


def test_parquet_is_read_alike(tmp_path: Path) -> None:
    pd.DataFrame({"Start": [0.5, None], "END": ["1:00", "2"], "n": [1, 2]}).to_parquet(tmp_path / "t.parquet")
    read = read_given_table(tmp_path / "t.parquet")
    assert read.where(1) == f"{tmp_path / 't.parquet'}, row 2"
    np.testing.assert_array_equal(read.times("start"), [0.5, np.nan])
    assert read.times("end").tolist() == [60.0, 2.0]
    assert read.text("n").tolist() == ["1", "2"]
    pq.write_table(pa.table({"x": [0.1, None, 1e-7, float("nan")]}), tmp_path / "t.parquet")
    cells = read_given_table(tmp_path / "t.parquet")
    assert cells.text("x").tolist() == ["0.1", "", "1e-7", "nan"], "empty and failed numbers stay apart"
    np.testing.assert_array_equal(cells.numbers("x"), [0.1, np.nan, 1e-7, np.nan])
    pd.DataFrame({"n": [7, 8], "x": [0.5, np.nan]}, index=[3, 4]).to_parquet(tmp_path / "t.parquet")
    indexed = pq.read_table(tmp_path / "t.parquet").set_column(1, "x", pa.array([0.5, float("nan")]))
    pq.write_table(indexed, tmp_path / "t.parquet")
    assert read_given_table(tmp_path / "t.parquet").text("x").tolist() == ["0.5", "nan"], "whatever rows pandas has numbered"


@pytest.mark.parametrize(
    ("numbers", "count", "expected"),
    [
        ([0, 1, 2], 3, [0, 1, 2]), ([0, 2], 4, [0, 2]), ([0], 1, [0]),
        ([1, 2, 3], 3, [0, 1, 2]), ([3, 1], 3, [2, 0]), ([1], 1, [0]),
    ],
)
def test_windows_from_0_and_from_1_are_told_apart(numbers: list[int], count: int, expected: list[int]) -> None:
    read = table_of_text("window\n" + "".join(f"{number}\n" for number in numbers), "t.csv")
    assert read.window_numbers(count)[0].tolist() == expected


@pytest.mark.parametrize(("numbers", "count"), [([1, 2], 3), ([2, 3], 3), ([0, 3], 3), ([1.5], 3), ([-1, 0], 3), ([4], 3)])
def test_window_numbers_that_may_mean_two_things_are_refused(numbers: list[float], count: int) -> None:
    read: GivenTable = table_of_text("window\n" + "".join(f"{number}\n" for number in numbers), "t.csv")
    with pytest.raises(InputError, match="window"):
        read.window_numbers(count)


def test_a_header_of_spaces_is_read_at_once() -> None:
    assert plain_name("Start" + " " * 400_000 + "(ms)") == "start", "half an hour, where a pattern tries every space anew"
