"""`report.html` of a data set: gathered while its other files are written, or made again from what lies in its folder."""

import contextlib
import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from data.bootstrap import times_drawn
from data.corpora.known import corpus_of_file
from data.csv_files import as_given
from data.dataset_files import JOURNAL, REPORT, STATUS, SUMMARY
from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError
from data.files import write_text
from data.json_files import parse_json
from data.location import is_address
from data.manifest.manifest import ManifestRow
from data.run_folder import RunFolder
from data.scores import MODALITIES
from data.version import version
from flows.batch.journal import Entry, Journal
from flows.batch.one_clip import outcome_of
from flows.batch.storage import OutputFolder, output_at
from flows.clip.report import read_result
from flows.clip.stages import STAGES
from flows.runtime.errors import sentence
from reports.dataset.clip_brief import ClipBrief
from reports.dataset.figures import Failures, Reliability, Tally
from reports.dataset.page import dataset_page
from reports.dataset.rows import ClipRow, ClipRows
from reports.documents import (
    Figures,
    Metrics,
    ModalityEntry,
    ReliabilityFigures,
    SecondsEntry,
    SetFigures,
    ShownEntry,
    StageSeconds,
    SummaryDocument,
)

LEVELS = ("clips", "windows", "frames")
"""What is counted where answers are compared with labels."""
STATES = ("done", "degraded", "failed", "rejected", "waiting")
"""How a clip of a data set stands."""
MOST_THUMBNAILS = 300
"""With more clips the page shows none: it would become too large, and over a network take too long to make."""


class Gathered:
    """What a data set's summary and page need, taken in as clips come by; memory flat."""

    def __init__(self, output: OutputFolder, compounds: Sequence[str]) -> None:
        self.output, self.totals = output, Totals(compounds)
        self.rows = ClipRows(compounds, tuple(STAGES), self._is_there)
        self.examples: dict[str, str] = {}

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Take in a clip."""
        self.totals.add(row, entry)
        answer, seconds = cast(ClipBrief, entry.answer if entry else {}), entry.seconds if entry else {}
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


def write_page(output: OutputFolder, summary: SummaryDocument, gathered: Gathered) -> Path:
    """Write report.html of a data set from the content of summary.json and its clips, and put it to the output's address."""
    page = output.folder / REPORT
    thumbnails = None if gathered.rows.total > MOST_THUMBNAILS else [_thumbnail(output, name) for name in gathered.rows.ids]
    ran = _ran(output, gathered.examples)
    write_text(page, dataset_page(summary, gathered.rows, ran=ran, thumbnails=thumbnails))
    output.put(REPORT)
    return page


def remake_page(dataset: str) -> Path:
    """Make the page of a data set anew from its status.csv and journal, also of one whose run was interrupted; or of a folder of
    run folders.

    InputError when the folder or address holds none of these.
    """
    if not is_address(dataset) and not Path(dataset).is_dir():
        raise InputError(f"There is no folder {dataset}; name the output of 'dyad run' or 'dyad batch'.")
    output = output_at(dataset)
    clips = _clips_of_batch(output) if output.get(STATUS) and output.get(JOURNAL) else _clips_of_runs(output)
    known = _json(output, SUMMARY)
    gathered: Gathered | None = None
    for row, entry in clips:
        if gathered is None:
            compounds = list(known.get("compounds", ())) or _compounds(output, row.clip_id)
            gathered = Gathered(output, compounds)
        gathered.add(row, entry)
    if gathered is None:
        raise InputError(
            f"{dataset} is neither a run folder nor a folder of them, and no data set (no result.json, no status.csv with "
            "journal.jsonl); name the output of 'dyad run' or 'dyad batch'."
        )
    counts = {"total": gathered.rows.total, **{state: gathered.totals.states[state] for state in STATES}}
    usual = {"dyad": version(), "manifest": dataset, "profile": "unknown", "notes": [], "trained_on": {}}
    summary = usual | known | {"clips": counts} | gathered.totals.figures()
    return write_page(output, cast(SummaryDocument, summary), gathered)


