"""Ready probabilities that a user brings in place of a modality: any table with times and the seven emotions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS
from data.errors import InputError
from data.given_tables import MISSING, GivenTable, read_given_table
from data.scores import Scores, Source
from data.times import FASTEST, place
from data.windows import Windows

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ReadyScores:
    """The rows of a table of probabilities: `values` [T, 7] (NaN where a row is empty), `quality` [T] (NaN where unknown)."""

    table: GivenTable
    values: Floats
    quality: Floats | None


def read_ready_table(path: Path, rate: float | None = FASTEST) -> ReadyScores:
    """A table of probabilities, checked as far as that needs no clip.

    It has a column for each of the seven emotions (or a known word for it: 'happy', 'joy') and either `start` and `end` or
    `window`; a row without probabilities is an absent answer. `rate`: frames a second of times that count frames. InputError,
    with line and column, for anything else.
    """
    table = read_given_table(path, "table of scores").checked("give a row for each window or stretch of time")
    values = _probabilities(table)
    if "start" in table and "end" in table:
        start, end = (table.times(name, rate=rate, missing="give a time, or remove the row") for name in ("start", "end"))
        for row in map(int, np.flatnonzero(end < start)):
            raise InputError(f"{table.where(row)}: the end {end[row]:g} is before the start {start[row]:g}; correct them.")
    elif "window" in table:
        table.numbers("window", missing="give the window's number, or remove the row")
    else:
        raise InputError(f"{path} needs the columns start and end (s), or window (its number, from 0).")
    return ReadyScores(table, values, table.numbers("quality") if "quality" in table else None)


def read_ready_scores(path: Path, modality: str, windows: Windows, rate: float = 0.0) -> Scores:
    """Scores of `windows` [N, 2] of a clip with `rate` frames a second (0: none) from a table as `read_ready_table` takes it.

    A window's probabilities are the mean of the rows that overlap it, weighted by the overlap, scaled to sum to 1; so is its
    quality, where the table has a column `quality` (any numbers, empty where unknown). InputError for rows that lie beyond the
    clip; how the table was understood, where that needed thought, stands in the scores' `notes`.
    """
    ready = read_ready_table(path, rate or None)
    spans, notes = _spans(ready.table, windows, rate)
    overlap = np.minimum(windows[:, None, 1], spans[None, :, 1]) - np.maximum(windows[:, None, 0], spans[None, :, 0])
    # Seconds that a row shares with a window, none for rows without an answer.
    weights = np.clip(overlap, 0.0, None) * ~np.isnan(ready.values).any(1)
    present = weights.sum(1) > 0
    mixed = weights @ np.nan_to_num(ready.values)
    probabilities = np.full((len(windows), len(BASIC_EMOTIONS)), np.nan, np.float32)
    probabilities[present] = mixed[present] / mixed[present].sum(1, keepdims=True)
    reason = "" if present.any() else f"{path} has no row for any window of this clip."
    source = Source("given", path.name, "", "probabilities as given")
    quality, notes = _quality(ready.quality, weights), (*ready.table.notes, *notes)
    return Scores(modality, windows, probabilities, present, source, reason, quality=quality, notes=notes)


def _quality(values: Floats | None, weights: Floats) -> NDArray[np.float32] | None:
    """The mean [N] of the rows' quality [T] where that is known, by `weights` [N, T]; None without any."""
    if values is None:
        return None
    known = np.isfinite(values)
    held = weights * known
    total = held.sum(1)
    mean = held @ np.where(known, values, 0.0) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan).astype(np.float32)


def _probabilities(table: GivenTable) -> Floats:
    """The values [T, 7]; InputError for missing columns, words (NaN too) instead of numbers, negative or all-zero rows."""
    words = {emotion: [word for word, means in EMOTION_WORDS.items() if means == emotion] for emotion in BASIC_EMOTIONS}
    headers = {emotion: table.header(emotion, *words[emotion]) for emotion in BASIC_EMOTIONS}
    if missing := [emotion for emotion, header in headers.items() if header is None]:
        needed = ", ".join(BASIC_EMOTIONS)
        raise InputError(f"{table.source} has no column for {', '.join(missing)}; it needs one for each of: {needed}.")
    texts = [header for header in map(str, headers.values()) if not pd.api.types.is_numeric_dtype(table.rows[header].dtype)]
    for header in texts:
        cells = table.text(header)
        for row in map(int, np.flatnonzero(cells.str.lower().isin(MISSING - {""}))):
            raise InputError(
                f"{table.where(row)}: '{cells.iloc[row]}' in the column '{header}' is not a number; leave all seven cells empty "
                "where there is no answer."
            )
    array = np.stack([table.numbers(str(headers[emotion])) for emotion in BASIC_EMOTIONS], axis=1)
    given = ~np.isnan(array).all(1)
    bad = given & (np.isnan(array).any(1) | (array < 0).any(1) | (np.nan_to_num(array).sum(1) <= 0))
    for row in map(int, np.flatnonzero(bad)):
        cell = next((str(headers[emotion]) for emotion, value in zip(BASIC_EMOTIONS, array[row], strict=True)
                     if not value >= 0), None)  # fmt: skip
        named = f" (see the column '{cell}')" if cell else ""
        raise InputError(f"{table.where(row)}: probabilities must be seven numbers of 0 or more that are not all 0{named}.")
    return array


def _spans(table: GivenTable, windows: Windows, rate: float) -> tuple[Floats, tuple[str, ...]]:
    """From when to when each row goes [T, 2] (s), and what there is to tell about its times."""
    if not ("start" in table and "end" in table):
        numbers, notes = table.window_numbers(len(windows))
        return windows[numbers], notes
    start, end = (table.times(name, rate=rate or None) for name in ("start", "end"))
    plain = table.are_whole("start", "end")
    placed = place(start, end, float(windows[-1, 1]), table.source, "rows", rate, plain)
    if placed.problem:
        raise InputError(placed.problem)
    return np.stack([placed.start, placed.end], axis=1), placed.notes
