"""Long tables of anybody's class probabilities: a row for each clip and model, a column for each class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.files import atomic_path
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


def read_long_table(path: Path) -> LongTable:
    """Read a long CSV; InputError names what is missing, doubled, not a number, or negative.

    Rows of probabilities are scaled to sum to 1; empty ones (or all zero) are absent.
    """
    rows = _read(path)
    classes = [str(name) for name in rows.columns if name not in NAMED]
    if len(classes) < 2:
        raise InputError(f"{path} has no two columns of classes besides {', '.join(NAMED)}; give one column a class.")
    values = _numbers(path, rows, classes)
    key = ["clip", "split", "fold"]
    if (doubled := rows.duplicated([*key, "model"])).any():
        first = rows[doubled].iloc[0]
        raise InputError(f"{path} has clip {first['clip']} of model {first['model']} twice; keep one row of each.")
    models = sorted(rows["model"].unique())
    answers = rows[key].drop_duplicates().reset_index(drop=True)
    answer_of = answers.reset_index().merge(rows[key].reset_index(names="row"), on=key).set_index("row")["index"].sort_index()
    probabilities = np.full((len(answers), len(models), len(classes)), np.nan)
    where = answer_of.to_numpy(), [models.index(name) for name in rows["model"]]
    probabilities[where] = as_distribution(values)
    quality = _qualities(path, rows)
    if quality is not None:
        given, quality = quality, np.full((len(answers), len(models)), np.nan)
        quality[where] = given
    first_rows = np.unique(answer_of.to_numpy(), return_index=True)[1]
    labels = _labels(path, rows, classes, answer_of.to_numpy())
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
    with atomic_path(path) as aside:
        rows.to_csv(aside, index=False)


def _read(path: Path) -> pd.DataFrame:
    """The table as text, with every named column ('' where it has none)."""
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"There is no table {path}; give an existing CSV.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}); give one with clip, model and classes.") from error
    if missing := [name for name in ("clip", "model") if name not in rows]:
        raise InputError(f"{path} has no column '{missing[0]}', only {', '.join(map(str, rows.columns))}; add it.")
    if rows.empty:
        raise InputError(f"{path} has no rows; give at least one clip.")
    if (rows["model"] == "").any() or (rows["clip"] == "").any():
        raise InputError(f"{path} has a row without clip or model; name both in every row.")
    return rows.assign(**{name: "" for name in NAMED if name not in rows})


def _numbers(path: Path, rows: pd.DataFrame, classes: list[str]) -> Floats:
    cells = rows[classes].apply(lambda column: column.str.strip())
    values: Floats = cells.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    bad = (np.isnan(values) & (cells.to_numpy(object) != "")) | (values < 0) | np.isinf(values)
    partly = np.isnan(values).any(1) & ~np.isnan(values).all(1)
    if bad.any() or partly.any():
        line = int(np.flatnonzero(bad.any(1) | partly)[0])
        raise InputError(
            f"{path}, line {line + 2} (clip {rows['clip'][line]}): every class needs a number of at least 0, or all are empty; "
            f"columns other than {', '.join(NAMED)} are classes."
        )
    return values


def _qualities(path: Path, rows: pd.DataFrame) -> Floats | None:
    """The column `quality` of each row, NaN where it is empty; None where it is everywhere."""
    cells = rows["quality"].str.strip()
    values: Floats = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    if (bad := (cells != "").to_numpy() & ~np.isfinite(values)).any():
        line = int(np.flatnonzero(bad)[0])
        raise InputError(f"{path}, line {line + 2} (clip {rows['clip'][line]}): '{cells[line]}' in 'quality' is not a number.")
    return values if np.isfinite(values).any() else None


def _labels(path: Path, rows: pd.DataFrame, classes: list[str], answer_of: Integers) -> Integers:
    given = rows["label"].str.strip()
    if unknown := sorted(set(given) - {"", *classes}):
        raise InputError(f"{path} has the label '{unknown[0]}', which is none of the classes {', '.join(classes)}.")
    codes = np.array([classes.index(name) if name else UNKNOWN for name in given], np.int64)
    labels = np.full(int(answer_of.max()) + 1, UNKNOWN, np.int64)
    np.maximum.at(labels, answer_of, codes)
    if (wrong := (codes != UNKNOWN) & (codes != labels[answer_of])).any():
        raise InputError(f"{path} gives clip {rows['clip'][int(np.flatnonzero(wrong)[0])]} two labels; keep one.")
    return labels
