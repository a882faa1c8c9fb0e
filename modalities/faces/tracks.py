"""Tracks: which faces of successive frames are the same person's, and which track a clip is about."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modalities.faces.crops import Pixels
from modalities.faces.detectors import Box, overlap

CUT = 0.86
"""Two successive frames whose colour histograms agree less (Bhattacharyya coefficient) belong to different shots: the
eight cuts of the real clips at five frames a second reach 0.78, the 680 other steps, pans included, stay above 0.92."""
ALIKE, SAME = 0.45, 0.9
"""Colour agreement of two crops below which they are of two people; and above which one person is seen across a cut."""
REACH, SPEED = 0.75, 2.0
"""How far a face may have moved, in its widths: at once, and in addition for every second that has passed."""
SURE, OFTEN = 0.75, 3
"""A track counts when one of its faces scores SURE or when it has OFTEN faces: else it is taken for an error."""


def colours(rgb: Pixels, bins: int) -> NDArray[np.float32]:
    """Square roots of the colour histogram of an image, [bins^3]; a dot product of two is their Bhattacharyya coefficient.

    Takes the square root of the colours, so that dark scenes fill more than a few bins.
    """
    import cv2

    step = max(min(rgb.shape[:2]) // 128, 1)
    small = np.sqrt(cv2.resize(rgb[::step, ::step], (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32))
    counts = cv2.calcHist([small], [0, 1, 2], None, [bins] * 3, [0, 16] * 3).ravel()
    shares: NDArray[np.float32] = np.sqrt(counts / counts.sum())
    return shares


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one frame: its box [4] (left, top, width, height), score and the `colours` of its crop."""

    box: Box
    score: float
    look: NDArray[np.float32]


@dataclass(eq=False)
class Track:
    """The sightings of one person in one shot, summed up; `weight` is the sum of area share x score."""

    number: int
    shot: int
    last: Sighting
    time_s: float
    frame: int
    count: int = 0
    best: float = 0.0
    weight: float = 0.0

    def add(self, one: Sighting, time_s: float, frame: int, share: float) -> None:
        """Take one more sighting; `share` is the part of the frame's area that it covers."""
        self.last, self.time_s, self.frame = one, time_s, frame
        self.count += 1
        self.best = max(self.best, one.score)
        self.weight += share * one.score

    @property
    def counts(self) -> bool:
        """True when the track is not taken for an error of the detector."""
        return self.best >= SURE or self.count >= OFTEN


def cost(track: Track, one: Sighting, time_s: float, cut: bool) -> float:
    """How badly a sighting continues a track, from distance, size, overlap and colours; infinite when it cannot."""
    old, shared = track.last, float(overlap(track.last.box, one.box[None])[0])
    width = (old.box[2] + one.box[2]) / 2
    moved = float(np.hypot(*(old.box[:2] + old.box[2:] / 2 - one.box[:2] - one.box[2:] / 2))) / width
    reach = REACH + SPEED * (time_s - track.time_s)
    grown = abs(float(np.log2(one.box[2] / old.box[2])))
    alike = float(old.look @ one.look)
    if moved > reach or grown > 1 or alike < ALIKE or (cut and (shared < 0.5 or alike < SAME)):
        return float("inf")
    # Colours count most: they tell people apart who cross each other, whose boxes and sizes are alike.
    return float(moved / reach + grown + (1 - shared) / 2 + 2 * (1 - alike))


@dataclass(eq=False)
class Tracker:
    """Follows faces from frame to frame, over gaps of up to `gap` seconds but not over cuts."""

    gap: float = 1.0
    tracks: list[Track] = field(default_factory=list)
    open: list[Track] = field(default_factory=list)
    shot: int = 0
    frame: int = -1
    _look: NDArray[np.float32] | None = None
    _jump: bool = False
    _area: float = 1.0

    def jumps(self, rgb: Pixels) -> bool:
        """Take the next frame, and say whether its colours are so unlike those of the one before that it may be another shot."""
        look = colours(rgb, 12)
        self._jump = self._look is not None and float(look @ self._look) < CUT
        self._look, self._area, self.frame = look, float(rgb.shape[0] * rgb.shape[1]), self.frame + 1
        return self._jump

    def follow(self, time_s: float, seen: list[Sighting]) -> list[Track]:
        """The track of each face seen in the frame taken last; new people get new tracks, numbered in order of appearance.

        Tracks and faces are matched by the Hungarian method on `cost`.
        """
        self.open = [track for track in self.open if self._is_open(track, time_s)]
        if self._jump and not self._match(seen, time_s, cut=True):  # a face that stays where it was says: a flash, a caption
            self.open, self.shot = [], self.shot + 1
        matched = self._match(seen, time_s)
        followed: list[Track] = []
        for index, one in enumerate(seen):
            track = matched.get(index) or self._start(one, time_s)
            track.add(one, time_s, self.frame, float(one.box[2:].prod()) / self._area)
            followed.append(track)
        return followed

    def _is_open(self, track: Track, time_s: float) -> bool:
        """Whether a track may go on: its last face is at most `gap` seconds old, or is of the frame before, however long ago."""
        return time_s - track.time_s <= self.gap + 1e-6 or track.frame == self.frame - 1

    def _match(self, seen: list[Sighting], time_s: float, cut: bool = False) -> dict[int, Track]:
        """The open track that each of the faces seen continues, by the index of the face; faces of new people are left out."""
        if not seen or not self.open:
            return {}
        costs = np.array([[cost(track, one, time_s, cut) for one in seen] for track in self.open])
        pairs = zip(*_least(np.where(np.isfinite(costs), costs, 1e6)), strict=True)
        return {int(index): self.open[row] for row, index in pairs if np.isfinite(costs[row, index])}

    def _start(self, one: Sighting, time_s: float) -> Track:
        track = Track(len(self.tracks), self.shot, one, time_s, self.frame)
        self.tracks.append(track)
        self.open.append(track)
        return track


def _least(costs: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pairs that cost least together; most images show one face, which needs no SciPy."""
    if 1 in costs.shape:
        row, column = np.unravel_index(costs.argmin(), costs.shape)
        return np.array([row]), np.array([column])
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return rows, columns


def main_tracks(tracks: list[Track]) -> set[int]:
    """Numbers of the main tracks: in each shot the one with the largest sum of area share x score, the earlier on a tie.

    A clip without cuts has one main track. Tracks that do not count are left out.
    """
    best: dict[int, Track] = {}
    for track in tracks:
        if track.counts and (track.shot not in best or track.weight > best[track.shot].weight):
            best[track.shot] = track
    return {track.number for track in best.values()}
