"""What a data set gives as a whole: status.csv, dataset.parquet, summary.json, confusion.png; in one pass, memory flat."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from data.emotions import BASIC_EMOTIONS
from data.files import atomic_path, write_text
from data.manifest import Manifest, ManifestRow
from flows.batch_progress import Counts
from flows.dataset_clips import Plan
from flows.journal import Entry, Journal
from flows.stages import STAGES
from flows.storage import Output
from reports.dataset import Failures, Tally, draw_confusion
from reports.result import version

JOURNAL, STATUS, DATASET, SUMMARY, CONFUSION = "journal.jsonl", "status.csv", "dataset.parquet", "summary.json", "confusion.png"
COLUMNS = ("clip_id", "state", "reason", "path", "start", "end", "split", "label", "top", "emotion", "duration", "seconds")
ROWS = 50_000
"""Rows of dataset.parquet that are held in memory at most, before they are written."""


def status_rows(clips: Manifest, journal: Journal) -> Iterator[tuple[ManifestRow, Entry | None]]:
    """Every clip of the manifest with how it ended; None for one that was rejected or has not ended."""
    for row in clips.rows():
        yield row, None if row.problem else journal.latest(row.clip_id)


def write_status(output: Output, clips: Manifest, journal: Journal) -> None:
    """Write status.csv: a row for each clip of the manifest, in its order."""
    with atomic_path(output.folder / STATUS) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        status = _Status(stream)
        for row, entry in status_rows(clips, journal):
            status.add(row, entry)
    output.put(STATUS)


def _reason(row: ManifestRow, entry: Entry | None) -> str:
    return row.problem or (entry.reason if entry else "")


class _Status:
    """The rows of status.csv, as clips come by."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = csv.writer(stream)
        self._writer.writerow([*COLUMNS, *STAGES])

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Write a clip's row."""
        state = entry.state if entry else "rejected" if row.problem else "waiting"
        answer, seconds = (entry.answer, entry.seconds) if entry else ({}, {})
        self._writer.writerow([
            row.clip_id, state, _reason(row, entry), row.path, row.start, row.end, row.split, row.label,
            answer.get("top"), answer.get("emotion"), answer.get("duration"), f"{sum(seconds.values()):.3f}" if seconds else "",
            *(seconds.get(stage) for stage in STAGES),
        ])  # fmt: skip


