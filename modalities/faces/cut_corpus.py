"""Faces cut out of whole images and clips as in a run, for corpora that networks of the face are trained on."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import MediaError
from data.files import atomic_path
from data.media.crops import CropWriter, each_crop
from data.media.decode import DecodeOptions, decode
from data.media.frames import read_frames
from data.media.probe import probe
from modalities.faces.crops import Square, cut
from modalities.faces.detectors import Detect, Detection, overlap
from modalities.faces.find import FaceOptions, find_faces

NO_FACE = "No face was found in it."
SAME_FACE = 0.2
"""Overlap of a found face with an annotated box from which on it is the annotated one."""


@dataclass(frozen=True)
class CutOptions:
    """Side of the crops (pixels), frames of a clip that are looked at in a second and their longest side (pixels), and who finds
    the faces."""

    size: int
    frames_per_second: float
    longest_side: int
    detector: str


def cut_image(path: Path, target: Path, detect: Detect, size: int, box: NDArray[np.float64] | None = None) -> str:
    """Write the main face of an image as a PNG of `size` x `size`; says in a sentence why there is none, else ''.

    box: an annotated face [left, top, width, height]; the face found there is cut as in a run, or the box where none is found.
    Without one the face with the largest area x score counts.
    """
    import cv2

    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) if path.is_file() else None
    if image is None:
        return "It is not there." if not path.is_file() else "It is no picture that can be read."
    square = _chosen_square(detect(np.asarray(image, np.uint8)), box)
    if square is None:
        return NO_FACE
    face = cut(np.asarray(image, np.uint8), square, size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as aside:
        aside.write_bytes(cv2.imencode(".png", cv2.cvtColor(face, cv2.COLOR_RGB2BGR))[1].tobytes())
    return ""


def _chosen_square(found: list[Detection], box: NDArray[np.float64] | None) -> Square | None:
    """The square of the face at the annotated box, of the box itself where none was found there, or of the main face."""
    if box is not None:
        shares = overlap(box, np.stack([one.box for one in found])) if found else np.zeros(0)
        if len(shares) and shares.max() >= SAME_FACE:
            return found[int(shares.argmax())].square
        return Square(float(box[0] + box[2] / 2), float(box[1] + box[3] / 2), float(max(box[2:])))
    best = max(found, key=lambda one: one.box[2] * one.box[3] * one.score, default=None)
    return None if best is None else best.square


def cut_clip(path: Path, target: Path, options: CutOptions, start: float | None = None, end: float | None = None) -> str:
    """Write the main face of a clip, or of its seconds from `start` to `end`, as crops [T, S, S, 3] in a .npy file.

    Says in a sentence why there is none, else ''.
    """
    with tempfile.TemporaryDirectory(prefix="dyad-faces-") as folder:
        work = Path(folder)
        try:
            decoded = decode(probe(path), work, DecodeOptions(options.frames_per_second, options.longest_side))
        except (MediaError, OSError) as error:
            return str(error)
        if decoded.frames is None or decoded.index is None:
            return "It has no picture."
        frames = read_frames(decoded.frames, decoded.index)
        inside = (one for one in frames if (start or 0.0) <= one.time_s < (np.inf if end is None else end))
        found = find_faces(inside, FaceOptions(options.detector, options.size), work / "crops.npy").table
        main = found[found["main"]].sort_values("time_s", kind="stable")["face"].to_numpy(np.int64)
        if not len(main):
            return NO_FACE
        target.parent.mkdir(parents=True, exist_ok=True)
        with CropWriter(target, options.size) as writer:
            for crop in each_crop(work / "crops.npy", main):
                writer.append(crop)
    return ""
