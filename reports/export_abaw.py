"""The text file of the ABAW challenge's compound task: one class index (0..6) a frame.

Header, order of the classes and numbering of the frames are those of the organisers' sample files.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.emotions import ABAW_COMPOUNDS
from data.errors import InputError
from reports.export_clip import ClipAnswer

HEADER = ("image_location,Fearfully_Surprised,Happily_Surprised,Sadly_Surprised,Disgustedly_Surprised,Angrily_Surprised,"
          "Sadly_Fearful,Sadly_Angry")  # fmt: skip
_ROW = re.compile(r"(.+)/(\d+)\.(\w+)")


@dataclass(frozen=True)
class Submission:
    """The file's `text`, and how many rows got their class in which way: `own` (the frame's own compounds), `carried` (from the
    nearest frame before, else after, that has any), `filled` (clips without an answer; the caller's class)."""

    text: str
    own: int
    carried: int
    filled: int


@dataclass(frozen=True, eq=False)
class FrameClasses:
    """The class of each frame in order (-1: clip without an answer), and whether it is the frame's own."""

    index: NDArray[np.int64]
    own: NDArray[np.bool_]


def abaw(clips: Iterable[ClipAnswer], template: str | None = None, fill: str | None = None) -> Submission:
    """The challenge's text for clips, each with its frames table; a video is known by the name of its media file.

    With the organisers' `template` its rows are kept, in their order, whatever was decoded: a frame past the last one that was
    decoded repeats the last. Without it the frames are those of the tables, from 00001. The challenge knows no "none of them",
    so a frame takes its likeliest compound also where none wins; one without any evidence repeats the frame before it (at the
    beginning: the first that has some). A video without any answer is an InputError, unless `fill` names a compound for it.
    """
    chosen = -1 if fill is None else _place(fill)
    known = _by_video(clips)
    rows = _template_rows(template) if template is not None else _own_rows(known)
    if not rows:
        raise InputError("There are no frames to write: no clip has a picture; the challenge is about videos.")
    missing = sorted({video for _, video, _ in rows if video not in known or not len(known[video].index)
                      or known[video].index[0] < 0})  # fmt: skip
    if missing and chosen < 0:
        raise InputError(
            f"{len(missing)} of the videos have no answer ({', '.join(missing[:5])}), and the challenge wants a class for every "
            "frame; recognise them, or say with --fill which compound to write."
        )
    absent, ways, lines = set(missing), Counter[str](), [HEADER]
    for location, video, number in rows:
        place, way = (chosen, "filled") if video in absent else _at(known[video], number)
        ways[way] += 1
        lines.append(f"{location},{place}")
    return Submission("\n".join(lines) + "\n", ways["own"], ways["carried"], ways["filled"])


def frame_classes(clip: ClipAnswer) -> FrameClasses:
    """The class of each frame of a clip; InputError when it was not composed into the challenge's compounds."""
    names = [compound.name for compound in ABAW_COMPOUNDS]
    given = {row["name"] for row in clip.result["compounds"]}
    if not set(names) <= given:
        raise InputError(
            f"{clip.clip_id} was not recognised with the challenge's seven compounds "
            f"(missing: {', '.join(name for name in names if name not in given)}); run it with the default set."
        )
    if clip.frames is None:
        return FrameClasses(np.zeros(0, np.int64), np.zeros(0, bool))
    shares = clip.frames[names].to_numpy(np.float64)
    own = ~np.isnan(shares).any(1)
    if not own.any():
        return FrameClasses(np.full(len(own), -1, np.int64), own)
    before = np.maximum.accumulate(np.where(own, np.arange(len(own)), -1))
    nearest = np.where(before < 0, int(own.argmax()), before)
    return FrameClasses(np.nan_to_num(shares).argmax(1)[nearest], own)


def _at(classes: FrameClasses, number: int) -> tuple[int, str]:
    row = min(max(number, 1), len(classes.index)) - 1
    return int(classes.index[row]), "own" if classes.own[row] and row == number - 1 else "carried"


def _by_video(clips: Iterable[ClipAnswer]) -> dict[str, FrameClasses]:
    known: dict[str, FrameClasses] = {}
    for clip in clips:
        if clip.stem in known:
            raise InputError(f"Two clips are of a video named '{clip.stem}'; export whole videos with names of their own.")
        known[clip.stem] = frame_classes(clip)
    return known


def _own_rows(known: dict[str, FrameClasses]) -> list[tuple[str, str, int]]:
    return [
        (f"{video}/{number:05d}.jpg", video, number)
        for video in sorted(known)
        for number in range(1, len(known[video].index) + 1)
    ]


def _template_rows(template: str) -> list[tuple[str, str, int]]:
    """Location, video and frame number of each row; whatever classes the template holds are not read."""
    lines = [line for line in template.removeprefix("\ufeff").splitlines() if line.strip()]
    rows: list[tuple[str, str, int]] = []
    for number, line in enumerate(lines[1:], 2):
        location = line.split(",", 1)[0].strip()
        found = _ROW.fullmatch(location)
        if found is None:
            raise InputError(f"Line {number} of the template names '{location}', not a frame such as 01/00001.jpg.")
        rows.append((location, found[1], int(found[2])))
    if not lines or not lines[0].startswith("image_location") or not rows:
        raise InputError("The template has no header 'image_location,...' with rows below it; give the organisers' file.")
    return rows


def _place(name: str) -> int:
    names = [compound.name for compound in ABAW_COMPOUNDS]
    if name not in names:
        raise InputError(f"--fill {name}: not one of the challenge's compounds: {', '.join(names)}.")
    return names.index(name)
