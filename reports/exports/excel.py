"""A data set as an Excel workbook: what it is about, its clips and their windows; its metrics stand in summary.json.

`sheet_rows` gives the rows; `write_workbook` writes them as they come, so that memory does not grow with a data set.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from reports.answer import SURENESS_COLUMNS
from reports.documents import SummaryDocument
from reports.exports.clip import ClipAnswer, Item
from reports.exports.file_schemas import WINDOWS, column_named
from reports.exports.tables import GIVEN, Cell, unanswered_row, wide_rows

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

SHEETS = ("about", "clips", "windows", "frames", "faces", "people")
"""In the order in which they stand in the workbook."""
MOST_ROWS = 1_048_576
"""Rows that a sheet of Excel holds, the header among them."""
MOST_LETTERS = 32_767
"""Letters that a cell of Excel holds."""
WIDTHS = {"clip_id": 28, "path": 50, "reason": 60, "value": 60, "meaning": 90, "what": 22, "top": 22}
"""Widths of columns in letters; any other is as wide as its name, within `NARROW` and `WIDE`."""
NARROW, WIDE = 10, 30
Row = tuple[str, Sequence[Cell]]
"""The name of a sheet and the values of its next row; its first row is the header."""


def sheet_rows(clips: Iterable[Item], summary: SummaryDocument | None = None) -> Iterator[Row]:
    """The rows of all sheets. `summary` is the content of a data set's summary.json, told in short on the first sheet."""
    seen: deque[dict[str, Cell]] = deque()

    def noted() -> Iterator[Item]:
        for clip in clips:
            seen.append(_clip_row(clip))
            yield clip

    columns: list[str] = []
    windows: Sequence[Cell] = ()
    for row in wide_rows(noted()):
        if not columns:
            fullest = max(seen, key=len)  # one with an answer, if there is any
            windows, columns = row, list(fullest)
            yield "clips", columns
        yield "windows", row
        while seen:
            clip = seen.popleft()
            yield "clips", [clip.get(name) for name in columns]
    yield "about", ("sheet", "what", "unit", "meaning")
    yield "about", (None, "this workbook", None, "Which compound expressions each clip shows, when, and what says so. "
                    "Empty means unknown or absent, never zero.")  # fmt: skip
    yield from _set_rows(summary) if summary else ()
    yield from (("about", ("clips", name, *_meaning(name, CLIP_MEANINGS))) for name in columns)
    yield from (("about", ("windows", str(name), *_meaning(str(name), {}))) for name in windows)


def write_workbook(path: Path, rows: Iterable[Row], most: int = MOST_ROWS) -> None:
    """Write sheets as .xlsx: headers frozen and filtered, numbers as numbers, text as text, also where it begins like a formula.

    InputError, in a sentence, when a sheet gets more than `most` rows.
    """
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheets: dict[str, WriteOnlyWorksheet] = {}
    counts: dict[str, int] = defaultdict(int)
    try:
        for name, values in rows:
            if counts[name] >= most:
                raise InputError(
                    f"A sheet of Excel holds {most:,} rows, and '{name}' has more; export as parquet or csv, which hold any."
                )
            if name not in sheets:
                sheets[name] = _sheet(book, name, values)
            sheets[name].append([_cell(sheets[name], value, head=not counts[name]) for value in values])
            counts[name] += 1
    except BaseException:
        _drop(sheets.values())
        raise
    for name, sheet in sheets.items():
        sheet.auto_filter.ref = f"A1:{_letters(sheet)}{counts[name]}"
    book._sheets.sort(key=lambda sheet: SHEETS.index(sheet.title))
    book.save(path)


def _sheet(book: "Workbook", name: str, heads: Sequence[Cell]) -> "WriteOnlyWorksheet":
    from openpyxl.utils import get_column_letter

    sheet = book.create_sheet(name)
    sheet.freeze_panes = "A2" if name == "about" else "B2"
    for number, head in enumerate(map(str, heads), 1):
        sheet.column_dimensions[get_column_letter(number)].width = WIDTHS.get(head, min(max(len(head) + 4, NARROW), WIDE))
    return sheet


def _letters(sheet: "WriteOnlyWorksheet") -> str:
    """The name of a sheet's last column."""
    return str(max(sheet.column_dimensions, key=lambda letters: (len(letters), letters)))


def _drop(sheets: "Iterable[WriteOnlyWorksheet]") -> None:
    """End sheets that will not be saved, and remove what they wrote aside."""
    for sheet in sheets:
        sheet.close()
        sheet._writer.cleanup()


