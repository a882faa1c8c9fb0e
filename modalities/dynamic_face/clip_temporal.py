"""Dynamic face by CLIP and a temporal head: the way of RAS (arXiv 2507.02205).

Every face crop goes through CLIP's image tower once; of each window at most 20 frames, evenly spread, go through the head.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import BATCH
from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.media.crops import each_crop
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.dynamic_face.temporal_heads import TemporalHead, answer_sequences, load_head
from modalities.encoders.clip import ClipEncoder, picture_features
from modalities.faces.windows import FaceScores, Which, chosen_faces, frame_means, no_faces
from modalities.loading.batching import Batches, in_batches

LENGTH = 20
"""Frames of a window that the head sees at most."""


@dataclass(frozen=True, eq=False)
class ClipDynamicFace:
    """The loaded model: a CLIP, the temporal head that was trained over its features, and what they are together."""

    clip: ClipEncoder
    head: TemporalHead
    source: Source


class FrameSequences(NamedTuple):
    """Which frames the head sees: `windows` [S] the numbers of the windows with faces, `frames` the indices of their frames."""

    windows: NDArray[np.int64]
    frames: list[NDArray[np.int64]]


def load(clip: ClipEncoder, head_path: Path, device: str = "cpu", precision: Precision = "auto") -> ClipDynamicFace:
    """A loaded CLIP with the head at `head_path`; WeightsError when the head does not read features of this length."""
    head = load_head(head_path, device, precision)
    if head.features != clip.width:
        raise WeightsError(
            f"The temporal head {head_path} reads features of length {head.features}, but {clip.source.model} gives "
            f"{clip.width}; use the CLIP it was trained over (RAS: ViT-B-32 of OpenAI)."
        )
    model, revision = f"{clip.source.model} + {head.architecture}", f"{clip.source.revision}+{head.source.revision}"
    preparation = f"at most {LENGTH} frames of a window, CLIP features of the face crops as projected"
    return ClipDynamicFace(clip, head, Source("open_clip + temporal head", model, revision, preparation))


def sample_frames(count: int, most: int = LENGTH) -> NDArray[np.int64]:
    """Indices of at most `most` of `count` frames, evenly spread and rounded down (the rule of RAS)."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most, dtype=np.int64)


def encode_crops(clip: ClipEncoder, crops: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """CLIP's features [D] of each crop uint8 [S, S, 3] RGB, not of unit length."""
    return list(picture_features(clip, crops))


def recognise(
    model: ClipDynamicFace,
    crops: Path,
    faces: pd.DataFrame,
    windows: Windows,
    *,
    which: Which = "main",
    batches: Batches = in_batches,
    batch: int = BATCH,
) -> Scores:
    """Scores of a clip: per window one answer for the frames with a face, in the order of time.

    `faces` are rows of faces.parquet, `crops` the crops.npy they index, `batch` the crops or windows that go through a network
    at once. With `which="all"` the features of a frame's faces are averaged. `features` [N, width] are those of the head; the
    evidence has a row for each face that counted in a window, its `attention` the share of the mean over time that it has.
    """
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("dynamic_face", faces, windows, model.source)
    frames = kept["frame"].to_numpy(np.int64)
    numbers, first = np.unique(frames, return_index=True)
    chosen = _sequences(kept["time_s"].to_numpy(float)[first], windows)
    if not chosen.frames:
        return Scores.absent("dynamic_face", windows, "No face lies in any window.", source=model.source)
    kept = kept[np.isin(frames, numbers[np.unique(np.concatenate(chosen.frames))])].reset_index(drop=True)
    seen, features = _features(model, crops, kept, batches, batch)
    sequences = (features[np.searchsorted(seen, numbers[indices])] for indices in chosen.frames)
    answers = list(batches(answer_sequences, model.head, sequences, batch))
    return _scores(model, windows, chosen.windows, answers, _evidence(kept, chosen, numbers))


def _sequences(times: NDArray[np.float64], windows: Windows) -> FrameSequences:
    """The frames of each window at `times` (s, of the frames with a face, ascending) that the head sees."""
    inside = [np.flatnonzero(row) for row in windows_of(times, windows)]
    present = np.array([number for number, indices in enumerate(inside) if len(indices)], np.int64)
    return FrameSequences(present, [inside[number][sample_frames(len(inside[number]))] for number in present])


def _features(
    model: ClipDynamicFace, crops: Path, kept: pd.DataFrame, batches: Batches, batch: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Frames [F] and the features [F, D] of their faces, each crop encoded once."""
    shown = each_crop(crops, kept["face"].to_numpy(np.int64))
    found = np.stack(list(batches(encode_crops, model.clip, shown, batch)))
    frames = kept["frame"].to_numpy(np.int64)
    return np.unique(frames), frame_means(frames, found).astype(np.float32)


def _evidence(kept: pd.DataFrame, chosen: FrameSequences, numbers: NDArray[np.int64]) -> pd.DataFrame:
    """A row a window and face that the head saw there: `window frame time_s track_id attention`."""
    lengths = [len(indices) for indices in chosen.frames]
    seen = pd.DataFrame(
        {
            "window": np.repeat(chosen.windows, lengths),
            "frame": numbers[np.concatenate(chosen.frames)],
            "attention": np.repeat(1.0 / np.array(lengths), lengths),
        }
    )
    table = seen.merge(kept[["frame", "time_s", "track_id"]], on="frame", how="left", sort=False)
    shared = table.groupby(["window", "frame"])["frame"].transform("size")
    table["attention"] = (table["attention"] / shared).astype(np.float32)
    return table[["window", "frame", "time_s", "track_id", "attention"]]


def _scores(
    model: ClipDynamicFace, windows: Windows, numbers: NDArray[np.int64], answers: list[FaceScores], evidence: pd.DataFrame
) -> Scores:
    """The head's answers in the rows of their windows."""
    probabilities = np.full((len(windows), len(BASIC_EMOTIONS)), np.nan, np.float32)
    features = np.full((len(windows), model.head.width), np.nan, np.float32)
    for number, answer in zip(numbers, answers, strict=True):
        probabilities[number], features[number] = answer
    present = np.asarray(~np.isnan(probabilities).any(1))
    return Scores("dynamic_face", windows, probabilities, present, model.source, features=features, evidence=evidence)