def write_results(plan: Plan, clips: Manifest, journal: Journal, counts: Counts) -> dict[str, Any]:
    """Write all files about the data set; returns the content of summary.json."""
    folder = plan.output.folder
    totals = _Totals(tuple(compound.name for compound in plan.settings.compound_table()))
    with ExitStack() as stack:
        stream = stack.enter_context(stack.enter_context(atomic_path(folder / STATUS)).open("w", encoding="utf-8", newline=""))
        table = stack.enter_context(_Table(plan.output))
        status = _Status(stream)
        for row, entry in status_rows(clips, journal):
            status.add(row, entry)
            totals.add(row, entry)
            if entry is not None and entry.state != "failed":
                table.add(row)
    summary = _summary(plan, clips, counts, totals)
    write_text(folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _draw(folder / CONFUSION, summary["metrics"])
    for name in (STATUS, DATASET, CONFUSION, SUMMARY):
        if (folder / name).is_file():
            plan.output.put(name)
    return summary


def _summary(plan: Plan, clips: Manifest, counts: Counts, totals: "_Totals") -> dict[str, Any]:
    states = ("total", "done", "degraded", "failed", "rejected", "skipped")
    return {
        "dyad": version(),
        "manifest": clips.source,
        "profile": plan.settings.profile,
        "notes": list(clips.notes),
        "clips": {name: getattr(counts, name) for name in states},
        "seconds": totals.seconds(),
        "compounds": totals.compounds(),
        "metrics": totals.metrics(),
        "failures": totals.failures.table(),
    }


class _Totals:
    """What is added up over the clips."""

    def __init__(self, compounds: tuple[str, ...]) -> None:
        self.names, self.failures = compounds, Failures()
        self.stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.shown, self.clips, self.media = Counter[str](), Counter[str](), 0.0
        self.tallies = {
            (kind, level): Tally(classes)
            for kind, classes in (("compounds", compounds), ("emotions", BASIC_EMOTIONS))
            for level in ("clips", "windows", "frames")
        }

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Add a clip."""
        if (entry is None or entry.state == "failed") and (reason := _reason(row, entry)):
            self.failures.add(reason, row.clip_id, row.path)
        if entry is None:
            return
        for stage, seconds in entry.seconds.items():
            self.stages[stage][0] += seconds
            self.stages[stage][1] += 1
        answer = entry.answer
        self.media += answer.get("duration") or 0.0
        self.shown.update(answer.get("seconds", {}))
        self.clips[answer.get("top") or ""] += bool(answer)
        self._compare(row.label, answer)

    def _compare(self, label: str, answer: dict[str, Any] | Any) -> None:
        """Count where a clip's label and its answers meet; a failed clip is no answer."""
        kind = "compounds" if label in self.names else "emotions"
        parts = {"compounds": ("top", "windows", "frames"), "emotions": ("emotion", "window_emotions", "frame_emotions")}[kind]
        if label:
            self.tallies[kind, "clips"].add(label, {answer.get(parts[0]) or "": 1})
            self.tallies[kind, "windows"].add(label, answer.get(parts[1], {}))
        if "frame_pairs" in answer:
            for true, said, count in answer["frame_pairs"]:
                self.tallies["compounds", "frames"].add(true, {said: count})
        elif label:
            self.tallies[kind, "frames"].add(label, answer.get(parts[2], {}))

    def seconds(self) -> dict[str, Any]:
        """Seconds of media, and of each stage in all and a clip."""
        stages = {name: {"total": round(s, 3), "mean": round(s / n, 4)} for name, (s, n) in self.stages.items()}
        return {"media": round(self.media, 3), "stages": stages}

    def compounds(self) -> dict[str, Any]:
        """Clips that each compound won, and seconds that it was shown."""
        return {name: {"clips": self.clips[name], "seconds": round(self.shown[name], 3)} for name in self.names}

    def metrics(self) -> dict[str, Any]:
        """Figures by kind of label and by what is counted; only where there are labels."""
        found: dict[str, Any] = {}
        for (kind, level), tally in self.tallies.items():
            if figures := tally.figures():
                found.setdefault(kind, {})[level] = figures
        return found


def _draw(path: Path, metrics: dict[str, Any]) -> None:
    """The confusion matrix by clip, of compounds where their labels exist; none without labels."""
    kind = next(iter(metrics), None)
    if kind is None:
        path.unlink(missing_ok=True)
        return
    level = next(iter(metrics[kind]))
    draw_confusion(path, metrics[kind][level], f"{kind} by {level}")


class _Table:
    """dataset.parquet: the windows of all clips, with the clip's columns before them."""

    def __init__(self, output: Output) -> None:
        self._output, self._rows = output, 0
        self._writer: Any = None
        self._schema: Any = None
        self._parts: list[Any] = []
        self._stack = ExitStack()

    def __enter__(self) -> "_Table":
        self._aside = self._stack.enter_context(atomic_path(self._output.folder / DATASET))
        return self

    def add(self, row: ManifestRow) -> None:
        """Add a clip's windows; a clip without them (not made by recognition) adds nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self._output.opened(f"{row.clip_id}/windows.parquet") as stream:
                windows = pq.read_table(stream)
        except FileNotFoundError:
            return
        own = {name: [getattr(row, name)] * len(windows) for name in ("clip_id", "split", "label", "speaker")}
        own["segment_start"] = [row.start] * len(windows)
        kinds = {"segment_start": pa.float64()}
        columns = {name: pa.array(values, kinds.get(name, pa.string())) for name, values in own.items()}
        columns |= {name: windows[name] for name in windows.column_names}
        self._parts.append(self._fitted(pa.table(columns)))
        self._rows += len(windows)
        if self._rows >= ROWS:
            self._write()

    def _fitted(self, table: Any) -> Any:
        """A table in the form of the first one; clips of other settings may have other columns."""
        import pyarrow as pa

        if self._schema is None:
            names = [(field.name, pa.string() if pa.types.is_null(field.type) else field.type) for field in table.schema]
            self._schema = pa.schema(names)
        columns = [
            table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None and self._schema is not None:
            self._writer = self._stack.enter_context(pq.ParquetWriter(self._aside, self._schema))
        if self._writer is not None and self._parts:
            self._writer.write_table(pa.concat_tables(self._parts))
        self._parts, self._rows = [], 0

    def __exit__(self, *failure: Any) -> None:
        if failure[0] is None:
            self._write()
            if self._writer is None:
                self._no_rows()
        self._stack.__exit__(*failure)

    def _no_rows(self) -> None:
        """Nothing was recognised: a table that has the clip's columns alone."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        empty = {name: pa.array([], pa.string()) for name in ("clip_id", "split", "label", "speaker")}
        pq.write_table(pa.table(empty), self._aside)


