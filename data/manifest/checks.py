"""What is wrong with the rows of a manifest, each in half a sentence, and the clip ids of those that have none."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.dataset_files import TAKEN
from data.emotions import Compound
from data.errors import InputError
from data.given_tables import as_text, parse_times
from data.languages import code_of
from data.location import ADDRESS, is_address
from data.manifest.labels import label_name
from data.manifest.paths import as_on_disk, below, not_files
from data.media.clip import clip_id_of
from data.media.subtitles import SUFFIXES as TRANSCRIPTS

RowErrors = Iterator[tuple[NDArray[np.intp], Sequence[str]]]
"""Indices of rows in the table, and for each what is wrong with it and what to do."""
PATHS = ("path", "descriptions", "frame_labels", "transcript")
LONGEST_ID = 200
"""Bytes of a clip id, below the 255 of a file name."""

_PIECE = 65_536
_UNSAFE = r'[/\\<>:"|?*\x00-\x1f]|^[.\-]|[. ]$'
_PLAIN_STEM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,78}[A-Za-z0-9]")
_NO_FILE = {
    "missing": "is not there; correct it, copy the file, or remove the row",
    "unnameable": "cannot be written in this locale; use one with UTF-8 (LC_ALL=C.UTF-8)",
    "a folder": "is a folder; give a file (pictures in a folder have no times and no sound: give the clip that they come from)",
    "no ordinary file": "is not an ordinary file; copy it to one",
}


def holds_path(table: pd.DataFrame, name: str) -> pd.Series:
    """Which rows have a path in the column `name`; a transcript may also be the words themselves."""
    given = table[name] != ""
    return given & table[name].str.lower().str.endswith(TRANSCRIPTS) if name == "transcript" else given


def check_paths(table: pd.DataFrame, root: str, check_files: bool, remote: Collection[str]) -> RowErrors:
    """Bring all paths into normal form; those that are empty, leave the root or are no files are errors, and addresses that are
    not of `remote`."""
    empty = np.flatnonzero(table["path"].str.strip() == "")
    yield empty, ["the path is empty; give a media file or remove the row"] * len(empty)
    for name in PATHS:
        rows = np.flatnonzero(holds_path(table, name))
        if len(rows):
            what = f"the {name.replace('_', ' ')}"
            paths, problems = below(table[name].iloc[rows], root, remote)
            table.loc[paths.index, name] = paths
            wrong = np.flatnonzero(problems != "")
            yield rows[wrong], [f"{what} {paths.iloc[i]} {problems.iloc[i]}" for i in wrong]
            if check_files and not is_address(root):
                local = np.flatnonzero((problems == "") & ~paths.str.contains(ADDRESS, regex=True))
                kinds = not_files(paths.iloc[local].unique().tolist(), root)
                if accents := as_on_disk((path for path, kind in kinds.items() if kind == "missing"), root):
                    table.loc[paths.index, name] = paths = paths.replace(accents)
                    kinds = {path: kind for path, kind in kinds.items() if path not in accents}
                no_file = local[paths.iloc[local].isin(list(kinds)).to_numpy(bool)] if kinds else local[:0]
                yield rows[no_file], [f"{what} {paths.iloc[i]} {_NO_FILE[kinds[paths.iloc[i]]]}" for i in no_file]


def check_times(table: pd.DataFrame) -> RowErrors:
    """Make `start` and `end` seconds; those that are no times, negative, or the wrong way round are errors."""
    for name in ("start", "end"):
        written = as_text(table[name])
        numbers, wrong = parse_times(table[name])
        unreadable = np.flatnonzero(wrong & ~written.str.startswith("-").to_numpy(bool))
        sentence = "{} '{}' is not a time; write seconds such as 12.5, or 0:12.5, or leave it empty"
        yield unreadable, [sentence.format(name, written.iloc[i]) for i in unreadable]
        early = np.flatnonzero((numbers < 0) | (wrong & written.str.startswith("-").to_numpy(bool)))
        yield early, [f"{name} {written.iloc[i]} is before the file begins; count seconds from 0" for i in early]
        table[name] = numbers
    start, end = table["start"].fillna(0.0).to_numpy(), table["end"].to_numpy()
    turned = np.flatnonzero(start >= end)
    yield turned, [f"start {start[i]:g} is not before end {end[i]:g}; correct them" for i in turned]


def check_labels(table: pd.DataFrame, compounds: Sequence[Compound]) -> RowErrors:
    """Write labels in our names; unknown ones are errors."""
    yield from _in_our_names(table, "label", lambda text: label_name(text, compounds))


def check_languages(table: pd.DataFrame) -> RowErrors:
    """Write languages as codes; those that Whisper lacks are errors."""
    yield from _in_our_names(table, "language", lambda text: code_of(text) if text else "")


def _in_our_names(table: pd.DataFrame, column: str, ours: Callable[[str], str]) -> RowErrors:
    names: dict[str, str] = {}
    for text in table[column].unique():
        try:
            names[text] = ours(text)
        except InputError as error:
            names[text] = text
            rows = np.flatnonzero(table[column] == text)
            yield rows, [str(error).rstrip(".")] * len(rows)
    table[column] = table[column].map(names).astype("str")


def check_ids(table: pd.DataFrame) -> RowErrors:
    """Say in `id_given` which clip ids are given, and make what stands for the others; given ones that cannot name a folder are
    errors."""
    ids = table["clip_id"].str.strip()
    missing = ids == ""
    if missing.any():
        rows = table.loc[missing, ["path", "start", "end"]]
        pieces = [rows.iloc[begin : begin + _PIECE] for begin in range(0, len(rows), _PIECE)]
        ids[missing] = pd.concat([pd.Series(made_ids(piece), index=piece.index, dtype="str") for piece in pieces])
    table["clip_id"], table["id_given"] = ids, ~missing
    unsafe = np.flatnonzero(~missing & ids.str.contains(_UNSAFE, regex=True))
    yield unsafe, [f"clip_id '{ids.iloc[i]}' cannot name a folder; use letters, digits, '-' and '_'" for i in unsafe]
    taken = np.flatnonzero(~missing & ids.str.lower().isin(TAKEN))  # some file systems do not tell capitals from others
    yield taken, [f"clip_id '{ids.iloc[i]}' is what Dyad itself writes beside the clips; choose another one" for i in taken]
    maybe = np.flatnonzero(ids.str.len() > LONGEST_ID // 4)
    long = np.array([i for i in maybe if len(ids.iloc[i].encode()) > LONGEST_ID], np.intp)
    yield long, [f"the clip_id has more than {LONGEST_ID} bytes; shorten it"] * len(long)


def made_ids(table: pd.DataFrame) -> list[str]:
    """What stands for rows without a clip id: the stem as `clip_id_of` writes it, and 12 digits of a hash of path and segment.

    The same path (relative to the root) and segment give the same wherever the root lies and whatever other rows there are. The
    clip's own id, which its run folder bears, is of its content, and known once the file is read.
    """
    ids: list[str] = []
    for path, start, end in zip(table["path"].tolist(), table["start"].tolist(), table["end"].tolist(), strict=True):
        name = path.rpartition("/")[2]
        stem = name.rpartition(".")[0] or name
        kept = stem if _PLAIN_STEM.fullmatch(stem) else clip_id_of(stem, "").removesuffix("-")
        segment = "" if start != start and end != end else f"\n{start!r} {end!r}"
        ids.append(f"{kept}-{hashlib.sha1((path + segment).encode(errors='surrogateescape')).hexdigest()[:12]}")
    return ids


REPEATS: dict[str, tuple[str, ...]] = {
    "repeats": ("clip_id", "path", "start", "end"),
    "has the clip_id of": ("clip_id",),
    "has the path and segment of": ("path", "start", "end"),
}
"""How a row may repeat an earlier one, and the columns that say so."""


def check_repeats(table: pd.DataFrame, good: NDArray[np.bool_], how: str, word: str) -> RowErrors:
    """Of the `good` rows those that repeat an earlier one in the way `how` of `REPEATS`; `word` is what a row is called."""
    rows, key = table.loc[good, [*REPEATS[how], "number"]], list(REPEATS[how])
    again = rows.duplicated(key)
    if again.any():
        concerned = rows[rows.duplicated(key, keep=False)]
        first = concerned.groupby(key, dropna=False)["number"].transform("first")[again[again].index]
        yield first.index.to_numpy(np.intp), [f"it {how} {word.lower()} {number}; remove one of them" for number in first]