def _cell(sheet: "WriteOnlyWorksheet", value: Cell, head: bool) -> "Cell | WriteOnlyCell":
    """Text that a spreadsheet could take for a formula or an error is marked as text, for good: also when somebody edits it."""
    if head or (isinstance(value, str) and value):
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.styles import Font

        text = _harmless(str(value))
        if not head and text[0] not in "=+-@#\t\r\n":
            return text
        cell = WriteOnlyCell(sheet, text)
        cell.data_type = "s"
        cell.quotePrefix = not head
        if head:
            cell.font = Font(bold=True)
        return cell
    return value


def _harmless(text: str) -> str:
    """Text that XML can hold, as long as a cell can be."""
    plain = "".join(letter if letter.isprintable() or letter in "\t\n" else " " for letter in text.replace("\r\n", "\n"))
    return plain if len(plain) <= MOST_LETTERS else plain[: MOST_LETTERS - 1] + "…"


def _clip_row(clip: Item) -> dict[str, Cell]:
    status = clip.status
    given = {name: status.get(name) or None for name in GIVEN}
    if not isinstance(clip, ClipAnswer):
        row = unanswered_row(clip)
        return {**{name: row[name] for name in ("clip_id", "state", "reason", "path")},
                "start": _number(status.get("start")), "end": _number(status.get("end")), **given}  # fmt: skip
    media, found = clip.result["clip"], clip.result["summary"]
    basic = {name: value for name, value in found["basic"].items() if value is not None}
    return {
        "clip_id": clip.clip_id,
        "state": status.get("state") or ("degraded" if clip.result["degraded"] else "done"),
        "reason": " ".join(clip.result["problems"]) or None,
        "path": media["path"], "start": media.get("start"), "end": media.get("end"), **given,
        "top": found["top"], "emotion": max(basic, key=lambda name: basic[name]) if basic else None,
        **dict(zip(SURENESS_COLUMNS, (found.get("sureness"), *found.get("sureness_range", (None, None))), strict=True)),
        "blend": found.get("blend"), "none": found.get("none"), "duration": media["duration"],
        "windows": len(clip.result["windows"]), "windows_answered": found["windows_answered"],
        **{f"seconds_{name}": value if clip.result["timeline"] else None for name, value in found["seconds"].items()},
    }  # fmt: skip


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _set_rows(summary: SummaryDocument) -> Iterator[Row]:
    """What a data set is: its manifest, how its clips ended, and the notes about it."""
    about = {"manifest": summary.get("manifest"), "profile": summary.get("profile"), "dyad": summary.get("dyad")}
    yield from (("about", (None, name, None, value)) for name, value in about.items() if value is not None)
    yield from (("about", (None, f"clips {name}", "clips", count)) for name, count in summary.get("clips", {}).items())
    yield from (("about", (None, "note", None, note)) for note in summary.get("notes", ()))


def _meaning(name: str, own: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    if name.startswith("seconds_"):
        return "s", f"time that {name.removeprefix('seconds_').replace('_', ' ')} is shown"
    column = column_named(WINDOWS, name)
    return own.get(name) or ((column.unit, column.meaning) if column else ("", ""))


CLIP_MEANINGS: Mapping[str, tuple[str, str]] = {
    "clip_id": ("", "the clip's name, and that of its run folder"),
    "state": ("", "done, degraded (the media has problems or a modality failed), failed, rejected (its row), or waiting"),
    "reason": ("", "what went wrong, in a sentence"),
    "path": ("", "the media file"),
    "start": ("s", "where in its file the clip begins; empty for a whole file"),
    "end": ("s", "where in its file the clip ends; empty for a whole file"),
    "split": ("", "the manifest's"),
    "label": ("", "the manifest's"),
    "top": ("", "the compound that the clip shows by the mean over it; empty where none"),
    "emotion": ("", "the strongest basic emotion, on average over the windows"),
    "sureness": ("0..1", "how likely the clip's answer is right: top, or where that is empty emotion; mean over its stretches"),
    "sureness_low": ("0..1", "the least that the calibration allows (95 %)"),
    "sureness_high": ("0..1", "the most"),
    "blend": ("0..1", "how evenly the compound's two emotions are mixed, mean over the windows with one"),
    "none": ("0..1", "mean probability that none of the compounds is shown"),
    "duration": ("s", "length of the clip"),
    "windows": ("windows", "how many there are"),
    "windows_answered": ("windows", "how many of them show a compound"),
}
