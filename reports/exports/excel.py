"""A data set as an Excel workbook: what it is about, its clips, their windows, and its metrics where there are labels.

`sheet_rows` gives the rows; `write_workbook` writes them as they come, so that memory does not grow with a data set.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.errors import InputError
from reports.exports.clip import ClipAnswer, Item
from reports.exports.file_schemas import WINDOWS, column_named
from reports.exports.tables import GIVEN, unanswered_row, wide_rows

SHEETS = ("about", "clips", "windows", "metrics", "confusion")
"""In the order in which they stand in the workbook."""
MOST_ROWS = 1_048_576
"""Rows that a sheet of Excel holds, the header among them."""
MOST_LETTERS = 32_767
"""Letters that a cell of Excel holds."""
WIDTHS = {"clip_id": 28, "path": 50, "reason": 60, "value": 60, "meaning": 90, "what": 22, "top": 22}
"""Widths of columns in letters; any other is as wide as its name, within `NARROW` and `WIDE`."""
NARROW, WIDE = 10, 30
Row = tuple[str, Sequence[Any]]
"""The name of a sheet and the values of its next row; its first row is the header."""


def sheet_rows(clips: Iterable[Item], summary: Mapping[str, Any] | None = None) -> Iterator[Row]:
    """The rows of all sheets. `summary` is the content of a data set's summary.json: it gives the metrics."""
    seen: deque[dict[str, Any]] = deque()

    def noted() -> Iterator[Item]:
        for clip in clips:
            seen.append(_clip_row(clip))
            yield clip

    columns: list[str] = []
    windows: Sequence[Any] = ()
    for row in wide_rows(noted()):
        if not columns:
            fullest = max(seen, key=len)  # one with an answer, if there is any
            windows, columns = row, list(fullest)
            yield "clips", columns
        yield "windows", row
        while seen:
            clip = seen.popleft()
            yield "clips", [clip.get(name) for name in columns]
    metrics = (summary or {}).get("metrics", {})
    yield from _metric_rows(metrics)
    yield from _about_rows(summary or {}, columns, windows, bool(metrics))


def write_workbook(path: Path, rows: Iterable[Row], most: int = MOST_ROWS) -> None:
    """Write sheets as .xlsx: headers frozen and filtered, numbers as numbers, text as text, also where it begins like a formula.

    InputError, in a sentence, when a sheet gets more than `most` rows.
    """
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheets: dict[str, Any] = {}
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


def _sheet(book: Any, name: str, heads: Sequence[Any]) -> Any:
    from openpyxl.utils import get_column_letter

    sheet = book.create_sheet(name)
    sheet.freeze_panes = "B2" if name in ("clips", "windows") else "A2"
    for place, head in enumerate(heads, 1):
        width = WIDTHS.get(head, min(max(len(str(head)) + 4, NARROW), WIDE))
        sheet.column_dimensions[get_column_letter(place)].width = width
    return sheet


def _letters(sheet: Any) -> str:
    """The name of a sheet's last column."""
    return str(max(sheet.column_dimensions, key=lambda letters: (len(letters), letters)))


def _drop(sheets: Iterable[Any]) -> None:
    """End sheets that will not be saved, and remove what they wrote aside."""
    for sheet in sheets:
        sheet.close()
        sheet._writer.cleanup()


def _cell(sheet: Any, value: Any, head: bool) -> Any:
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


def _clip_row(clip: Item) -> dict[str, Any]:
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
        "confidence": found["confidence"], "none": found.get("none"), "duration": media["duration"],
        "windows": len(clip.result["windows"]), "windows_answered": found["windows_answered"],
        **{f"seconds_{name}": value for name, value in found["seconds"].items()},
    }  # fmt: skip


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _metric_rows(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """A row a figure, with its interval where it has one, and a row a cell of the confusion matrices."""
    if not metrics:
        return
    yield "metrics", ("labels", "by", "measure", "class", "value", "low", "high")
    yield "confusion", ("labels", "by", "label", "answer", "count")
    for kind, levels in metrics.items():
        for by, found in levels.items():
            single = {name: value for name, value in found.items() if isinstance(value, int | float)}
            ends = found.get("intervals", {})
            yield from (("metrics", (kind, by, name, None, value, *ends.get(name, ()))) for name, value in single.items())
            yield from (("metrics", (kind, by, "recall", name, value)) for name, value in found["recall"].items())
            for label, counts in zip(found["classes"], found["confusion"], strict=True):
                yield from (("confusion", (kind, by, label, *pair)) for pair in zip(found["answers"], counts, strict=True))


def _about_rows(summary: Mapping[str, Any], clips: Sequence[str], windows: Sequence[str], measured: bool) -> Iterator[Row]:
    yield "about", ("sheet", "what", "unit", "meaning")
    yield "about", (None, "this workbook", None, "Which compound expressions each clip shows, when, and what says so. "
                    "Empty means unknown or absent, never zero.")  # fmt: skip
    for name in ("manifest", "profile", "dyad"):
        if name in summary:
            yield "about", (None, name, None, str(summary[name]))
    for name, count in summary.get("clips", {}).items():
        yield "about", (None, f"clips {name}", "clips", count)
    for note in summary.get("notes", ()):
        yield "about", (None, "note", None, note)
    yield from (("about", ("clips", name, *_meaning(name, CLIP_MEANINGS))) for name in clips)
    yield from (("about", ("windows", name, *_meaning(name, {}))) for name in windows)
    for name, (unit, meaning) in METRIC_MEANINGS.items() if measured else ():
        yield "about", ("metrics", name, unit, meaning)


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
    "top": ("", "the compound that is shown longest; empty where none is"),
    "emotion": ("", "the strongest basic emotion, on average over the windows"),
    "confidence": ("0..1", "mean over the windows with a compound"),
    "none": ("0..1", "mean probability that none of the compounds is shown"),
    "duration": ("s", "length of the clip"),
    "windows": ("windows", "how many there are"),
    "windows_answered": ("windows", "how many of them show a compound"),
}
METRIC_MEANINGS: Mapping[str, tuple[str, str]] = {
    "labels": ("", "what the labels are: compounds or emotions"),
    "by": ("", "what is counted: clips, windows or frames"),
    "low": ("0..1", "where the 95 % interval begins (bootstrap over clips); empty with fewer than two labelled clips"),
    "high": ("0..1", "where it ends"),
    "items": ("count", "labelled clips, windows or frames"),
    "clips": ("clips", "labelled clips"),
    "unanswered": ("count", "those without an answer, which count as wrong"),
    "uar": ("0..1", "unweighted average recall: the mean of the classes' recalls"),
    "war": ("0..1", "weighted average recall, which is accuracy"),
    "macro_f1": ("0..1", "mean of the classes' F1"),
    "weighted_f1": ("0..1", "mean of the classes' F1, weighted by how often each occurs"),
    "recall": ("0..1", "share of a class' items that were recognised"),
}
