"""One grid of time for all that is shown of a clip: the windows' edges cut it into slices, each covered by the same windows.

The timeline's stretches begin and end on these edges, so ribbon, lanes, curves, contributions, tables, tiers and pictures agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.documents import WindowEntry

MOST_COLUMNS = 240
"""A page shows neighbouring slices of a long clip as one column, their mean."""
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """The windows as columns that do not overlap: edges [C + 1] (s), and for each column the windows that cover it."""

    edges: Values
    rows: list[slice]

    def mean(self, values: npt.ArrayLike) -> Values:
        """Mean of `values` [N] or [N, K] over each column's windows, NaN where all of them are absent."""
        table = np.array(values, dtype=np.float64)
        return np.array([_mean(table[rows]) for rows in self.rows])


def columns(windows: Sequence[WindowEntry], most: int | None = MOST_COLUMNS) -> Columns:
    """Columns for windows in order of time, at most `most` (None: every slice); none for a clip without windows."""
    edges = sorted({row[side] for row in windows for side in ("start", "end")})
    if not edges:
        return Columns(np.zeros(1), [])
    if len(edges) == 1:  # a clip of no length, such as a single picture
        edges = [edges[0], edges[0]]
    many = math.ceil((len(edges) - 1) / most) if most else 1
    edges = [*edges[:-1:many], edges[-1]]
    starts, ends = (np.array([row[side] for row in windows]) for side in ("start", "end"))
    first = np.searchsorted(ends, edges[:-1], "right")
    last = np.searchsorted(starts, edges[1:], "left")
    rows = [slice(min(int(low), len(windows) - 1), max(int(high), int(low) + 1)) for low, high in zip(first, last, strict=True)]
    return Columns(np.array(edges), rows)


def as_float(value: float | None) -> float:
    """NaN for a number that is not known."""
    return math.nan if value is None else float(value)


def _mean(rows: Values) -> Values:
    known = np.isfinite(rows)
    count, total = known.sum(0), np.where(known, rows, 0.0).sum(0)
    mean: Values = np.divide(total, count, out=np.full(rows.shape[1:], np.nan), where=count > 0)
    return mean
