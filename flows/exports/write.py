"""Exports as files: run folders and data sets, here or at an address, read clip by clip; files, folders, zips written whole."""

import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from data.dataset_files import EXPORTS
from data.errors import InputError
from data.files import atomic_path, clear_aside
from data.location import Location
from data.run_folder import RunFolder
from flows.exports.source import ExportSource, ExportTally, items, source_at
from reports.exports.abaw import TRACKS, Submission, abaw, video_text
from reports.exports.clip import ClipAnswer, Item
from reports.exports.formats import Format, format_named, text_pieces, write_format, write_pieces

ExportFiles = Iterator[tuple[str, Callable[[Path], None]]]
"""Names, and what writes each file."""


def export_to(source: ExportSource, name: str, target: str, *, template: str | None = None, fill: str | None = None) -> str:
    """Write an export to a file, a folder (a file a clip) or a .zip, at a path or an address; returns what is to be said.

    A folder is a target that ends with '/' or is one; formats of a file a clip need it (or a .zip) for a data set.
    """
    form, told = format_named(name), ExportTally()
    location = Location.at(target)
    folder = target.endswith("/") or (not location.is_remote and location.path.is_dir())
    zipped = target.lower().endswith(".zip") and not folder
    each = form.write_clip is not None and not source.is_run
    if each and not zipped and not folder and (os.path.isfile(target) or Path(target).suffix == form.suffix):
        raise InputError(f"{target} is a file, and {source.root} holds many clips; name a folder with -o, or a .zip.")
    stem = Path(target).stem if zipped else source.root.name if source.is_run else "dataset"
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
        deliver(write, f"{target.rstrip('/')}/{file}" if folder or each else target)
    return said + told.sentence()


def _write_all(source: ExportSource, form: Format, told: ExportTally, path: Path) -> None:
    write_format(path, form, items(source, form, told), source.summary())


def submission(source: ExportSource, name: str, template: str | None, fill: str | None, told: ExportTally) -> Submission:
    """The text of a challenge's track."""
    return abaw(items(source, format_named(name), told), template, fill, TRACKS[name])


def ways(made: Submission) -> str:
    """How many frames got their class in which way, a line."""
    return f"{made.own} frames with their own class, {made.carried} with that of the nearest frame, {made.filled} filled\n"


def export_text(source: ExportSource, name: str, template: str | None = None, fill: str | None = None) -> str:
    """Write an export to stdout; returns what is to be said on stderr."""
    form, told = format_named(name), ExportTally()
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


def export_data_set(dataset: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """Write exports of a data set into `exports/` in its folder; returns what is to be said, and the files and folders."""
    source = source_at(dataset)
    root, said, targets = source.root / EXPORTS, [], []
    if not root.is_remote:
        root.path.mkdir(exist_ok=True)
        clear_aside(root.path)
    for name in names:
        form = format_named(name)
        target = f"{root}/{name}/" if form.write_clip else f"{root}/dataset{form.suffix}"
        said.append(export_to(source, name, target))
        targets.append(target)
    return "".join(dict.fromkeys(said)), targets


def deliver(write: Callable[[Path], None], target: str) -> None:
    """Have a file written aside and put it where it belongs, whole or not at all; its folder is made."""
    location = Location.at(target)
    if location.is_remote:
        with tempfile.TemporaryDirectory(prefix="dyad-export-", ignore_cleanup_errors=True) as folder:
            aside = Path(folder) / location.name
            write(aside)
            location.upload(aside)
        return
    path = location.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise InputError(f"{target} cannot be written: it is a folder; name a file with -o.")
    with atomic_path(path) as aside:
        write(aside)


def _clip_files(form: Format, clips: Iterable[Item]) -> ExportFiles:
    for clip in clips:
        if isinstance(clip, ClipAnswer):
            yield f"{clip.clip_id}{form.suffix}", _writer(text_pieces(form, [clip]))


def _track_files(name: str, made: Submission, split: bool, stem: str) -> ExportFiles:
    """The challenge's one file, or a file a video."""
    if not split:
        yield f"{stem}.txt", _writer([made.text])
    for video, frames in made.by_video.items() if split else ():
        yield f"{video}.txt", _writer([video_text(TRACKS[name], frames)])


def _writer(pieces: Iterable[str]) -> Callable[[Path], None]:
    return lambda path: write_pieces(path, pieces)


def _write_zip(path: Path, files: ExportFiles) -> None:
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
