"""Ready probabilities that a user brings in place of a modality: any table with times and the seven emotions."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS
from data.errors import InputError
from data.scores import Scores, Source
from data.windows import Windows

Floats = NDArray[np.float64]


def read_ready_scores(path: Path, modality: str, windows: Windows) -> Scores:
    """Scores of `windows` [N, 2] from a CSV or parquet table.

    The table has a column for each of the seven emotions (or a known word for it: 'happy', 'joy') and either `start` and
    `end` (s) or `window` (0-based number); a row may be empty (absent). A window's probabilities are the mean of the rows
    that overlap it, weighted by the overlap, scaled to sum to 1; so is its quality, where the table has a column `quality`
    (any numbers, empty where unknown). InputError for anything else.
    """
    table = _read(path)
    values = _probabilities(table, path)
    spans = _spans(table, windows, path)
    overlap = np.minimum(windows[:, None, 1], spans[None, :, 1]) - np.maximum(windows[:, None, 0], spans[None, :, 0])
    # Seconds that a row shares with a window, none for rows without an answer: they may lie anywhere in time.
    weights = np.clip(overlap, 0.0, None) * ~np.isnan(values).any(1)
    present = weights.sum(1) > 0
    mixed = weights @ np.nan_to_num(values)
    probabilities = np.full((len(windows), len(BASIC_EMOTIONS)), np.nan, np.float32)
    probabilities[present] = mixed[present] / mixed[present].sum(1, keepdims=True)
    reason = "" if present.any() else f"{path} has no row for any window of this clip."
    source = Source("given", path.name, "", "probabilities as given")
    return Scores(modality, windows, probabilities, present, source, reason, quality=_quality(table, weights, path))


def _quality(table: pd.DataFrame, weights: Floats, path: Path) -> NDArray[np.float32] | None:
    """The mean [N] of the column `quality` over the rows with a number there, by `weights` [N, T]; None without the column."""
    if "quality" not in table:
        return None
    cells = table["quality"]
    values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    known = np.isfinite(values)
    if (bad := ~known & (cells.notna() & (cells.astype(str).str.strip() != "")).to_numpy()).any():
        raise InputError(f"{path}, line {int(bad.argmax()) + 2}: '{cells[int(bad.argmax())]}' in 'quality' is not a number.")
    held = weights * known
    total = held.sum(1)
    mean = held @ np.where(known, values, 0.0) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan).astype(np.float32)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); give a CSV or parquet file.") from error


def _probabilities(table: pd.DataFrame, path: Path) -> Floats:
    """The values [T, 7]; InputError for missing columns, words instead of numbers, negative or all-zero rows."""
    names = {EMOTION_WORDS.get(str(column).strip().lower()): column for column in table.columns}
    if missing := [emotion for emotion in BASIC_EMOTIONS if emotion not in names]:
        raise InputError(f"{path} has no column for {', '.join(missing)}; it needs one for each of: {', '.join(BASIC_EMOTIONS)}.")
    values = table[[names[emotion] for emotion in BASIC_EMOTIONS]].apply(pd.to_numeric, errors="coerce")
    array: Floats = values.to_numpy(np.float64)
    given = ~np.isnan(array).all(1)
    bad = given & (np.isnan(array).any(1) | (array < 0).any(1) | (np.nan_to_num(array).sum(1) <= 0))
    if bad.any():
        line = int(bad.argmax()) + 2
        raise InputError(f"{path}, line {line}: probabilities must be seven numbers of 0 or more that are not all 0.")
    return array


def _spans(table: pd.DataFrame, windows: Windows, path: Path) -> Floats:
    if {"start", "end"} <= set(table.columns):
        times: Floats = table[["start", "end"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        return times
    if "window" not in table.columns:
        raise InputError(f"{path} needs the columns start and end (s), or window (0-based number).")
    numbers = pd.to_numeric(table["window"], errors="coerce")
    known = numbers.between(0, len(windows) - 1)
    spans = np.full((len(table), 2), np.nan)
    spans[known] = windows[numbers[known].astype(int)]
    return np.asarray(np.nan_to_num(spans, nan=-1.0))