def _clips_of_batch(output: OutputFolder) -> Iterator[tuple[ManifestRow, Entry | None]]:
    """The rows of status.csv with how their clips ended."""
    with Journal(output.folder / JOURNAL, by_folder=True) as journal:
        for row in _rows(output.folder / STATUS):
            yield row, None if row.problem else journal.latest(row.clip_id)


def _clips_of_runs(output: OutputFolder) -> Iterator[tuple[ManifestRow, Entry]]:
    """The run folders in a folder of this machine, as if a batch had made them; one whose files are damaged failed."""
    for number, file in enumerate(sorted(output.folder.glob(f"*/{RunFolder(Path()).result.name}")), start=1):
        folder = RunFolder(file.parent)
        try:
            clip = read_result(folder)["clip"]
            outcome = outcome_of(folder)
        except (InputError, OSError, KeyError) as error:
            yield ManifestRow(number, folder.root.name, folder.root.name), Entry(folder.root.name, "", "failed", sentence(error))
            continue
        row = ManifestRow(number, folder.root.name, clip["path"], clip.get("start"), clip.get("end"))
        yield row, Entry(folder.root.name, "", outcome.state, outcome.reason, outcome.seconds, outcome.answer)


def _compounds(output: OutputFolder, clip_id: str) -> list[str]:
    """The compounds that a clip's answer tells apart; the usual ones where it cannot be read."""
    answer = _json(output, f"{clip_id}/{RunFolder(Path()).result.name}")
    return [row["name"] for row in answer.get("compounds", ())] or [compound.name for compound in ABAW_COMPOUNDS]


def _rows(status: Path) -> Iterator[ManifestRow]:
    """The rows of status.csv as those of a manifest, as far as the page needs them."""
    with status.open(encoding="utf-8", newline="") as stream:
        for number, cells in enumerate(csv.DictReader(stream), start=2):
            row = {name: as_given(cell) for name, cell in cells.items()}
            problem = row["reason"] if row["state"] == "rejected" else ""
            start, end = (float(row[name]) if row[name] else None for name in ("start", "end"))
            yield ManifestRow(number, row["clip_id"], row["path"], start, end, row["split"], row["label"], problem=problem)


def _thumbnail(output: OutputFolder, clip_id: str) -> bytes | None:
    with contextlib.suppress(OSError):
        return (output.location / f"{clip_id}/{RunFolder(Path()).thumbnail.name}").read_bytes()
    return None


def _ran(output: OutputFolder, examples: Mapping[str, str]) -> dict[str, ModalityEntry]:
    """What result.json says of each modality in a clip that has it; of one that no clip has, why."""
    found: dict[str, ModalityEntry] = {}
    for clip_id in dict.fromkeys(examples.values()):
        for name, entry in _json(output, f"{clip_id}/{RunFolder(Path()).result.name}").get("modalities", {}).items():
            if name not in found or (entry["source"] and not found[name]["source"]):
                found[name] = entry
    return {name: found[name] for name in MODALITIES if name in found}


def _json(output: OutputFolder, name: str) -> dict[str, Any]:
    """A JSON file of the output; empty when it is not there or damaged."""
    try:
        content = parse_json((output.location / name).read_bytes().decode())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def state_of(row: ManifestRow, entry: Entry | None) -> str:
    """How a clip ended, or `rejected` (its row has a problem), or `waiting`."""
    return entry.state if entry else "rejected" if row.problem else "waiting"


def reason_of(row: ManifestRow, entry: Entry | None) -> str:
    """The sentence that says what is wrong with a clip; '' when nothing is."""
    return row.problem or (entry.reason if entry else "")


