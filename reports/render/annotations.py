"""What belongs to each second of a clip on its annotated video: boxes of tracks, the answer and how sure it is, the two basic
emotions, and subtitles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from data.emotions import BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.media.clip import Clip
from reports.colours import person_colour
from reports.render.drawing import MAIN, Canvas, Moment, Plane, box, label, lay, panel, subtitle

REACH, HOLD = 1.0, 0.3
"""Seconds between two sightings of a face through which its box moves, and for which it stays after the last."""
WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is drawn: `frames` as frames.parquet of whom the panel is about, who that is (`whose`, where several are there), the
    compounds, `faces` as faces.parquet, `cues` (start, end, text; s; of several persons also speaker), and `answers`, the frames
    of each person whose box is to say what they show."""

    frames: pd.DataFrame
    compounds: Sequence[Compound]
    faces: pd.DataFrame
    cues: pd.DataFrame
    answers: Mapping[int, pd.DataFrame] = field(default_factory=dict)
    whose: str = ""


def chosen_faces(faces: pd.DataFrame, which: str) -> pd.DataFrame:
    """The rows of the tracks to draw: `main`, or `all`; InputError for another word."""
    if which not in ("main", "all"):
        raise InputError(f"--tracks {which}: choose main or all.")
    return faces if which == "all" else faces.loc[faces["main"]]


