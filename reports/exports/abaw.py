"""The text files of the ABAW challenges that Dyad has numbers for: one class index a frame.

Compound expressions (7 classes) and basic expressions (8 classes, of which Dyad never claims the last, "Other"). Headers, order
of the classes and numbering of the frames are those of the organisers' files. Valence, arousal and action units are not
estimated by Dyad, so their files are not written.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError
from reports.exports.clip import ClipAnswer, Item, Unanswered

_ROW = re.compile(r"(.+)/(\d+)\.(\w+)")


@dataclass(frozen=True)
class ChallengeTrack:
    """A challenge: `classes`, columns of frames.parquet in the order of their indices; `names`, the classes in its header."""

    classes: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def header(self) -> str:
        """The first line of its file."""
        return ",".join(("image_location", *self.names))


_COMPOUNDS = tuple(compound.name for compound in ABAW_COMPOUNDS)
COMPOUND = ChallengeTrack(_COMPOUNDS, tuple(name.title() for name in _COMPOUNDS))
EXPRESSION = ChallengeTrack(BASIC_EMOTIONS, (*(name.title() for name in BASIC_EMOTIONS), "Other"))
HEADER = COMPOUND.header
TRACKS: Mapping[str, ChallengeTrack] = {"abaw": COMPOUND, "abaw-expr": EXPRESSION}
"""By the name of the format."""


@dataclass(frozen=True)
class Submission:
    """The file's `text`, and how many rows got their class in which way: `own` (the frame's own probabilities), `carried` (from
    the nearest frame before, else after, that has any), `filled` (clips without an answer; the caller's class).

    `by_video` gives the class indices of each video in the order of its rows."""

    text: str
    own: int
    carried: int
    filled: int
    by_video: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class FrameClasses:
    """The class of each frame in order (-1: clip without an answer), and whether it is the frame's own."""

    index: Sequence[int]
    own: Sequence[bool]


def abaw(
    clips: Iterable[Item], template: str | None = None, fill: str | None = None, track: ChallengeTrack = COMPOUND
) -> Submission:
    """A challenge's text for clips, each with its frames table; a video is known by the name of its media file.

    With the organisers' `template` its rows are kept, in their order, whatever was decoded: a frame past the last one that was
    decoded repeats the last. Without it the frames are those of the tables, from 00001. The challenge knows no "none of them",
    so a frame takes its likeliest class also where none wins; one without any evidence repeats the frame before it (at the
    beginning: the first that has some). A video without any answer is an InputError, unless `fill` names a class for it.
    """
    chosen = -1 if fill is None else _class_index(fill, track)
    known = _by_video(clips, track)
    rows = _template_rows(template) if template is not None else _own_rows(known)
    asked = {video for _, video, _ in rows}
    if template is None:
        asked |= {video for video, classes in known.items() if classes is None}
    missing = sorted(video for video in asked if not _answered(known.get(video)))
    if missing and chosen < 0:
        raise InputError(
            f"{len(missing)} of the videos have no answer ({', '.join(missing[:5])}), and the challenge wants a class for every "
            "frame; recognise them, or say with --fill which class to write."
        )
    if not rows:
        raise InputError("There are no frames to write: no clip has a picture; the challenge is about videos.")
    ways, lines, by_video = Counter[str](), [track.header], dict[str, list[int]]()
    for location, video, number in rows:
        classes = known.get(video)
        index, way = _at(classes, number) if classes is not None and _answered(classes) else (chosen, "filled")
        ways[way] += 1
        lines.append(f"{location},{index}")
        by_video.setdefault(video, []).append(index)
    written = {video: tuple(indices) for video, indices in by_video.items()}
    return Submission("\n".join(lines) + "\n", ways["own"], ways["carried"], ways["filled"], written)


def video_text(track: ChallengeTrack, indices: Iterable[int]) -> str:
    """The file of one video as Aff-Wild2's annotations have it: the names of the classes, then an index a line."""
    return "\n".join([",".join(track.names), *map(str, indices)]) + "\n"


def frame_classes(clip: ClipAnswer, track: ChallengeTrack = COMPOUND) -> FrameClasses:
    """The class of each frame of a clip; InputError when it was not composed into the challenge's compounds."""
    known = {*(row["name"] for row in clip.result["compounds"]), *clip.result["emotions"]}
    if absent := [name for name in track.classes if name not in known]:
        raise InputError(
            f"{clip.clip_id} was not recognised with the challenge's seven compounds "
            f"(missing: {', '.join(absent)}); run it with the default set."
        )
    if clip.frames is None:
        return FrameClasses((), ())
    import numpy as np

    shares = clip.frames[list(track.classes)].to_numpy(np.float64)
    own = ~np.isnan(shares).any(1)
    if not own.any():
        return FrameClasses([-1] * len(own), own.tolist())
    # Each frame takes the nearest one before it that has an answer; those before the first take the first.
    before = np.maximum.accumulate(np.where(own, np.arange(len(own)), -1))
    nearest = np.where(before < 0, int(own.argmax()), before)
    return FrameClasses(np.nan_to_num(shares).argmax(1)[nearest].tolist(), own.tolist())


def _answered(classes: FrameClasses | None) -> bool:
    return classes is not None and len(classes.index) > 0 and classes.index[0] >= 0


def _at(classes: FrameClasses, number: int) -> tuple[int, str]:
    row = min(max(number, 1), len(classes.index)) - 1
    return classes.index[row], "own" if classes.own[row] and row == number - 1 else "carried"


def _by_video(clips: Iterable[Item], track: ChallengeTrack) -> dict[str, FrameClasses | None]:
    """The classes of each video; None for one without an answer, whose frames nobody knows."""
    known: dict[str, FrameClasses | None] = {}
    for clip in clips:
        if clip.stem in known:
            raise InputError(f"Two clips are of a video named '{clip.stem}'; export whole videos with names of their own.")
        known[clip.stem] = None if isinstance(clip, Unanswered) else frame_classes(clip, track)
    return known


def _own_rows(known: Mapping[str, FrameClasses | None]) -> list[tuple[str, str, int]]:
    counts = {video: len(classes.index) for video, classes in sorted(known.items()) if classes is not None}
    return [(f"{video}/{number:05d}.jpg", video, number) for video, count in counts.items() for number in range(1, count + 1)]


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


def _class_index(name: str, track: ChallengeTrack) -> int:
    if name not in track.classes:
        raise InputError(f"--fill {name}: not one of the challenge's classes that Dyad knows: {', '.join(track.classes)}.")
    return track.classes.index(name)
