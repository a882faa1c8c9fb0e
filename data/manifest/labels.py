"""Labels of data sets in one language: names of compounds and basic emotions, and the per-frame label files of the field."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, EMOTION_WORDS, Compound
from data.errors import InputError
from data.given_tables import GivenTable, as_text, plain_name, read_given_table

UNLABELLED = frozenset({"", "other", "none", "unknown", "unlabelled", "unlabeled", "n/a", "na", "nan", "-1"})
"""What corpora write where a clip or a frame shows none of the labels that count."""


def label_name(text: str, compounds: Sequence[Compound] = ABAW_COMPOUNDS) -> str:
    """Our name for a label in any spelling: 'Fearfully Surprised', 'surprise+fear' -> fearfully_surprised; 'Joy' -> happiness.

    Empty for `UNLABELLED`. InputError for anything else, with the names that are known.
    """
    return _label_name(text, tuple(compounds))


@lru_cache(maxsize=4096)
def _label_name(text: str, compounds: tuple[Compound, ...]) -> str:
    if text.strip().lower() in UNLABELLED:
        return ""
    words = re.findall(r"[^\W\d_]+", text.lower())
    for compound in compounds:
        if words == compound.name.lower().split("_"):
            return compound.name
    emotions = {EMOTION_WORDS.get(word) for word in words}
    if len(words) == 1 and None not in emotions:
        return str(*emotions)
    for compound in compounds:
        if len(words) == 2 and emotions == {compound.first, compound.second}:
            return compound.name
    raise InputError(
        f"'{text}' is not a known label; use a compound ({', '.join(one.name for one in compounds)}), two basic emotions such as "
        f"'fear+surprise', or one of: {', '.join(BASIC_EMOTIONS)}."
    )


def read_frame_labels(path: Path, video: str = "", compounds: Sequence[Compound] = ABAW_COMPOUNDS) -> pd.DataFrame:
    """One label a frame: `frame` (0-based, as in frames.parquet) and `label` (our names, '' where unlabelled), by frame.

    Reads the files of the ABAW challenges, whose header names the classes: one class number a line, the first line being frame 0,
    or rows `01/00001.jpg,3`, of which only those of `video` ('01') are kept and picture 00001 is frame 0; -1 means unlabelled.
    Reads also tables with the columns `frame` (0-based) and `label` (names). InputError, naming file and line, for the rest.
    """
    table, known = read_given_table(path, "file of labels"), tuple(compounds)
    if not len(table):
        raise InputError(f"{path} holds no labels; the first line names the classes, then comes one line a frame.")
    if "frame" in table and "label" in table:
        return _named(table.checked(), known)
    header = [str(name) for name in table.rows.columns]
    listed = plain_name(header[0]) == "image_location"
    classes = [_class_name(name, path, known) for name in (header[1:] if listed else header)]
    if listed:
        return _listed(table, classes, video)
    numbers = as_text(table.rows.iloc[:, 0]).tolist()
    return pd.DataFrame({"frame": range(len(numbers)), "label": _of_numbers(numbers, range(len(numbers)), classes, table)})


def _class_name(name: str, path: Path, compounds: tuple[Compound, ...]) -> str:
    try:
        return label_name(name, compounds)
    except InputError as error:
        raise InputError(f"{path}, line 1, must name the classes or the columns frame and label: {error}") from None


def _of_numbers(numbers: Sequence[str], rows: Sequence[int], classes: Sequence[str], table: GivenTable) -> list[str]:
    names = {str(number): name for number, name in enumerate(classes)} | {"-1": ""}
    for row, number in zip(rows, numbers, strict=True):
        if number not in names:
            raise InputError(f"{table.where(row)}: '{number}' is no class number; use 0 to {len(classes) - 1}, or -1.")
    return [names[number] for number in numbers]


def _listed(table: GivenTable, classes: Sequence[str], video: str) -> pd.DataFrame:
    frames, rows = [], []
    for row, image in enumerate(as_text(table.rows.iloc[:, 0])):
        folder, _, name = image.rpartition("/")
        if folder.rpartition("/")[2] != video:
            continue
        if not (stem := name.partition(".")[0]).isdecimal() or int(stem) < 1:
            raise InputError(f"{table.where(row)}: '{image}' is not a picture such as {video}/00001.jpg.")
        frames.append(int(stem) - 1)
        rows.append(row)
    numbers = as_text(table.rows.iloc[:, 1]).iloc[rows].tolist() if table.rows.shape[1] > 1 else [""] * len(rows)
    labels = _of_numbers(numbers, rows, classes, table)
    return pd.DataFrame({"frame": frames, "label": labels}).astype({"frame": int}).sort_values("frame", ignore_index=True)


def _named(table: GivenTable, compounds: tuple[Compound, ...]) -> pd.DataFrame:
    frames = table.numbers("frame", missing="count frames from 0")
    labels = []
    for row, (frame, label) in enumerate(zip(frames.tolist(), table.text("label"), strict=True)):
        if frame < 0 or frame % 1:
            raise InputError(f"{table.where(row)}: {frame:g} in the column 'frame' is no frame number; count frames from 0.")
        try:
            labels.append(label_name(label, compounds))
        except InputError as error:
            raise InputError(f"{table.where(row)}: {error}") from None
    return pd.DataFrame({"frame": frames.astype(int), "label": labels}).sort_values("frame", ignore_index=True)
