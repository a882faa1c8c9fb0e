"""Times as people write them: read as seconds in one way, and compared with the clip that they are about."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SECONDS = re.compile(r"(\d{1,12}(?:[.,]\d{0,30})?(?:e-\d{1,2})?|[.,]\d{1,30})\s*(s|sec|ms)?")
CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d{1,9})?)")
FRAMES = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2})[:;](\d{1,3})")
FRAME = re.compile(r"(\d{1,12})\s*(?:f|fr|frames?)")
END_SLACK = 0.5
"""Seconds by which times may lie beyond the end of a clip: containers and recognisers round."""
FASTEST = 120.0
"""Frames a second that are thought possible where a clip has none of its own."""
SHORTEST_MS = 20
"""Milliseconds that a word or a row lasts at least."""


def parse_time(text: str, rate: float | None = None) -> float:
    """Seconds from `12.5`, `12,5`, `12.5 s`, `1500 ms`, `1:02.5`, `00:01:02,500`, `00:01:02:12` or `37 f` (frames at `rate`).

    ValueError for anything else: minutes and seconds of 60 or more, frames without a rate, negative times.
    """
    written = text.strip().lower()
    if found := SECONDS.fullmatch(written):
        return float(found[1].replace(",", ".")) / (1000 if found[2] == "ms" else 1)
    if found := CLOCK.fullmatch(written):
        hours, minutes, seconds = int(found[1] or 0), int(found[2]), float(found[3].replace(",", "."))
        if seconds < 60 and (minutes < 60 or found[1] is None):
            return round(hours * 3600 + minutes * 60 + seconds, 6)
    elif found := FRAMES.fullmatch(written):
        hours, minutes, whole, frames = map(int, found.groups())
        if rate and minutes < 60 and whole < 60 and frames < round(rate):
            return hours * 3600 + minutes * 60 + whole + frames / rate
    elif (found := FRAME.fullmatch(written)) and rate:
        return int(found[1]) / rate
    raise ValueError(f"'{text}' is not a time")


@dataclass(frozen=True, eq=False)
class Placed:
    """Times that were compared with a clip: start and end (s) [N], and which of them can be of it [N].

    notes: how they were understood; problem: a sentence about those that are not of the clip, '' without any.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    inside: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    problem: str = ""


def place(
    start: NDArray[np.float64], end: NDArray[np.float64], duration: float, source: str, what: str, rate: float = 0.0,
    plain: bool = False,
) -> Placed:  # fmt: skip
    """Compare times (s, NaN where unknown) with a clip of `duration` s and `rate` frames a second (0: none of its own).

    What begins at or after the clip's end is not of it, nor then is what lasts longer than the clip; what only ends a little
    later is cut at the end. `plain`: they are written as whole numbers without a unit; where these can be nothing but
    milliseconds they are converted. `source`, `what`: the file and what its rows are ('cues') in the sentences.
    """
    known = np.isfinite(start) & np.isfinite(end)
    if not known.any():
        return Placed(start, end, np.ones(len(start), bool))
    notes: tuple[str, ...] = ()
    latest = float(end[known].max())
    if plain and latest > duration + END_SLACK and _are_milliseconds(start[known], end[known], duration, rate):
        start, end = start / 1000, end / 1000
        notes = (f"{source}: its times, up to {latest:g}, are milliseconds, as the clip lasts {duration:g} s; read as such.",)
    beyond = known & (start >= duration)
    # Where some times are wrong, so are those of a row that would fill the whole clip and more.
    outside = beyond | (known & (end - start > duration + END_SLACK) & beyond.any())
    problem = _beyond(int(outside.sum()), start[known], duration, source, what) if outside.any() else ""
    return Placed(start, np.where(known, np.minimum(end, np.maximum(start, duration)), end), ~outside, notes, problem)


def _are_milliseconds(start: NDArray[np.float64], end: NDArray[np.float64], duration: float, rate: float) -> bool:
    """Whether nothing else is possible: neither seconds (also of a longer recording) nor frames would fit the clip."""
    fit = float(end.max()) <= 1000 * (duration + END_SLACK)
    span, fastest = float(end.max() - start.min()), rate or FASTEST
    lasting = bool(((end == start) | (end - start >= SHORTEST_MS)).all())
    return fit and lasting and span > (duration + END_SLACK) * fastest


def _beyond(count: int, start: NDArray[np.float64], duration: float, source: str, what: str) -> str:
    every = "all" if count == len(start) else f"{count} of {len(start)}"
    hours = int(start.min() // 3600)
    if hours and float(start.max()) - hours * 3600 < duration + END_SLACK:
        guess = f"Do they count from {hours:02d}:00:00?"
    else:
        guess = "Are they milliseconds or frames, or of another clip?"
    return f"{source}: {every} {what} lie beyond the clip ({duration:g} s). {guess} Write seconds of this clip."
