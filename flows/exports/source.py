"""Exports as files: run folders and data sets, here or at an address, read clip by clip; files, folders, zips written whole."""

import contextlib
import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from data.csv_files import as_given
from data.dataset_files import STATUS, SUMMARY
from data.errors import InputError
from data.json_files import parse_json
from data.location import Location
from data.run_folder import RunFolder
from reports.documents import SummaryDocument
from reports.exports.clip import ClipAnswer, Item, Unanswered, read_clip
from reports.exports.formats import Format
from reports.exports.persons import answer_of, others_files, with_others

ANSWERED = ("done", "degraded")
ALONE = Format("")
"""What reads result.json and nothing else."""
SHOWN = 5
"""So many clips without an answer are named on stderr."""


@dataclass(frozen=True)
class ExportSource:
    """What is exported: a run folder or the folder of a data set, at a path or an address; and the one `person` whose answers
    are wanted, a number of people.csv or a name ('' is everybody)."""

    root: Location
    person: str = ""

    @cached_property
    def is_run(self) -> bool:
        """Whether it is a run folder; InputError where it is neither that nor a data set."""
        if (self.root / "result.json").is_file():
            return True
        if not (self.root / STATUS).is_file() and not self.run_names():
            raise InputError(
                f"{self.root} is neither a run folder nor a folder of them: no result.json there; see 'dyad run --help'."
            )
        return False

    def run_names(self) -> list[str]:
        """The names of the run folders inside, sorted."""
        return [path.rpartition("/")[0] for path in self.root.glob("*/result.json")]

    @contextlib.contextmanager
    def run(self, name: str, form: Format) -> Iterator[RunFolder]:
        """A clip's folder ('' is the source itself); of an address a copy of what a format reads, until the block ends."""
        if not self.root.is_remote:
            yield RunFolder(self.root.path / name)
            return
        with tempfile.TemporaryDirectory(prefix="dyad-export-", ignore_cleanup_errors=True) as folder:
            copy = RunFolder(Path(folder) / (name or self.root.name))
            copy.create()
            cues = [copy.cues, copy.transcript] if form.cues else []
            tables = [*([copy.frames] if form.frames else ()), *([copy.table(form.table)] if form.table else ())]
            wanted = [copy.result, *tables, *cues]
            self._download(name, copy, wanted)
            if form.persons or self.person:
                self._download(name, copy, others_files(copy))
            yield copy

    def _download(self, name: str, copy: RunFolder, files: Sequence[Path]) -> None:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # which formats must bear, and a clip without answer lacks
                (self.root / name / file.relative_to(copy.root).as_posix()).download(file)

    def status(self) -> Iterator[dict[str, str]]:
        """The rows of status.csv, read as they are asked for; a line for each run folder where there is none."""
        if not (self.root / STATUS).is_file():
            yield from ({"clip_id": name, "state": "done"} for name in self.run_names())
            return
        with (self.root / STATUS).open("rt", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                yield {name: as_given(cell) for name, cell in row.items()}

    def summary(self) -> SummaryDocument | None:
        """The content of summary.json; None where there is none."""
        file = self.root / SUMMARY
        if self.is_run or not file.is_file():
            return None
        try:
            found: SummaryDocument = parse_json(file.read_bytes().decode())
        except ValueError:
            raise InputError(f"{self.root}/{SUMMARY} is damaged; run 'dyad batch' again.") from None
        return found


@dataclass
class ExportTally:
    """What is said at the end of an export: how many clips it is about, and those without an answer (the first few)."""

    clips: int = 0
    unanswered: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, item: Item) -> Item:
        """Count a clip as it goes by."""
        self.clips += 1
        if isinstance(item, Unanswered):
            self.unanswered += 1
            if len(self.examples) < SHOWN:
                self.examples.append(f"{item.clip_id or item.path} ({item.state}: {item.reason or 'no reason is known'})")
        return item

    def sentence(self) -> str:
        """Which clips have no answer; empty when all have one."""
        if not self.unanswered:
            return ""
        more = "" if self.unanswered <= len(self.examples) else ", ..."
        return f"{self.unanswered} of {self.clips} clips have no answer: {', '.join(self.examples)}{more}\n"


def source_at(path: str | Path, person: str = "") -> ExportSource:
    """What a path or address names; also the result.json in a run folder. InputError where there is no such folder."""
    root = Location.at(path)
    source = ExportSource(root.parent if root.name == "result.json" else root, person)
    _ = source.is_run
    return source


def items(source: ExportSource, form: Format = ALONE, told: ExportTally | None = None) -> Iterator[Item]:
    """The clips of a source one by one, in the order of status.csv; a run folder that is damaged is an InputError, in a data
    set a clip without an answer."""
    told = told or ExportTally()
    if source.is_run:
        yield told.note(_read(source, "", form))
        return
    for row in source.status():
        yield told.note(_item(source, row, form))


def _read(source: ExportSource, name: str, form: Format) -> ClipAnswer:
    """A clip; InputError that names the place itself, not that of a copy."""
    with source.run(name, form) as folder:
        try:
            clip = read_clip(folder, frames=form.frames, cues=form.cues, table=form.table)
            if form.persons or source.person:
                clip = with_others(clip, folder)
            return answer_of(clip, source.person, folder) if source.person else clip
        except InputError as error:
            raise InputError(str(error).replace(str(folder.root), f"{source.root}/{name}".rstrip("/"))) from error


def _item(source: ExportSource, row: Mapping[str, str], form: Format) -> Item:
    clip_id, state, reason = row["clip_id"], row["state"], row.get("reason", "")
    if state in ANSWERED:
        try:
            clip = _read(source, clip_id, form)
            return replace(clip, status=row if "path" in row else {})
        except InputError as error:
            state, reason = "lost", str(error)
    elif state == "waiting":
        reason = "It has not ended; run the same 'dyad batch' again."
    return Unanswered(clip_id, row.get("path", ""), state, reason, row if "path" in row else {})
