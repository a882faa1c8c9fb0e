"""`report.html` of a data set: gathered while its other files are written, or made again from what lies in its folder."""

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.emotions import ABAW_COMPOUNDS
from data.errors import InputError
from data.files import write_text
from data.manifest import ManifestRow
from data.run_folder import RunFolder
from data.scores import MODALITIES
from flows.dataset_totals import STATES, Totals, reason_of, state_of
from flows.journal import Entry, Journal
from flows.stages import STAGES
from flows.storage import Output, output_at
from reports.dataset_page import dataset_page
from reports.dataset_rows import ClipRow, ClipRows
from reports.result import version

JOURNAL, STATUS, SUMMARY, REPORT = "journal.jsonl", "status.csv", "summary.json", "report.html"
MOST_THUMBNAILS = 300
"""With more clips the page shows none: it would become too large, and over a network take too long to make."""


class Gathered:
    """What a data set's summary and page need, taken in as clips come by; memory flat."""

    def __init__(self, output: Output, compounds: Sequence[str]) -> None:
        self.output, self.totals = output, Totals(compounds)
        self.rows = ClipRows(compounds, tuple(STAGES), self._is_there)
        self.examples: dict[str, str] = {}

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Take in a clip."""
        self.totals.add(row, entry)
        answer, seconds = (entry.answer, entry.seconds) if entry else ({}, {})
        file = row.path.rpartition("/")[2] + _times(row)
        state, reason = state_of(row, entry), reason_of(row, entry)
        self.rows.add(ClipRow(row.clip_id, file, state, reason, row.label, row.split, answer, seconds))
        for modality in answer.get("present", ("",) if answer else ()):
            self.examples.setdefault(modality, row.clip_id)

    def _is_there(self, clip_id: str) -> bool:
        """Whether a clip has its page; at an address nobody looks."""
        return bool(self.output.address) or RunFolder(self.output.folder / clip_id).report.is_file()


def _times(row: ManifestRow) -> str:
    """Where in its file a segment lies: ', 3 to 6 s'."""
    if row.start is None and row.end is None:
        return ""
    return f", from {row.start or 0:g} s" if row.end is None else f", {row.start or 0:g} to {row.end:g} s"


def write_page(output: Output, summary: Mapping[str, Any], gathered: Gathered) -> Path:
    """Write report.html of a data set from the content of summary.json and its clips, and put it to the output's address."""
    page = output.folder / REPORT
    thumbnails = None if gathered.rows.total > MOST_THUMBNAILS else [_thumbnail(output, name) for name in gathered.rows.ids]
    ran = _ran(output, gathered.examples)
    write_text(page, dataset_page(summary, gathered.rows, ran=ran, thumbnails=thumbnails))
    output.put(REPORT)
    return page


def remake_page(place: str) -> Path:
    """Make the page of a data set anew from its status.csv and journal, also of one whose run was interrupted.

    InputError when the folder or address holds neither.
    """
    output = output_at(place)
    if not (output.get(STATUS) and output.get(JOURNAL)):
        raise InputError(f"{place} holds no data set (no status.csv and journal.jsonl); name the output of 'dyad batch'.")
    known = _json(output, SUMMARY)
    with Journal(output.folder / JOURNAL) as journal:
        compounds = list(known.get("compounds", ())) or [compound.name for compound in ABAW_COMPOUNDS]
        gathered = Gathered(output, compounds)
        for row in _rows(output.folder / STATUS):
            gathered.add(row, None if row.problem else journal.latest(row.clip_id))
    counts = {"total": gathered.rows.total, **{state: gathered.totals.states[state] for state in STATES}}
    usual = {"dyad": version(), "manifest": place, "profile": "unknown", "notes": []}
    return write_page(output, usual | known | {"clips": counts} | gathered.totals.figures(), gathered)


def is_dataset(place: str) -> bool:
    """Whether a folder holds a data set's files rather than a clip's."""
    return any((Path(place) / name).is_file() for name in (STATUS, JOURNAL))


def _rows(status: Path) -> Iterator[ManifestRow]:
    """The rows of status.csv as those of a manifest, as far as the page needs them."""
    with status.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            problem = row["reason"] if row["state"] == "rejected" else ""
            start, end = (float(row[name]) if row[name] else None for name in ("start", "end"))
            yield ManifestRow(number, row["clip_id"], row["path"], start, end, row["split"], row["label"], problem=problem)


def _thumbnail(output: Output, clip_id: str) -> bytes | None:
    with contextlib.suppress(OSError), output.opened(f"{clip_id}/{RunFolder(Path()).thumbnail.name}") as stream:
        content: bytes = stream.read()
        return content
    return None


def _ran(output: Output, examples: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """What result.json says of each modality in a clip that has it; of one that no clip has, why."""
    found: dict[str, Mapping[str, Any]] = {}
    for clip_id in dict.fromkeys(examples.values()):
        for name, entry in _json(output, f"{clip_id}/{RunFolder(Path()).result.name}").get("modalities", {}).items():
            if name not in found or (entry["source"] and not found[name]["source"]):
                found[name] = entry
    return {name: found[name] for name in MODALITIES if name in found}


def _json(output: Output, name: str) -> dict[str, Any]:
    """A JSON file of the output; empty when it is not there or damaged."""
    try:
        with output.opened(name) as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
