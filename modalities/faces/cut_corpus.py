"""Faces cut out of whole images and clips as in a run, for corpora that networks of the face are trained on."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.csv_files import write_csv
from data.errors import InputError, MediaError
from data.files import atomic_path
from data.location import Location
from data.manifest.manifest import manifest_of_table, read_manifest, write_manifest
from data.media.crops import CropWriter, each_crop
from data.media.decode import DecodeOptions, decode
from data.media.frames import read_frames
from data.media.probe import probe
from modalities.faces.crops import Square, cut
from modalities.faces.detectors import Detection, Search, choose_detector, overlap
from modalities.faces.find import FaceOptions, find_faces

NO_FACE = "No face was found in it."
BOX = ("face_x", "face_y", "face_width", "face_height")
"""Columns of a manifest with the box of a picture's face, as AffectNet gives it."""
LEFT_OUT = ("number", "problem", "start", "end", "transcript", "descriptions", "frame_labels")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
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


def cut_image(path: Path, target: Path, search: Search, size: int, box: NDArray[np.float64] | None = None) -> str:
    """Write the main face of an image as a PNG of `size` x `size`; says in a sentence why there is none, else ''.

    box: an annotated face [left, top, width, height]; the face found there is cut as in a run, or the box where none is found.
    Without one the face with the largest area x score counts.
    """
    import cv2

    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) if path.is_file() else None
    if image is None:
        return "It is not there." if not path.is_file() else "It is no picture that can be read."
    square = _chosen_square(search(np.asarray(image, np.uint8)), box)
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


def cut_manifest(
    manifest: Path,
    output: Path,
    root: Path | None,
    options: CutOptions,
    workers: int = 1,
    limit: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[tuple[str, str]]]:
    """Cut the faces of a manifest's rows into `output` and write its manifest.csv, and problems.csv where some have none.

    Returns how many there are, and path and reason of the others. Files that are there are not made again. Other columns of the
    manifest stay (a `context` as a whole path), but those that speak of the media file. `tell` hears of how many rows of all are
    done. InputError when no row can be used.
    """
    read = read_manifest(manifest, root)
    table = read.table.head(limit) if limit else read.table
    good = table[table["problem"] == ""].reset_index(drop=True)
    if good.empty:
        raise InputError(f"No row of {manifest} can be used; the first: {table['problem'].iloc[0]}")
    folder = Location(read.root)
    good = good.assign(source=[str(folder / path) for path in good["path"]], path=_targets(good))
    said = _cut_rows(good, output, options, workers, tell)
    bad = table[table["problem"] != ""]
    reasons = [*zip(bad["path"], bad["problem"], strict=True), *zip(good["source"], said, strict=True)]
    problems = [(str(path), str(reason)) for path, reason in reasons if reason]
    kept = good[[not reason for reason in said]]
    output.mkdir(parents=True, exist_ok=True)
    if problems:
        write_csv(output / "problems.csv", pd.DataFrame(problems, columns=["path", "problem"]))
    else:
        (output / "problems.csv").unlink(missing_ok=True)
    if len(kept):
        named = kept.assign(context=[path and str(folder / path) for path in kept["context"]]) if "context" in kept else kept
        others = [name for name in named.columns if name not in (*LEFT_OUT, *BOX, "source")]
        write_manifest(manifest_of_table(named[others], output, str(manifest)), output / "manifest.csv")
    return len(kept), problems


def _targets(rows: pd.DataFrame) -> list[str]:
    """Where the face of each row goes: <split>/<clip_id>.png, or .npy for a clip."""
    endings = [".png" if path.lower().endswith(IMAGE_SUFFIXES) else ".npy" for path in rows["path"]]
    parts = zip(rows["split"], rows["clip_id"], endings, strict=True)
    return [f"{split or 'all'}/{name}{ending}" for split, name, ending in parts]


def _cut_rows(
    rows: pd.DataFrame, output: Path, options: CutOptions, workers: int, tell: Callable[[int, int], None]
) -> list[str]:
    """The sentence for each row without a face, '' for the others; each worker has a detector of its own."""
    said, stop, lock, done = [""] * len(rows), threading.Event(), threading.Lock(), 0

    def work(indices: Sequence[int]) -> None:
        nonlocal done
        with choose_detector(options.detector).open() as finder:
            for index in indices:
                if stop.is_set():
                    return
                said[index] = _cut_row(rows.iloc[index], output, options, finder.search)
                with lock:
                    done += 1
                    tell(done, len(rows))

    with ThreadPoolExecutor(workers) as threads:
        running = [threads.submit(work, range(number, len(rows), workers)) for number in range(workers)]
        try:
            for one in running:
                one.result()
        finally:
            stop.set()
    return said


def _cut_row(row: pd.Series, output: Path, options: CutOptions, search: Search) -> str:
    target, source = output / row["path"], Path(row["source"])
    if target.is_file():
        return ""
    if target.suffix == ".npy":
        start, end = (None if np.isnan(row[name]) else float(row[name]) for name in ("start", "end"))
        return cut_clip(source, target, options, start, end)
    box = None
    if all(row.get(name) not in (None, "") for name in BOX):
        box = np.array([float(row[name]) for name in BOX])
    return cut_image(source, target, search, options.size, box)