class Totals:
    """What is added up over the clips."""

    def __init__(self, compounds: Sequence[str]) -> None:
        self.names, self.failures = tuple(compounds), Failures()
        self.stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.corpora = Counter[str]()
        self.shown, self.clips, self.alone, self.media = Counter[str](), Counter[str](), Counter[str](), 0.0
        self.states, self.present = Counter[str](), Counter[str]()
        self.persons, self.several = Counter[str](), 0
        classes = {"compounds": self.names, "emotions": BASIC_EMOTIONS}
        self.tallies = {(kind, level): Tally(names) for kind, names in classes.items() for level in LEVELS}
        self.sure, self.sure_frames = {kind: Reliability() for kind in classes}, Reliability("frames")

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Add a clip."""
        self.states[state_of(row, entry)] += 1
        if (entry is None or entry.state == "failed") and (reason := reason_of(row, entry)):
            self.failures.add(reason, row.clip_id, row.path)
        if entry is None:
            return
        for stage, seconds in entry.seconds.items():
            self.stages[stage][0] += seconds
            self.stages[stage][1] += 1
        answer = entry.answer
        if answer:
            self.corpora[corpus_of_file(row.path, row.corpus)] += 1
        self.media += answer.get("duration") or 0.0
        self.shown.update(answer.get("seconds", {}))
        self.clips[answer.get("top") or ""] += bool(answer)
        self.alone[answer.get("emotion") or ""] += bool(answer) and not answer.get("top")
        self.present.update(answer.get("present", ()))
        self.persons.update(people := answer.get("people", ()))
        self.several += len(people) > 1
        if row.label or "frame_pairs" in answer:
            self._compare(row.label, answer, row.speaker or row.path)

    def _compare(self, label: str, answer: Mapping[str, Any], group: str) -> None:
        """Count where a clip's label and its answers meet; a failed clip is no answer. Clips of a `group` are drawn together."""
        kind = "compounds" if label in self.names else "emotions"
        top, windows, frames, sure = {
            "compounds": ("top", "windows", "frames", "window_sure"),
            "emotions": ("emotion", "window_emotions", "frame_emotions", "emotion_sure"),
        }[kind]
        weights = times_drawn(group)
        if label:
            self.tallies[kind, "clips"].add(label, {answer.get(top) or "": 1}, weights)
            self.tallies[kind, "windows"].add(label, answer.get(windows, {}), weights)
            self.sure[kind].add(label, answer.get(sure, {}))
        if "frame_pairs" in answer:
            self.tallies["compounds", "frames"].add_pairs(answer["frame_pairs"], weights)
            self.sure_frames.add_cells(answer.get("frame_sure", ()))
        elif label:
            self.tallies[kind, "frames"].add(label, answer.get(frames, {}), weights)

    def figures(self) -> SetFigures:
        """The part of summary.json that the clips give, but for how many there are."""
        return {
            "seconds": self.seconds(), "compounds": self.compounds(), "alone": {name: n for name, n in self.alone.items() if n},
            "modalities": dict(self.present),
            "people": {"total": self.persons.total(), "several": self.several, "shown": dict(self.persons)},
            "metrics": self.metrics(), "reliability": self.reliability(), "failures": self.failures.table(),
        }  # fmt: skip

    def trained_on(self, corpora: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
        """The clips of corpora that a modality's model was trained on (`corpora`, by modality)."""
        found = {name: {corpus: self.corpora[corpus] for corpus in own if self.corpora[corpus]} for name, own in corpora.items()}
        return {name: clips for name, clips in found.items() if clips}

    def seconds(self) -> SecondsEntry:
        """Seconds of media, and of each stage in all and a clip."""
        stages: dict[str, StageSeconds] = {
            name: {"total": round(s, 3), "mean": round(s / n, 4)} for name, (s, n) in self.stages.items()
        }
        return {"media": round(self.media, 3), "stages": stages}

    def compounds(self) -> dict[str, ShownEntry]:
        """Clips that each compound won, and seconds that it was shown."""
        return {name: {"clips": self.clips[name], "seconds": round(self.shown[name], 3)} for name in self.names}

    def metrics(self) -> Metrics:
        """Figures by kind of label and by what is counted; only where there are labels."""
        found: dict[str, dict[str, Figures]] = {}
        for (kind, level), tally in self.tallies.items():
            if figures := tally.figures():
                found.setdefault(kind, {})[level] = figures
        return found

    def reliability(self) -> dict[str, ReliabilityFigures]:
        """By kind of label, how often answers are right that are so sure: windows of labelled clips, else labelled frames."""
        found = {kind: figures for kind, sure in self.sure.items() if (figures := sure.figures())}
        frames = self.sure_frames.figures()
        return ({"compounds": frames} if frames else {}) | found
