"""Exports as files: run folders and data sets, here or at an address, read clip by clip; files, folders, zips written whole."""

import contextlib
import csv
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import atomic_path, clear_aside
from data.places import is_url, plain_root
from data.run_folder import RunFolder
from flows.storage import Output
from reports.export_abaw import TRACKS, Submission, abaw, video_text
from reports.export_clip import ClipAnswer, Item, Unanswered, read_clip
from reports.exports import Format, format_named, text_pieces, write_format, write_pieces

Files = Iterator[tuple[str, Callable[[Path], None]]]
"""Names, and what writes each file."""
STATUS, SUMMARY, EXPORTS = "status.csv", "summary.json", "exports"
ANSWERED = ("done", "degraded")
SHOWN = 5
"""So many clips without an answer are named on stderr."""


@dataclass(frozen=True)
class Source:
    """What is exported: a run folder or the folder of a data set, at a path or an address."""

    root: str

    @cached_property
    def system(self) -> tuple[Any, str]:
        """The file system that it lies in, and its path there."""
        from fsspec import filesystem
        from fsspec.core import url_to_fs

        if not is_url(self.root):
            return filesystem("file"), self.root
        try:
            system, root = url_to_fs(self.root)
        except (ImportError, ValueError) as error:
            raise InputError(f"{self.root} cannot be opened ({error}); correct the address, or install what it needs.") from error
        return system, root.rstrip("/")

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        system, root = self.system
        return bool(system.isfile(f"{root}/{name}"))

    @cached_property
    def is_run(self) -> bool:
        """Whether it is a run folder; InputError where it is neither that nor a data set."""
        if self.holds("result.json"):
            return True
        if not self.holds(STATUS) and not self.run_names():
            raise InputError(
                f"{self.root} is neither a run folder nor a folder of them: no result.json there; see 'dyad run --help'."
            )
        return False

    def run_names(self) -> list[str]:
        """The names of the run folders inside, sorted."""
        if not is_url(self.root):  # where * ? [ in the folder's own name mean themselves
            return sorted(path.parent.name for path in Path(self.root).glob("*/result.json"))
        system, root = self.system
        return sorted(str(path).split("/")[-2] for path in system.glob(f"{root}/*/result.json"))

    @contextlib.contextmanager
    def run(self, name: str, form: Format) -> Iterator[RunFolder]:
        """A clip's folder ('' is the source itself); of an address a copy of what a format reads, until the block ends."""
        if not is_url(self.root):
            yield RunFolder(Path(self.root) / name)
            return
        with tempfile.TemporaryDirectory(prefix="dyad-export-", ignore_cleanup_errors=True) as folder:
            copy = RunFolder(Path(folder) / (name or self.root.rpartition("/")[2]))
            copy.create()
            at = Output(copy.root, f"{self.root}/{name}".rstrip("/"))
            wanted = [copy.result, *([copy.frames] if form.frames else ()), *([copy.cues, copy.transcript] if form.cues else ())]
            for file in wanted:
                at.get(file.relative_to(copy.root).as_posix())
            yield copy

    def status(self) -> Iterator[dict[str, str]]:
        """The rows of status.csv, read as they are asked for; a line for each run folder where there is none."""
        if not self.holds(STATUS):
            yield from ({"clip_id": name, "state": "done"} for name in self.run_names())
            return
        system, root = self.system
        with system.open(f"{root}/{STATUS}", "r", encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)

    def summary(self) -> Mapping[str, Any] | None:
        """The content of summary.json; None where there is none."""
        system, root = self.system
        if self.is_run or not self.holds(SUMMARY):
            return None
        try:
            found: Mapping[str, Any] = json.loads(system.cat_file(f"{root}/{SUMMARY}"))
        except ValueError:
            raise InputError(f"{self.root}/{SUMMARY} is damaged; run 'dyad batch' again.") from None
        return found


@dataclass
class Told:
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


def source_at(place: str | Path) -> Source:
    """What a path or address names; also the result.json in a run folder. InputError where there is no such folder."""
    text = plain_root(place)
    if text.endswith("/result.json"):
        text = text.rpartition("/")[0]
    source = Source(text)
    _ = source.is_run
    return source


def items(source: Source, form: Format, told: Told | None = None) -> Iterator[Item]:
    """The clips of a source one by one, in the order of status.csv; a run folder that is damaged is an InputError, in a data
    set a clip without an answer."""
    told = told or Told()
    if source.is_run:
        yield told.note(_read(source, "", form))
        return
    for row in source.status():
        yield told.note(_item(source, row, form))


def _read(source: Source, name: str, form: Format) -> ClipAnswer:
    """A clip; InputError that names the place itself, not that of a copy."""
    with source.run(name, form) as folder:
        try:
            return read_clip(folder, frames=form.frames, cues=form.cues)
        except InputError as error:
            raise InputError(str(error).replace(str(folder.root), f"{source.root}/{name}".rstrip("/"))) from error


def _item(source: Source, row: Mapping[str, str], form: Format) -> Item:
    clip_id, state, reason = row["clip_id"], row["state"], row.get("reason", "")
    if state in ANSWERED:
        try:
            clip = _read(source, clip_id, form)
            return ClipAnswer(clip.result, clip.frames, clip.cues, row if "path" in row else {})
        except InputError as error:
            state, reason = "lost", str(error)
    elif state == "waiting":
        reason = "It has not ended; run the same 'dyad batch' again."
    return Unanswered(clip_id, row.get("path", ""), state, reason, row if "path" in row else {})


