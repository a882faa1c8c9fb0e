"""What a data set gives as a whole: status.csv, dataset.parquet, summary.json, confusion.png, report.html; in one pass."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from data.csv_files import CsvWriter
from data.dataset_files import CONFUSION, DATASET, STATUS, SUMMARY
from data.files import atomic_path, write_text
from data.manifest.manifest import Manifest, ManifestRow
from data.version import version
from flows.backends import MODULES, backend_of
from flows.batch.clips import BatchPlan
from flows.batch.counts import Counts
from flows.batch.journal import Entry, Journal
from flows.batch.storage import OutputFolder
from flows.batch.summary import Gathered, Totals, reason_of, state_of, write_page
from flows.batch.windows_table import DatasetTable
from flows.clip.stages import STAGES
from reports.dataset.figures import confusion_picture, main_figures, trained_on_sentence
from reports.documents import Metrics, SummaryDocument

COLUMNS = ("clip_id", "state", "reason", "path", "start", "end", "split", "label", "top", "emotion", "sureness",
           "duration", "seconds")  # fmt: skip


def status_rows(clips: Manifest, journal: Journal) -> Iterator[tuple[ManifestRow, Entry | None]]:
    """Every clip of the manifest with how it ended, under the name of its run folder; None for one that was rejected or has not
    ended."""
    for row in clips.rows():
        entry = None if row.problem else journal.latest(row.clip_id)
        yield (row if entry is None else replace(row, clip_id=entry.run_folder)), entry


def write_status(output: OutputFolder, clips: Manifest, journal: Journal) -> None:
    """Write status.csv: a row for each clip of the manifest, in its order."""
    with atomic_path(output.folder / STATUS) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        status = _Status(stream)
        for row, entry in status_rows(clips, journal):
            status.add(row, entry)
    output.put(STATUS)


class _Status:
    """The rows of status.csv, as clips come by."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = CsvWriter(stream)
        self._writer.add([*COLUMNS, *STAGES])

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Write a clip's row."""
        answer, seconds = (entry.answer, entry.seconds) if entry else ({}, {})
        self._writer.add([
            row.clip_id, state_of(row, entry), reason_of(row, entry), row.path, row.start, row.end, row.split, row.label,
            answer.get("top"), answer.get("emotion"), answer.get("sureness"), answer.get("duration"),
            f"{sum(seconds.values()):.3f}" if seconds else "",
            *(seconds.get(stage) for stage in STAGES),
        ])  # fmt: skip


def write_results(plan: BatchPlan, clips: Manifest, journal: Journal, counts: Counts) -> SummaryDocument:
    """Write all files about the data set; returns the content of summary.json."""
    folder = plan.output.folder
    gathered = Gathered(plan.output, [compound.name for compound in plan.settings.compound_table()])
    with ExitStack() as stack:
        stream = stack.enter_context(stack.enter_context(atomic_path(folder / STATUS)).open("w", encoding="utf-8", newline=""))
        table = stack.enter_context(DatasetTable(plan.output))
        status = _Status(stream)
        for row, entry in status_rows(clips, journal):
            status.add(row, entry)
            gathered.add(row, entry)
            if entry is not None and entry.state != "failed":
                table.add(row, entry)
    summary = _summary(plan, clips, counts, gathered.totals)
    write_text(folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _draw(folder / CONFUSION, summary["metrics"])
    for name in (STATUS, DATASET, CONFUSION, SUMMARY):
        if (folder / name).is_file():
            plan.output.put(name)
    write_page(plan.output, summary, gathered)
    return summary


def _summary(plan: BatchPlan, clips: Manifest, counts: Counts, totals: Totals) -> SummaryDocument:
    states = ("total", "done", "degraded", "failed", "rejected", "skipped")
    answering = [name for name in totals.present if name in MODULES]
    seen = totals.trained_on({name: backend_of(plan.settings, name).corpora(plan.settings) for name in answering})
    figures = totals.figures()
    if plan.different is not None:
        figures["people"]["different"] = plan.different
    return {
        "dyad": version(),
        "manifest": clips.source,
        "profile": plan.settings.profile,
        "notes": [*clips.notes, *([said] if (said := trained_on_sentence(seen)) else [])],
        "trained_on": seen,
        "clips": {name: getattr(counts, name) for name in states},
        **figures,
    }


def _draw(path: Path, metrics: Metrics) -> None:
    """The confusion matrix by clip, of compounds where their labels exist; none without labels."""
    shown = main_figures(metrics)
    if shown is None:
        path.unlink(missing_ok=True)
        return
    picture = confusion_picture(shown[1], shown[0])
    with atomic_path(path) as aside:
        aside.write_bytes(picture)
