"""The workbook of a data set, read back by openpyxl."""

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.errors import InputError
from reports.exports.clip import ClipAnswer, Item, Unanswered
from reports.exports.excel import MOST_LETTERS, MOST_ROWS, sheet_rows, write_workbook
from reports.exports.tables import wide_rows
from tests.answers import NAMES, changed, made, silent

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(\"http://x\")", "#REF!", "\t=1", "=", "'=1"]
ROW = {"split": "test", "label": "sadly_angry", "state": "done", "path": "x"}
Sheets = dict[str, list[tuple[Any, ...]]]


def written(path: Path, clips: list[Item], summary: dict[str, Any] | None = None) -> Any:
    write_workbook(path, sheet_rows(clips, summary))
    return openpyxl.load_workbook(path)


def values(book: Any) -> Sheets:
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


def summary() -> dict[str, Any]:
    return {"manifest": "=clips.csv", "dyad": "0.1.0", "profile": "embedded", "notes": ["One is missing."],
            "clips": {"total": 3, "failed": 1}}  # fmt: skip


def test_a_workbook_has_clips_windows_and_says_what_they_mean(tmp_path: Path) -> None:
    film = made(20.0)
    clips: list[Item] = [
        Unanswered("bad", "films/bad.mp4", "failed", "It broke.", {**ROW, "start": "3", "end": "4.5"}),
        ClipAnswer(film.result, status=ROW), changed(made(9.0, "quiet-0"), silent),
    ]  # fmt: skip
    book = written(tmp_path / "set.xlsx", clips, summary())
    assert book.sheetnames == ["about", "clips", "windows"], "metrics stand in summary.json"
    found = values(book)
    heads = found["clips"][0]
    bad, shown, quiet = (dict(zip(heads, row, strict=True)) for row in found["clips"][1:])
    assert {name: value for name, value in bad.items() if value is not None} == {
        "clip_id": "bad", "state": "failed", "reason": "It broke.", "path": "films/bad.mp4", "start": 3, "end": 4.5,
        "split": "test", "label": "sadly_angry",
    }  # fmt: skip
    assert shown["top"] == film.result["summary"]["top"]
    assert shown[f"seconds_{shown['top']}"] == film.result["summary"]["seconds"][shown["top"]]
    assert quiet["state"] == "done"
    expected = list(wide_rows(clips))
    assert [list(row) for row in found["windows"]] == [list(row) for row in expected]
    said = {(row[0], row[1]): row for row in found["about"]}
    for sheet in ("clips", "windows"):
        assert all((sheet, name) in said and said[sheet, name][3] for name in found[sheet][0] if name != "reason")
    assert said["clips", "duration"][2] == said["windows", "start"][2] == "s"
    assert said[None, "manifest"][3] == "=clips.csv"
    assert said[None, "clips failed"][3] == 1
    assert said[None, "note"][3] == "One is missing."
    for sheet in book:
        assert sheet.freeze_panes
        assert sheet.auto_filter.ref == sheet.dimensions
        assert all(sheet.column_dimensions[cell.column_letter].width >= 10 and cell.font.bold for cell in sheet[1])


def test_numbers_are_numbers(tmp_path: Path) -> None:
    book = written(tmp_path / "set.xlsx", [made(600.0)])
    assert book.sheetnames == ["about", "clips", "windows"]
    sheet = book["windows"]
    assert sheet.max_row == 1 + 299
    kinds = {head.value: {type(cell.value) for cell in column} for head, *column in sheet.iter_cols()}
    for name in ("start", "end", "neutral", "contribution_voice", *NAMES, "none"):
        assert kinds[name] <= {int, float, type(None)}, name
    assert kinds["present"] == {bool}


@pytest.mark.parametrize("text", FORMULAS)
def test_text_never_becomes_a_formula(tmp_path: Path, text: str) -> None:
    row = ("clips", [text, 1])
    write_workbook(tmp_path / "set.xlsx", [("clips", [text, "n"]), row])
    sheet = openpyxl.load_workbook(tmp_path / "set.xlsx")["clips"]
    assert [cell.value for cell in (sheet["A1"], sheet["A2"], sheet["B2"])] == [text, text, 1]
    assert {sheet["A1"].data_type, sheet["A2"].data_type} == {"s"}
    assert sheet["A2"].quotePrefix == (text[0] != "'"), "so that it stays text when somebody edits it"


@settings(max_examples=30, deadline=None)
@example(["a line\r\nand another", "\r"])
@given(st.lists(st.text(max_size=20), min_size=1, max_size=30))
def test_any_text_is_held(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xlsx"
    write_workbook(path, [("clips", ["x"]), *(("clips", [text]) for text in texts)])
    sheet = openpyxl.load_workbook(path)["clips"]
    lines = [text.replace("\r\n", "\n") for text in texts]
    kept = ["".join(letter if letter.isprintable() or letter in "\t\n" else " " for letter in text) for text in lines]
    assert [sheet.cell(row, 1).value or "" for row in range(2, len(texts) + 2)] == kept


def test_what_excel_cannot_hold_is_said_or_marked(tmp_path: Path) -> None:
    write_workbook(tmp_path / "set.xlsx", [("clips", ["x"]), ("clips", ["a" * 40_000])])
    cell = openpyxl.load_workbook(tmp_path / "set.xlsx")["clips"]["A2"].value
    assert len(cell) == MOST_LETTERS
    assert cell.endswith("a…")
    assert MOST_ROWS == 1_048_576
    with pytest.raises(InputError, match="A sheet of Excel holds 4 rows, and 'windows' has more; export as parquet or csv"):
        write_workbook(tmp_path / "new.xlsx", sheet_rows([made(20.0)]), most=4)


def test_an_empty_set_is_a_workbook(tmp_path: Path) -> None:
    found = values(written(tmp_path / "set.xlsx", [], json.loads("{}")))
    assert list(found) == ["about"]