class Drawing:
    """Finds what belongs to a time and draws it."""

    def __init__(self, drawn: Annotations, clip: Clip) -> None:
        self._clip = clip
        self._whose, self._answer = drawn.whose, _Answer(drawn.frames, drawn.compounds)
        told_apart = {person: frames for person, frames in drawn.answers.items() if person}  # 0 is everybody's, and nobody's box
        self._answers = {person: _Answer(frames, drawn.compounds) for person, frames in told_apart.items()}
        self._tracks = [_Track(int(str(number)), table) for number, table in drawn.faces.groupby("track_id", sort=False)]
        self._begins = np.array([track.times[0] for track in self._tracks])
        self._ends = np.array([track.times[-1] for track in self._tracks]) + HOLD
        self._cues = drawn.cues.dropna(subset=["start", "end"]).sort_values("start", ignore_index=True)
        self._starts, self._stops = (self._cues[name].to_numpy(np.float64) for name in ("start", "end"))

    def draw(self, planes: Sequence[Plane], time_s: float, canvas: Canvas) -> None:
        """Draw everything on a picture of this second."""
        self._draw_boxes(planes, time_s, canvas)
        said = self._said(time_s)
        if said:
            patch = subtitle(said, canvas)
            height, width = patch.planes[0].shape
            lay(planes, patch, (canvas.width - width) // 2, canvas.height - height - canvas.letters // 2)
        below = self._answer.nearest(time_s)
        whole = replace(below, title=f"{self._whose}: {below.title}") if self._whose else below
        lay(planes, panel(whole, canvas), 0, canvas.height)

    def _draw_boxes(self, planes: Sequence[Plane], time_s: float, canvas: Canvas) -> None:
        scale = canvas.width / max(self._clip.width, 1)
        inside = [plane[: canvas.height // (1 if number == 0 else 2)] for number, plane in enumerate(planes)]
        thick, labels = 2 * max(1, round(canvas.letters / 16)), list[tuple[int, int, int]]()
        for number in np.flatnonzero((self._begins <= time_s + 0.02) & (time_s <= self._ends)):
            track = self._tracks[number]
            area = track.at(time_s)
            if area is None:
                continue
            main = track.is_main(time_s)
            colour = track.colour or (MAIN if main else WHITE)
            box(inside, [scale * value for value in area], colour, thick if main else 2, canvas)
            if not (words := self._told(track, time_s)):
                continue
            patch = label(words, canvas, colour)
            height, width = patch.planes[0].shape
            x, top = max(min(round(scale * area[0]), canvas.width - width), 0), round(max(scale * area[1] - height, 0))
            if any(abs(y - top) < height and x < right and x + width > left for left, right, y in labels):
                top = round(scale * (area[1] + area[3]))  # above it stands another name
            labels.append((x, x + width, top))
            lay(inside, patch, x, top)

    def _said(self, time_s: float) -> str:
        if not len(self._starts):
            return ""
        last = int(np.searchsorted(self._starts, time_s, side="right"))
        near = range(max(0, last - 20), last)
        return " ".join(self._line(row) for row in near if time_s < self._stops[row])

    def _line(self, row: int) -> str:
        """A cue, with who says it where several persons are there."""
        words, speaker = str(self._cues["text"].iloc[row]), self._cues["speaker"].iloc[row] if "speaker" in self._cues else ""
        return f"{speaker}: {words}" if len(self._answers) > 1 and isinstance(speaker, str) and speaker else words

    def _told(self, track: "_Track", time_s: float) -> str:
        """What stands at a box: who it is, and of several persons what they show; nothing at those who are not told apart."""
        if len(self._answers) < 2:
            return track.name
        answer = self._answers.get(track.person)
        shown = answer.nearest(time_s, HOLD) if answer is not None else None
        return f"{track.name}: {shown.title}" if shown and shown.emotions else track.name if track.person else ""


class _Answer:
    """What one person shows over time."""

    def __init__(self, frames: pd.DataFrame, compounds: Sequence[Compound]) -> None:
        self._times = frames["time_s"].to_numpy(np.float64)
        self._moments = _moments(frames, compounds)

    def nearest(self, time_s: float, within: float = np.inf) -> Moment:
        """What is shown at the frame nearest to a time (s), which may be `within` so many seconds."""
        if not len(self._times):
            return Moment("no evidence", None, ())
        right = int(np.clip(np.searchsorted(self._times, time_s), 1, len(self._times) - 1)) if len(self._times) > 1 else 0
        nearer = right - 1 if right and time_s - self._times[right - 1] < self._times[right] - time_s else right
        return self._moments(nearer) if abs(self._times[nearer] - time_s) <= within else Moment("no evidence", None, ())


class _Track:
    """The boxes of a face over time."""

    def __init__(self, number: int, table: pd.DataFrame) -> None:
        ordered = table.sort_values("time_s")
        self.name = str(ordered["called"].iloc[0]) if "called" in ordered else f"face {number}"
        self.person = int(ordered["person"].iloc[0]) if "person" in ordered else 0
        self.colour = person_colour(self.person) if "person" in ordered else None
        self.times = ordered["time_s"].to_numpy(np.float64)
        self._boxes = ordered[["x", "y", "width", "height"]].to_numpy(np.float64)
        self._main = ordered["main"].to_numpy(bool)

    def _before(self, time_s: float) -> int:
        return max(int(np.searchsorted(self.times, time_s + 0.02, side="right")) - 1, 0)

    def is_main(self, time_s: float) -> bool:
        """Whether it is the main face of its shot."""
        return bool(self._main[self._before(time_s)])

    def at(self, time_s: float) -> Sequence[float] | None:
        """x, y, width, height (pixels of the source): on a straight line between sightings; None where it is not seen."""
        here = self._before(time_s)
        following = min(here + 1, len(self.times) - 1)
        gap = self.times[following] - self.times[here]
        if 0 < gap <= REACH:
            share = float(np.clip((time_s - self.times[here]) / gap, 0, 1))
            return list((1 - share) * self._boxes[here] + share * self._boxes[following])
        return list(self._boxes[here]) if time_s - self.times[here] < HOLD else None


def _moments(frames: pd.DataFrame, compounds: Sequence[Compound]) -> Callable[[int], Moment]:
    """A function of a row of frames.parquet: what the panel says there, rounded so that it changes rarely."""
    basic = frames[list(BASIC_EMOTIONS)].to_numpy(np.float64)
    tops, sure = frames["top"].tolist(), frames["sureness"].to_numpy(np.float64)
    pairs: Mapping[str, Compound] = {compound.name: compound for compound in compounds}

    def moment(row: int) -> Moment:
        values = dict(zip(BASIC_EMOTIONS, np.round(basic[row], 2).tolist(), strict=True))
        compound = pairs.get(tops[row]) if isinstance(tops[row], str) else None
        if not np.isfinite(basic[row]).all():
            return Moment("no evidence", None, ())
        if compound is None:
            likeliest = sorted(values, key=lambda name: -values[name])[:2]
            return Moment(likeliest[0], round(float(sure[row]), 2), tuple((name, values[name]) for name in likeliest))
        two = tuple((name, values[name]) for name in (compound.first, compound.second))
        return Moment(compound.name.replace("_", " "), round(float(sure[row]), 2), two)

    return moment
