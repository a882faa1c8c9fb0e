"""Long tables of anybody's class probabilities: a row for each clip and model, a column for each class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.csv_files import write_csv
from data.errors import InputError
from data.given_tables import GivenTable, plain_name, read_given_table
from fusion.arrays import Flags, Floats, Integers, as_distribution

Words = NDArray[np.object_]
NAMED = ("clip", "model", "label", "split", "fold", "group", "quality")
"""Columns with a meaning; every other one is a class. `group` (a speaker, a video) keeps clips together in validation;
`quality` is any number that says how well a model could see or hear this clip (the size of a face, the share of speech)."""
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class LongTable:
    """N answers to fuse, each of M models over C classes.

    `probabilities` [N, M, C] are distributions where `present` [N, M], NaN elsewhere; `labels` [N] are indices in `classes`
    or -1; `clips`, `splits`, `folds` and `groups` [N] are words, '' where the table has none (`groups`: then the clip).
    `quality` [N, M] is NaN where unknown; None where the table says nothing of it.
    """

    models: tuple[str, ...]
    classes: tuple[str, ...]
    clips: Words
    probabilities: Floats
    present: Flags
    labels: Integers
    splits: Words
    folds: Words
    groups: Words
    quality: Floats | None = None

    def rows(self, chosen: Flags | Integers) -> "LongTable":
        """The chosen rows."""
        names = ("clips", "probabilities", "present", "labels", "splits", "folds", "groups")
        quality = None if self.quality is None else self.quality[chosen]
        return replace(self, quality=quality, **{name: getattr(self, name)[chosen] for name in names})

    def aligned(self, models: Sequence[str], classes: Sequence[str]) -> "LongTable":
        """The same with the given models (absent ones are marked so) and classes in the given order; InputError otherwise."""
        if unknown := [name for name in self.models if name not in models]:
            raise InputError(f"The weights do not know the model {unknown[0]}, only {', '.join(models)}; fit with it.")
        if set(self.classes) != set(classes):
            raise InputError(f"The weights are for the classes {', '.join(classes)}, the table has {', '.join(self.classes)}.")
        order = [self.classes.index(name) for name in classes]
        probabilities = np.full((len(self.clips), len(models), len(classes)), np.nan)
        quality = None if self.quality is None else np.full((len(self.clips), len(models)), np.nan)
        for index, name in enumerate(self.models):
            probabilities[:, models.index(name)] = self.probabilities[:, index][:, order]
            if quality is not None and self.quality is not None:
                quality[:, models.index(name)] = self.quality[:, index]
        indices = np.array([*np.argsort(order), UNKNOWN])
        present = ~np.isnan(probabilities[:, :, 0])
        return replace(self, models=tuple(models), classes=tuple(classes), probabilities=probabilities, present=present,
                       labels=indices[self.labels], quality=quality)


def read_long_table(path: Path, problems: list[str] | None = None) -> LongTable:
    """Read a long table; InputError names what is missing, doubled, not a number, or negative.

    Rows of probabilities are scaled to sum to 1; empty ones (or all zero) are absent. With `problems` a row of which something is
    wrong ends nothing: the sentence is put there, and its model is absent, or what cannot be told of the row is left out.
    """
    table = read_given_table(path, "table of probabilities")
    for line, problem in table.errors.items():
        _tell(problems, f"{path}, {table.word} {line}: {problem}.")
    shaped = replace(table.kept(~np.isin(table.lines, list(table.errors))), errors={})
    table = shaped.checked("give at least one clip")
    classes = _classes(table)
    values = _numbers(table, classes, problems)
    rows = _named(table)
    nameless = (rows["clip"] == "") | (rows["model"] == "")
    for row in map(int, np.flatnonzero(nameless)):
        name = "model" if rows["clip"].iloc[row] else "clip"
        _tell(problems, f"{table.where(row)}: the column '{name}' is empty; name clip and model in every row.")
    key = ["clip", "split", "fold"]
    twice = rows.duplicated([*key, "model"]) & ~nameless
    for row in map(int, np.flatnonzero(twice)):
        clip, model = rows.loc[row, ["clip", "model"]]
        _tell(problems, f"{table.where(row)}: clip {clip} of model {model} is there twice; keep one row of each.")
    kept = ~(nameless | twice).to_numpy(bool)
    table, values, rows = table.kept(kept).checked("give at least one clip"), values[kept], rows[kept].reset_index(drop=True)
    models = sorted(rows["model"].unique())
    answers = rows[key].drop_duplicates().reset_index(drop=True)
    answer_of = answers.reset_index().merge(rows[key].reset_index(names="row"), on=key).set_index("row")["index"].sort_index()
    probabilities = np.full((len(answers), len(models), len(classes)), np.nan)
    where = answer_of.to_numpy(), [models.index(name) for name in rows["model"]]
    probabilities[where] = as_distribution(values)
    quality, wrong = table.numbers_and_words("quality") if "quality" in table else (None, {})
    for problem in wrong.values():
        _tell(problems, problem)
    if quality is not None and np.isnan(quality).all():
        quality = None
    if quality is not None:
        given, quality = quality, np.full((len(answers), len(models)), np.nan)
        quality[where] = given
    first_rows = np.unique(answer_of.to_numpy(), return_index=True)[1]
    labels = _labels(table, rows, classes, answer_of.to_numpy(), problems)
    columns = {name: rows[name].to_numpy(object)[first_rows] for name in NAMED}
    groups = np.where(columns["group"] == "", columns["clip"], columns["group"])
    return LongTable(tuple(models), tuple(classes), columns["clip"], probabilities, ~np.isnan(probabilities[:, :, 0]),
                     labels, columns["split"], columns["fold"], groups, quality)


def write_fused_table(path: Path, table: LongTable, fused: Floats) -> None:
    """Write one row a clip: clip, label, split, fold (where known), predicted, and the fused probabilities [N, C]."""
    names = np.array([*table.classes, ""], object)
    columns = {"clip": table.clips, "label": names[table.labels], "split": table.splits, "fold": table.folds}
    rows = pd.DataFrame({name: column for name, column in columns.items() if name == "clip" or (column != "").any()})
    answered = ~np.isnan(fused[:, 0])
    rows["predicted"] = names[np.where(answered, np.nan_to_num(fused).argmax(1), UNKNOWN)]
    for index, name in enumerate(table.classes):
        rows[name] = fused[:, index].round(6)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, rows)


def _classes(table: GivenTable) -> list[str]:
    """The headers of the columns of classes; InputError where there are no two, or two of one name."""
    classes = [str(name) for name in table.rows.columns if name and plain_name(str(name)) not in NAMED]
    for name in classes:
        table.header(name)
    if len(classes) < 2:
        raise InputError(f"{table.source} has no two columns of classes besides {', '.join(NAMED)}; give one column a class.")
    return classes


def _named(table: GivenTable) -> pd.DataFrame:
    """The columns with a meaning as text, '' where the table has none."""
    rows = pd.DataFrame({name: table.text(name) if name in table else "" for name in NAMED}, index=table.rows.index)
    for name in ("clip", "model"):
        table.required(name)
    return rows


def _tell(problems: list[str] | None, problem: str) -> None:
    """Put a sentence to the others; without a list it is an InputError."""
    if problems is None:
        raise InputError(problem)
    problems.append(problem)


def _numbers(table: GivenTable, classes: list[str], problems: list[str] | None) -> Floats:
    """The probabilities [T, C] as they are given; told, and NaN, are text, numbers below 0, and rows that have only some."""
    columns = [table.numbers_and_words(name) for name in classes]
    values, words = np.stack([numbers for numbers, _ in columns], axis=1), [wrong for _, wrong in columns]
    partly = np.isnan(values).any(1) & ~np.isnan(values).all(1)
    bad = np.asarray((values < 0).any(1) | partly)
    bad[[row for wrong in words for row in wrong]] = True
    for row in map(int, np.flatnonzero(bad)):
        column = classes[int(np.argmax(~(values[row] >= 0)))]
        needed = (
            f"{table.where(row)}: every class needs a number of at least 0, or all are empty (see the column '{column}'); "
            f"columns other than {', '.join(NAMED)} are classes."
        )
        _tell(problems, next((wrong[row] for wrong in words if row in wrong), needed))
    values[bad] = np.nan
    return values


def _labels(
    table: GivenTable, rows: pd.DataFrame, classes: list[str], answer_of: Integers, problems: list[str] | None
) -> Integers:
    known = {plain_name(name): index for index, name in enumerate(classes)} | {"": UNKNOWN}
    codes = np.array([known.get(plain_name(label), UNKNOWN - 1) for label in rows["label"]], np.int64)
    for row in map(int, np.flatnonzero(codes < UNKNOWN)):
        label = rows["label"].iloc[row]
        _tell(problems, f"{table.where(row)}: the label '{label}' is none of the classes {', '.join(classes)}.")
    codes = np.maximum(codes, UNKNOWN)
    labels = np.full(int(answer_of.max()) + 1, UNKNOWN, np.int64)
    np.maximum.at(labels, answer_of, codes)
    for row in map(int, np.flatnonzero((codes != UNKNOWN) & (codes != labels[answer_of]))):
        _tell(problems, f"{table.where(row)}: clip {rows['clip'].iloc[row]} has two labels; keep one.")
        labels[answer_of[row]] = UNKNOWN
    return labels
