"""Labels of data sets in one language: names of compounds and basic emotions, and the per-frame label files of the field."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, EMOTION_WORDS, Compound
from data.errors import InputError

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
    Reads also CSVs with the columns `frame` (0-based) and `label` (names). InputError, naming file and line, for the rest.
    """
    lines = _lines(path)
    header = [name.strip() for name in lines[0].split(",")]
    if {"frame", "label"} <= set(header):
        return _named(lines, header, path, tuple(compounds))
    listed = header[0].lower() == "image_location"
    classes = [_class_name(name, path, tuple(compounds)) for name in (header[1:] if listed else header)]
    if listed:
        return _listed(lines, classes, path, video)
    numbers = [line.split(",")[0] for line in lines[1:]]
    return pd.DataFrame({"frame": range(len(numbers)), "label": _of_numbers(numbers, range(2, len(lines) + 1), classes, path)})


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a file of labels ({error}); give a text or CSV file.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) < 2:
        raise InputError(f"{path} holds no labels; the first line names the classes, then comes one line a frame.")
    return lines


def _class_name(name: str, path: Path, compounds: tuple[Compound, ...]) -> str:
    try:
        return label_name(name, compounds)
    except InputError as error:
        raise InputError(f"{path}, line 1, must name the classes or the columns frame and label: {error}") from None


def _of_numbers(numbers: Sequence[str], lines: Sequence[int], classes: Sequence[str], path: Path) -> list[str]:
    names = {str(number): name for number, name in enumerate(classes)} | {"-1": ""}
    try:
        return [names[number.strip()] for number in numbers]
    except KeyError as error:
        line = next(line for line, number in zip(lines, numbers, strict=True) if number.strip() not in names)
        raise InputError(f"{path}, line {line}: {error} is no class number; use 0 to {len(classes) - 1}, or -1.") from None


def _listed(lines: Sequence[str], classes: Sequence[str], path: Path, video: str) -> pd.DataFrame:
    frames, numbers, line_numbers = [], [], []
    for line_number, line in enumerate(lines[1:], 2):
        image, _, number = line.partition(",")
        folder, _, name = image.strip().rpartition("/")
        if folder.rpartition("/")[2] != video:
            continue
        if not (stem := name.partition(".")[0]).isdecimal() or int(stem) < 1:
            raise InputError(f"{path}, line {line_number}: '{image}' is not a picture such as {video}/00001.jpg.")
        frames.append(int(stem) - 1)
        numbers.append(number.split(",")[0])
        line_numbers.append(line_number)
    labels = _of_numbers(numbers, line_numbers, classes, path)
    return pd.DataFrame({"frame": frames, "label": labels}).astype({"frame": int}).sort_values("frame", ignore_index=True)


def _named(lines: Sequence[str], header: Sequence[str], path: Path, compounds: tuple[Compound, ...]) -> pd.DataFrame:
    frame, label = header.index("frame"), header.index("label")
    rows = []
    for line_number, line in enumerate(lines[1:], 2):
        cells = [*line.split(","), *[""] * len(header)]
        try:
            rows.append((int(cells[frame]), label_name(cells[label], compounds)))
        except ValueError:
            raise InputError(f"{path}, line {line_number}: '{cells[frame]}' is no frame number; count frames from 0.") from None
        except InputError as error:
            raise InputError(f"{path}, line {line_number}: {error}") from None
    return pd.DataFrame(rows, columns=["frame", "label"]).sort_values("frame", ignore_index=True)
