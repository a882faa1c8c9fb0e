"""Faces of a clip: found in every sampled frame, followed over time, and cut out as aligned crops."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.media.crops import CropWriter
from data.media.frames import Frame
from modalities.faces.crops import Pixels, cut, sharpness_of
from modalities.faces.detectors import Detection, Finder, choose_detector, distinct
from modalities.faces.tracks import Sighting, Track, Tracker, colours, main_tracks


@dataclass(frozen=True)
class FaceOptions:
    """How faces are found: detector ('auto', 'mediapipe' or 'opencv'), side of the crops (pixels), lowest score (0..1),
    smallest width of a face (pixels of the sampled frame), longest gap in a track (s), and seconds from one search of a whole
    frame to the next while the faces in between can be followed (0: every frame is searched)."""

    detector: str
    crop_size: int
    minimum_score: float = 0.3
    smallest: float = 20.0
    gap: float = 1.0
    search_every: float = 1.0


@dataclass(frozen=True, eq=False)
class FaceTable:
    """The faces of a clip, one row each (see `find_faces`), the detector that found them, and `reason`: a sentence when none."""

    table: pd.DataFrame
    detector: str
    reason: str = ""


COLUMNS: dict[str, str] = {
    "face": "int64", "frame": "int64", "time_s": "float64", "shot": "int32", "track_id": "int32", "main": "bool",
    "x": "float32", "y": "float32", "width": "float32", "height": "float32", "score": "float32", "sharpness": "float32",
    "right_eye_x": "float32", "right_eye_y": "float32", "left_eye_x": "float32", "left_eye_y": "float32",
    "mouth": "float32",
}  # fmt: skip
"""Columns of `faces.parquet` and their types."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A face whose track may still turn out to be an error: its row and its crop."""

    track: Track
    row: dict[str, float]
    crop: Pixels


def find_faces(
    frames: Iterable[Frame], options: FaceOptions, crops: Path, on_frame: Callable[[Frame], None] | None = None
) -> FaceTable:
    """Find, follow and cut out the faces of `frames`; writes `crops` (uint8 [M, S, S, 3] RGB) and returns their table.

    Row by row: `face` (row in `crops`), `frame`, `time_s`; `shot`, counted from 0 at each cut; `track_id`, one for each
    person and shot; `main`; box `x, y, width, height` in source pixels, clipped to the frame; `score` 0..1; `sharpness`;
    centres of the person's own right and left eye in source pixels, and `mouth`, how far the lips are apart in distances between
    the eyes' outer corners (NaN where unknown). The main track of a shot is the
    one with the largest sum of area share x score; a clip without cuts has one. Memory does not grow with the clip but
    for the table. InputError when the wanted detector is not installed.
    """
    detector = choose_detector(options.detector)
    tracker, waiting, rows, sampled = Tracker(options.gap), deque[_Waiting](), list[dict[str, float]](), 0
    with CropWriter(crops, options.crop_size) as writer, detector.open() as finder:
        looking = _Looking(finder, options, tracker)
        for frame in frames:
            waiting.extend(looking.faces_of(frame))
            _settle(waiting, tracker, rows, writer)
            sampled += 1
            if on_frame:
                on_frame(frame)
        tracker.open.clear()
        _settle(waiting, tracker, rows, writer)
    main = main_tracks(tracker.tracks)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["main"] = table["track_id"].isin(main)
    reason = "" if rows else f"No face was found in the {sampled} sampled pictures (detector: {detector.name})."
    return FaceTable(table.astype(COLUMNS), detector.name, reason)


class _Looking:
    """Looks at one frame after the other: follows the faces that are known, and searches where that may not be enough."""

    def __init__(self, finder: Finder, options: FaceOptions, tracker: Tracker) -> None:
        self._finder, self._options, self._tracker = finder, options, tracker
        self._known: list[Detection] = []
        self._searched = -np.inf

    def faces_of(self, frame: Frame) -> list[_Waiting]:
        """The faces of the next frame, the largest first."""
        options, jump = self._options, self._tracker.jumps(frame.rgb)
        faces = self._searched_in(frame, []) if jump else self._followed(frame)
        scored = (one for one in faces if one.score >= options.minimum_score)
        found = self._known = sorted((one for one in scored if one.box[2] >= options.smallest), key=lambda one: -one.box[2])
        cuts = [cut(frame.rgb, one.square, options.crop_size) for one in found]
        seen = [Sighting(one.box, one.score, colours(crop, 6)) for one, crop in zip(found, cuts, strict=True)]
        tracks = self._tracker.follow(frame.time_s, seen)
        together = zip(found, cuts, tracks, strict=True)
        return [_Waiting(track, _row(frame, one, crop, track), crop) for one, crop, track in together]

    def _followed(self, frame: Frame) -> list[Detection]:
        """The known faces where they are now; those that a search finds where these may not be all: it is time, a face is not
        where it was or was lost a moment ago, or may be an error of the detector, which alone can tell; or none is known and a
        glance sees one."""
        follow, tracker, every = self._finder.follow, self._tracker, self._options.search_every
        clear = all(track.counts and track.frame == tracker.frame - 1 for track in tracker.open)
        if follow is None or not clear or frame.time_s > self._searched + every - 1e-3:
            return self._searched_in(frame, self._known if every else [])
        if not self._known:
            return self._searched_in(frame, []) if self._finder.glance(frame.rgb) else []
        found = [follow(frame.rgb, face) for face in self._known]
        there = [face for face in found if face is not None]
        return there if len(distinct(there)) == len(found) else self._searched_in(frame, [])

    def _searched_in(self, frame: Frame, known: list[Detection]) -> list[Detection]:
        self._searched = frame.time_s
        return self._finder.search(frame.rgb, known)


def _row(frame: Frame, one: Detection, crop: Pixels, track: Track) -> dict[str, float]:
    """The row of a face in the table, but for `face` and `main`, which are known later."""
    height, width = frame.rgb.shape[:2]
    left, top = np.clip(one.box[:2], 0, (width, height))
    right, bottom = np.clip(one.box[:2] + one.box[2:], 0, (width, height))
    box = np.array([left, top, right - left, bottom - top]) * frame.scale
    eyes: NDArray[np.float64] = np.full((2, 2), np.nan) if one.eyes is None else one.eyes * frame.scale
    named = dict(zip(("x", "y", "width", "height"), box, strict=True))
    named |= dict(zip(("right_eye_x", "right_eye_y", "left_eye_x", "left_eye_y"), eyes.ravel(), strict=True))
    found = {"frame": frame.frame, "time_s": frame.time_s, "score": one.score, "sharpness": sharpness_of(crop)}
    return found | named | {"mouth": one.mouth, "track_id": track.number, "shot": track.shot}


def _settle(waiting: deque[_Waiting], tracker: Tracker, rows: list[dict[str, float]], writer: CropWriter) -> None:
    """Write, in order, the faces whose tracks count; drop those whose tracks ended without; stop at the first open question."""
    while waiting:
        track = waiting[0].track
        if not track.counts and track in tracker.open:
            return
        one = waiting.popleft()
        if track.counts:
            rows.append(one.row | {"face": writer.append(one.crop)})
