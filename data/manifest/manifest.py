"""Manifests: which clips a data set has, where they lie, what is known about them, and what is wrong with a row."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.csv_files import write_csv
from data.emotions import ABAW_COMPOUNDS, Compound
from data.errors import EmptyTableError, InputError
from data.files import atomic_path
from data.given_tables import DURATION, as_text, ends_of, plain_name, plain_names, read_given_table, with_unit
from data.location import Location, StorageError, file_system
from data.manifest.checks import (  # fmt: skip
    PATHS,
    REPEATS,
    RowErrors,
    check_ids,
    check_labels,
    check_languages,
    check_paths,
    check_repeats,
    check_times,
    holds_path,
)
from data.manifest.paths import WHOLE
from data.media.subtitles import SUFFIXES as TRANSCRIPTS

COLUMNS = (
    "path", "clip_id", "start", "end", "split", "label", "speaker", "language", "transcript", "descriptions", "frame_labels",
    "corpus",
)  # fmt: skip
"""What a manifest may say of a clip; only `path` must be there. Other columns but those of `OURS` are kept."""
OURS = ("number", "problem", "id_given")
"""Columns of the table that no manifest gives."""
ROW = ("number", "clip_id", "path", *COLUMNS[2:], "problem", "id_given")
"""The columns that make a `ManifestRow`, in its order."""
OTHER_NAMES = {"lang": "language", "file": "path"}
VIDEO = (
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".mk3d", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob",
    ".ts", ".mts", ".m2ts", ".m2t", ".trp", ".tod", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm",
    ".mxf", ".dv", ".rm", ".rmvb", ".nut", ".wtv", ".mjpg", ".mjpeg", ".gif", ".apng", ".mod", ".y4m",
)  # fmt: skip
AUDIO = (
    ".wav", ".wave", ".w64", ".flac", ".mp3", ".mp2", ".m4a", ".m4b", ".ogg", ".oga", ".opus", ".spx", ".aac", ".aif",
    ".aiff", ".aifc", ".wma", ".caf", ".mka", ".weba", ".amr", ".au", ".snd", ".ac3", ".eac3", ".ape", ".wv", ".tta",
    ".rf64", ".bwf", ".dts", ".voc", ".dsf",
)  # fmt: skip
MEDIA = frozenset(VIDEO + AUDIO)
"""Endings of the files that are taken from a folder; a file that is named is opened whatever it ends in."""
_PIECE = 65_536


@dataclass(frozen=True)
class ManifestRow:
    """One clip of a manifest: `path` and the files beside it are whole paths or addresses, text is '' where not given.

    number: line of the CSV (the header is line 1) or row of the parquet file (from 1).
    start, end: seconds in the file; None is its beginning, its end.
    transcript: the words themselves, or a file with them (see `words_file`); times in it and in `descriptions` are of the file.
    problem: a sentence that says why this clip cannot be run and what to do; '' when it can.
    id_given: whether the manifest gives the clip_id; else it stands for the row until the clip is read, whose run folder is
        named by its content (`data.media.clip.clip_id_of`).
    """

    number: int
    clip_id: str
    path: str
    start: float | None = None
    end: float | None = None
    split: str = ""
    label: str = ""
    speaker: str = ""
    language: str = ""
    transcript: str = ""
    descriptions: str = ""
    frame_labels: str = ""
    corpus: str = ""
    problem: str = ""
    id_given: bool = True

    @property
    def words_file(self) -> str:
        """The transcript file; '' when `transcript` holds the words themselves or is not given."""
        return self.transcript if self.transcript.lower().endswith(TRANSCRIPTS) else ""


@dataclass(frozen=True)
class Manifest:
    """The clips of a data set.

    table: a row a clip with `number`, all of `COLUMNS`, `problem`, and whatever else the manifest had; text is '' where not
        given, start and end NaN; paths are relative to `root` (or addresses).
    root: the folder or address that the paths are relative to.
    source: what the manifest was read from, for messages.
    notes: sentences about the whole set, such as which files of a corpus are not there.
    """

    table: pd.DataFrame
    root: str
    source: str
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        """The number of rows, those with problems included."""
        return len(self.table)

    @property
    def problems(self) -> pd.DataFrame:
        """`number`, `clip_id`, `path` and `problem` of the rows that cannot be run."""
        return self.table.loc[self.table["problem"] != "", ["number", "clip_id", "path", "problem"]]

    def sample(self, count: int) -> "Manifest":
        """So many clips without problems, as evenly by label as there are enough; always the same, and more hold the fewer."""
        good = self.table[self.table["problem"] == ""]
        order = np.random.default_rng(7).permutation(len(good))
        turn = good.iloc[order].groupby("label").cumcount()  # each label's first clip, then each one's second ...
        chosen = turn.sort_values(kind="stable").index[:count]
        kept = self.table.loc[self.table.index.isin(chosen)].reset_index(drop=True)
        said = f"A sample of {len(kept)} of {len(self.table)} clips, evenly by label."
        return Manifest(kept, self.root, self.source, (*self.notes, said))

    def described(self, file: str) -> "Manifest":
        """The clips with this file of descriptions of the scene where their row names none."""
        told = self.table["descriptions"]
        return replace(self, table=self.table.assign(descriptions=told.where(told != "", file)))

    def rows(self) -> Iterator[ManifestRow]:
        """All rows in order, made as they are asked for."""
        for begin in range(0, len(self.table), _PIECE):
            yield from _rows(self.table.iloc[begin : begin + _PIECE], self.root)

    def files(self) -> Iterator[tuple[str, list[ManifestRow]]]:
        """Each media file once, in the order of its first row, with its rows without problems (its segments) by start."""
        good = self.table[self.table["problem"] == ""]
        file = pd.factorize(good["path"])[0]
        ordered = good.iloc[np.lexsort((good["start"].fillna(0.0).to_numpy(), file))]
        group: list[ManifestRow] = []
        for begin in range(0, len(ordered), _PIECE):
            for row in _rows(ordered.iloc[begin : begin + _PIECE], self.root):
                if group and group[0].path != row.path:
                    yield group[0].path, group
                    group = []
                group.append(row)
        if group:
            yield group[0].path, group


def _rows(piece: pd.DataFrame, root: str) -> Iterator[ManifestRow]:
    whole = {name: _whole(piece, name, root) if name in PATHS else piece[name] for name in ROW}
    for name in ("start", "end"):
        whole[name] = whole[name].astype(object).where(whole[name].notna(), None)
    for values in zip(*(column.tolist() for column in whole.values()), strict=True):
        yield ManifestRow(*values)


def _whole(piece: pd.DataFrame, name: str, root: str) -> pd.Series:
    """The whole paths or addresses of a column."""
    inside = holds_path(piece, name) & ~piece[name].str.contains(WHOLE, regex=True)
    return piece[name].where(~inside, Location(root).prefix + piece[name]) if inside.any() else piece[name]


def read_manifest(
    path: str | Path,
    root: str | Path | None = None,
    *,
    compounds: Sequence[Compound] = ABAW_COMPOUNDS,
    check_files: bool = True,
    remote: Collection[str] = (),
) -> Manifest:
    """Read a manifest, a CSV or a parquet file, local or an fsspec address (see `data.given_tables`).

    Paths are relative to `root`, by default the manifest's folder, and must lie inside it; absolute paths may too. Rows that
    cannot be used keep a `problem` (docs/datasets.md lists them all). With `check_files` local files must exist; addresses are
    found missing when they are fetched. Rows may be addresses of the file systems `remote` (s3, https) and of those of the
    manifest and its root, which the caller has named. InputError when the whole cannot be used: no such file, no table, no column
    `path`, no rows.
    """
    source = os.fspath(path)
    given = read_given_table(source, "manifest")
    if not len(given):
        raise EmptyTableError(f"{source} has no rows; a manifest has a line for each clip.")
    table = given.rows.assign(number=given.lines)
    folder = Location.at(source).parent.text if root is None else root
    return manifest_of_table(
        table, folder, source, word=given.word.title(), errors=given.errors, notes=given.notes, compounds=compounds,
        check_files=check_files, remote=[*remote, file_system(source)],
    )  # fmt: skip


def manifest_of_table(
    table: pd.DataFrame,
    root: str | Path,
    source: str,
    *,
    word: str = "Row",
    errors: Mapping[int, str] | None = None,
    notes: Sequence[str] = (),
    compounds: Sequence[Compound] = ABAW_COMPOUNDS,
    check_files: bool = True,
    remote: Collection[str] = (),
) -> Manifest:
    """Check a table with at least the column `path`, as `read_manifest` does; `word` is what a row is called in messages."""
    root, table = Location.at(root).text, _with_columns(_named(table, source))
    problems = np.full(len(table), "", object)
    checks = (
        _of_form(table, errors or {}), check_paths(table, root, check_files, [*remote, file_system(root)]),
        check_times(table), check_labels(table, compounds), check_languages(table), check_ids(table),
    )  # fmt: skip
    for check in checks:
        _note(problems, check)
    for how in REPEATS:
        _note(problems, check_repeats(table, problems == "", how, word))
    bad = np.flatnonzero(problems != "")
    numbers = table["number"].iloc[bad]
    problems[bad] = [f"{word} {number}: {problem}." for number, problem in zip(numbers, problems[bad], strict=True)]
    return Manifest(table.assign(problem=pd.Series(problems, dtype="str")), root, source, tuple(notes))


def _note(problems: NDArray[np.object_], errors: RowErrors) -> None:
    """Keep for each row the first thing that is wrong with it."""
    for rows, said in errors:
        for row, sentence in zip(rows, said, strict=True):
            problems[row] = problems[row] or sentence


def _of_form(table: pd.DataFrame, errors: Mapping[int, str]) -> RowErrors:
    rows = np.flatnonzero(table["number"].isin(list(errors)))
    yield rows, [errors[number] for number in table["number"].iloc[rows]]


def _named(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table with its known columns spelled as in `COLUMNS`, and times of which the header says the unit with it."""
    plain = [str(name).strip() for name in table.columns]
    ours = [OTHER_NAMES.get(name, name) for name in plain_names(plain)]
    names = [our if our in COLUMNS else name for our, name in zip(ours, plain, strict=True)]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(f"{source} has more than one column {', '.join(twice)[:200]}; keep one.")
    if "path" not in names:
        has = ", ".join(name for name in plain if name != "number")[:200]
        raise InputError(f"{source} has no column 'path' (its columns: {has}); the first line names the columns.")
    places = {name: names.index(name) for name in ("start", "end") if name in names}
    written = {name: table.iloc[:, place].rename(plain[place]) for name, place in places.items()}
    times = {name: with_unit(column) for name, column in written.items()}
    if "end" in written and plain_name(str(written["end"].name)) == DURATION:
        times["end"] = ends_of(written["start"], written["end"])
    return table.set_axis(names, axis=1).assign(**times)


