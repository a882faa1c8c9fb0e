"""From answers for single faces to scores of windows: what the backends of both face modalities share."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.scores import Scores, Source
from data.windows import Windows, windows_of

Which = Literal["main", "all"]
"""The faces that count: those of a shot's main track, or all of them."""


class FaceScores(NamedTuple):
    """The answer for one image or sequence of a face: features [D], where D may be 0, and probabilities [7].

    These are in the order of `BASIC_EMOTIONS`.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]


def stack_answers(answers: Sequence[FaceScores]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The probabilities [B, 7] and features [B, D] of B answers, B at least 1."""
    return np.stack([answer.probabilities for answer in answers]), np.stack([answer.features for answer in answers])


def chosen_faces(faces: pd.DataFrame, which: Which) -> pd.DataFrame:
    """The rows of the main track, or all of them, in the order of time."""
    kept = faces if which == "all" else faces[faces["main"].astype(bool)]
    return kept.sort_values(["time_s", "face"], kind="stable").reset_index(drop=True)


def frame_means(frames: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Means of `values` [M, D] over the rows of the same frame -> [F, D], frames ascending."""
    _, index, count = np.unique(frames, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), values.shape[1]))
    np.add.at(total, index, values)
    return total / count[:, None]


def no_faces(modality: str, faces: pd.DataFrame, windows: Windows, source: Source) -> Scores:
    """The absent answer of a face modality, with the reason."""
    reason = "No face was found in the clip." if faces.empty else "No face belongs to a main track."
    remedy = "Use a clip with a face of at least 40 pixels that looks to the camera."
    return Scores.absent(modality, windows, reason, remedy, source)


def face_table(kept: pd.DataFrame, basic: NDArray[np.float32]) -> pd.DataFrame:
    """One row a face: frame, time_s, track_id and its seven probabilities."""
    return kept[["frame", "time_s", "track_id"]].assign(**dict(zip(BASIC_EMOTIONS, basic.T, strict=True)))


def window_means(
    modality: str,
    kept: pd.DataFrame,
    basic: NDArray[np.float32],
    features: NDArray[np.float32],
    windows: Windows,
    source: Source | None,
) -> Scores:
    """Scores from answers for single faces: the mean over the faces of a frame, then over the frames of a window.

    `kept` [M] are the rows of the faces, `basic` [M, 7] their probabilities, `features` [M, D] (D may be 0: then none).
    """
    frames, first = np.unique(kept["frame"].to_numpy(np.int64), return_index=True)
    inside = windows_of(kept["time_s"].to_numpy(float)[first], windows)
    per_frame = frame_means(kept["frame"].to_numpy(np.int64), np.concatenate([basic, features], 1))
    present = np.asarray(inside.any(1))
    means = np.full((len(windows), per_frame.shape[1]), np.nan, np.float32)
    means[present] = (inside @ per_frame)[present] / inside[present].sum(1, keepdims=True)
    return Scores(
        modality, windows, means[:, : len(BASIC_EMOTIONS)], present, source,
        features=means[:, len(BASIC_EMOTIONS) :] if features.shape[1] else None, evidence=face_table(kept, basic),
    )  # fmt: skip
