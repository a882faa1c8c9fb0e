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
from flows.dataset_table import DATASET, DatasetTable
from flows.journal import Entry, Journal
from flows.stages import STAGES
from flows.storage import Output
from reports.dataset import Failures, Tally, draw_confusion
from reports.result import version

JOURNAL, STATUS, SUMMARY, CONFUSION = "journal.jsonl", "status.csv", "summary.json", "confusion.png"
COLUMNS = ("clip_id", "state", "reason", "path", "start", "end", "split", "label", "top", "emotion", "duration", "seconds")


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
        table = stack.enter_context(DatasetTable(plan.output))
        status = _Status(stream)
        for row, entry in status_rows(clips, journal):
            status.add(row, entry)
            totals.add(row, entry)
            if entry is not None and entry.state != "failed":
                table.add(row, entry)
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