def _with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A copy with all columns, text without nulls, rows numbered from 0."""
    numbers = table["number"] if "number" in table else pd.Series(np.arange(1, len(table) + 1), index=table.index)
    made = {"number": numbers}
    for name in COLUMNS:
        made[name] = table[name] if name in table else pd.Series("", index=table.index, dtype="str")
        if name not in ("start", "end"):
            made[name] = as_text(made[name])
    others = {name: table[name] for name in table.columns if name not in (*made, *OURS)}
    return pd.DataFrame(made | others, index=table.index).reset_index(drop=True)


def manifest_of_folder(folder: str | Path) -> Manifest:
    """The media files in a folder and below it (also of an fsspec address), sorted by path; hidden ones and run folders left out.

    InputError when there are none.
    """
    root = Location.at(folder)
    paths = _remote_files(root) if root.is_remote else _local_files(root.text)
    media, left_out = media_among(paths)
    if not media:
        said = f"{folder} holds no media files; name a folder with video or audio in it, or a manifest. {left_out}"
        raise InputError(said.rstrip())
    # What is no UTF-8 cannot stand in a table; such names are shown as \xe9 and the like.
    shown = [os.fsencode(path).decode(errors="backslashreplace") for path in media]
    errors = {
        number: f"the name {name} is no UTF-8; rename the file"
        for number, (path, name) in enumerate(zip(media, shown, strict=True), 1) if path != name
    }  # fmt: skip
    table = pd.DataFrame({"path": shown}, dtype="str")
    notes = (f"{folder}: {left_out}",) if left_out else ()
    return manifest_of_table(table, root.text, root.text, errors=errors, notes=notes, check_files=False)


def media_among(paths: Iterable[str]) -> tuple[list[str], str]:
    """The media files among the files of a folder, sorted, and a sentence that names the others; '' where there are none.

    Transcripts and tables lie beside media for a reason and are not named.
    """
    media: list[str] = []
    others: list[str] = []
    for path in sorted(paths):
        ending = os.path.splitext(path)[1].lower()
        if ending in MEDIA:
            media.append(path)
        elif ending not in (*TRANSCRIPTS, ".parquet", ".pq"):
            others.append(path)
    if not others:
        return media, ""
    named = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
    return media, f"{len(others)} file{'s' * (len(others) != 1)} left out, which by their endings are no media: {named}."


def _local_files(root: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read as a folder ({error.strerror}); check the name and its permissions.")

    for folder, folders, files in os.walk(root, onerror=fail):
        if "result.json" in files or ".stages" in folders:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), root)


def _remote_files(root: Location) -> Iterator[str]:
    try:
        found = root.files()
    except (OSError, StorageError, InputError) as error:
        reason = error.__cause__ or error
        raise InputError(f"{root} cannot be listed ({reason}); check the address and what it needs to be opened.") from error
    for path in found:
        if not any(part.startswith(".") for part in path.split("/")):
            yield path


def write_manifest(manifest: Manifest, path: Path) -> str:
    """Write a manifest as CSV or, by its ending, parquet, whole or not at all; problems are not written, readers find them.

    Returns the root that `read_manifest` must be given, '' when the paths are inside the manifest's own folder (to which they
    are then relative).
    """
    given = manifest.table.assign(clip_id=manifest.table["clip_id"].where(manifest.table["id_given"], ""))
    kept = [name for name in given.columns if name not in OURS]
    table = given[[name for name in kept if name not in COLUMNS or _is_used(given[name])]].copy()
    folder, root = Location.at(path).parent, Location(manifest.root)
    inside = not root.is_remote and root.prefix.startswith(folder.prefix)
    if inside and root != folder:
        _put_before(table, os.path.relpath(root.text, folder.text))
    if path.suffix.lower() in (".parquet", ".pq"):
        with atomic_path(path) as aside:
            table.to_parquet(aside, index=False)
    else:
        write_csv(path, table)
    return "" if inside else manifest.root


def _is_used(column: pd.Series) -> bool:
    return bool(column.notna().any() if column.dtype == float else (column != "").any())


def _put_before(table: pd.DataFrame, folder: str) -> None:
    for name in PATHS:
        if name in table:
            own = holds_path(table, name) & ~table[name].str.contains(WHOLE, regex=True)
            table.loc[own, name] = f"{folder}/" + table.loc[own, name]