def export_to(source: Source, name: str, target: str, *, template: str | None = None, fill: str | None = None) -> str:
    """Write an export to a file, a folder (a file a clip) or a .zip, at a path or an address; returns what is to be said.

    A folder is a target that ends with '/' or is one; formats of a file a clip need it (or a .zip) for a data set.
    """
    form, told = format_named(name), Told()
    folder = target.endswith("/") or (not is_url(target) and Path(target).is_dir())
    zipped = target.lower().endswith(".zip") and not folder
    each = form.write_clip is not None and not source.is_run
    if each and not zipped and not folder and (os.path.isfile(target) or Path(target).suffix == form.suffix):
        raise InputError(f"{target} is a file, and {source.root} holds many clips; name a folder with -o, or a .zip.")
    stem = Path(target).stem if zipped else source.root.rpartition("/")[2] if source.is_run else "dataset"
    said = ""
    if name in TRACKS:
        made = submission(source, name, template, fill, told)
        said, files = ways(made), _track_files(name, made, split=folder, stem=stem)
    elif form.write_clip is not None:
        files = _clip_files(form, items(source, form, told))
    else:
        files = iter([(f"{stem}{form.suffix}", partial(_write_all, source, form, told))])
    if zipped:
        deliver(partial(_write_zip, files=files), target)
    for file, write in () if zipped else files:
        deliver(write, f"{target.rstrip('/')}/{file}" if folder or each else target, make=folder or each)
    return said + told.sentence()


def _write_all(source: Source, form: Format, told: Told, path: Path) -> None:
    write_format(path, form, items(source, form, told), source.summary())


def submission(source: Source, name: str, template: str | None, fill: str | None, told: Told) -> Submission:
    """The text of a challenge's track."""
    return abaw(items(source, format_named(name), told), template, fill, TRACKS[name])


def ways(made: Submission) -> str:
    """How many frames got their class in which way, a line."""
    return f"{made.own} frames with their own class, {made.carried} with that of the nearest frame, {made.filled} filled\n"


def export_text(source: Source, name: str, template: str | None = None, fill: str | None = None) -> str:
    """Write an export to stdout; returns what is to be said on stderr."""
    form, told = format_named(name), Told()
    if form.write_clip is not None and not source.is_run:
        raise InputError("This format is a file a clip; name a folder for them with -o, or a .zip.")
    if name in TRACKS:
        made = submission(source, name, template, fill, told)
        sys.stdout.write(made.text)
        return ways(made) + told.sentence()
    if not form.is_text:
        raise InputError(f"{name} is no text; name a file for it with -o.")
    sys.stdout.writelines(text_pieces(form, items(source, form, told)))
    return told.sentence()


def export_beside(folder: Path, names: Sequence[str]) -> list[Path]:
    """Write exports of a run into its own folder; returns the files."""
    source, run = source_at(folder), RunFolder(folder)
    files = [run.export(format_named(name).suffix) for name in names]
    for name, file in zip(names, files, strict=True):
        export_to(source, name, str(file))
    return files


def export_data_set(place: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """Write exports of a data set into `exports/` in its folder; returns what is to be said, and the files and folders."""
    source = source_at(place)
    root, said, targets = f"{source.root}/{EXPORTS}", [], []
    if not is_url(root):
        Path(root).mkdir(exist_ok=True)
        clear_aside(Path(root))
    for name in names:
        form = format_named(name)
        target = f"{root}/{name}/" if form.write_clip else f"{root}/dataset{form.suffix}"
        said.append(export_to(source, name, target))
        targets.append(target)
    return "".join(dict.fromkeys(said)), targets


def deliver(write: Callable[[Path], None], target: str, make: bool = False) -> None:
    """Have a file written aside and put it where it belongs, whole or not at all. `make`: also its folder."""
    if is_url(target) and not target.startswith(("file://", "local://")):
        system, place = Source(target).system
        with tempfile.TemporaryDirectory(prefix="dyad-export-", ignore_cleanup_errors=True) as folder:
            aside = Path(folder) / target.rpartition("/")[2]
            write(aside)
            system.makedirs(place.rpartition("/")[0], exist_ok=True)
            system.put_file(str(aside), place)
        return
    path = Path(plain_root(target))
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{target} cannot be written: it is a folder, or its folder is not there; name a file with -o.")
    with atomic_path(path) as aside:
        write(aside)


def _clip_files(form: Format, clips: Iterable[Item]) -> Files:
    for clip in clips:
        if isinstance(clip, ClipAnswer):
            yield f"{clip.clip_id}{form.suffix}", _writer(text_pieces(form, [clip]))


def _track_files(name: str, made: Submission, split: bool, stem: str) -> Files:
    """The challenge's one file, or a file a video."""
    if not split:
        yield f"{stem}.txt", _writer([made.text])
    for video, places in made.by_video.items() if split else ():
        yield f"{video}.txt", _writer([video_text(TRACKS[name], places)])


def _writer(pieces: Iterable[str]) -> Callable[[Path], None]:
    return lambda path: write_pieces(path, pieces)


def _write_zip(path: Path, files: Files) -> None:
    """Files as a zip; with one date for all, so that the same answers make the same zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as folder:
        for name, write in files:
            aside = Path(folder) / "one"
            write(aside)
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with aside.open("rb") as source, archive.open(entry, "w") as target:
                while piece := source.read(2**20):
                    target.write(piece)

