"""Quality: how well a modality could see or hear a window, from what its scores rest on; the same measures for single inputs.

The gates of a conditional fusion see it (`dyad fuse fit` with the column `quality`, and a run that is fused by such a fit):

    faces   sqrt(side / (side + 64) * sharpness / (sharpness + 0.004)): side (pixels) the root of width x height of the face in
            the image as shown, sharpness as in faces.parquet; the mean over the faces that the answer rests on
    voice   seconds of speech / seconds of the window
    words   n / (n + 5), n the number of words said in the window

Each lies in 0..1, more is better, and is unknown (NaN) where there is no answer. Of scene labels, of descriptions and of
probabilities that are brought without it, quality is unknown.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.scores import Scores
from data.windows import Windows, windows_of
from modalities.faces.crops import Pixels, sharpness_of

Quality = NDArray[np.float32]
SIDE, SHARPNESS, WORDS = 64.0, 0.004, 5.0
"""Of a face's side (pixels), of its sharpness, and of the number of words: where each share is one half."""


def face_quality(side: ArrayLike, sharpness: ArrayLike) -> Quality:
    """Of faces with these sides (pixels) and sharpnesses (variance of the Laplacian); NaN where either is."""
    sides, edges = np.asarray(side, np.float64), np.asarray(sharpness, np.float64)
    return np.asarray(np.sqrt(sides / (sides + SIDE) * edges / (edges + SHARPNESS)), np.float32)


def image_quality(images: Sequence[Pixels] | Pixels) -> Quality:
    """Of images that each show a face alone, uint8 [H, W] or [H, W, 3]: an image's size counts as the face's."""
    coloured = [image if image.ndim == 3 else np.repeat(image[..., None], 3, 2) for image in images]
    sides = [float(np.sqrt(image.shape[0] * image.shape[1])) for image in coloured]
    return face_quality(sides, [sharpness_of(image) for image in coloured])


def speech_quality(speech: ArrayLike, seconds: ArrayLike) -> Quality:
    """Of audio of so many seconds with so many seconds of speech."""
    length = np.maximum(np.asarray(seconds, np.float64), 1e-9)
    return np.asarray(np.clip(np.asarray(speech, np.float64) / length, 0.0, 1.0), np.float32)


def words_quality(texts: Sequence[str]) -> Quality:
    """Of texts, by the number of their words."""
    counts = np.array([len(text.split()) for text in texts], np.float64)
    return np.asarray(counts / (counts + WORDS), np.float32)


def window_quality(scores: Scores, faces: pd.DataFrame) -> Quality:
    """Of each window [N] of a modality's scores, NaN where unknown; `faces` are the rows of faces.parquet (may be empty).

    Scores that bring their quality keep it.
    """
    if scores.quality is not None:
        return scores.quality
    measure = {"static_face": _of_faces, "dynamic_face": _of_faces, "voice": _of_speech, "text": _of_words}.get(scores.modality)
    found = np.full(len(scores.windows), np.nan, np.float32)
    if measure is not None and not scores.evidence.empty:
        found = measure(scores.evidence, faces, scores.windows)
    return np.where(scores.present, found, np.nan).astype(np.float32)


def _of_faces(evidence: pd.DataFrame, faces: pd.DataFrame, windows: Windows) -> Quality:
    """Mean over the faces of the evidence, each found among `faces` by its frame and track."""
    if faces.empty or not {"frame", "track_id"} <= set(evidence.columns):
        return np.full(len(windows), np.nan, np.float32)
    sides = np.sqrt(faces["width"].to_numpy(np.float64) * faces["height"].to_numpy(np.float64))
    measured = faces[["frame", "track_id"]].assign(quality=face_quality(sides, faces["sharpness"]))
    measured = measured.drop_duplicates(["frame", "track_id"])
    rows = evidence.merge(measured, on=["frame", "track_id"], how="inner")
    inside = windows_of(rows["time_s"].to_numpy(np.float64), windows)
    if "window" in rows:
        inside = rows["window"].to_numpy()[None, :] == np.arange(len(windows))[:, None]
    counts, total = inside.sum(1), inside @ rows["quality"].to_numpy(np.float64)
    return np.asarray(np.where(counts > 0, total / np.maximum(counts, 1), np.nan), np.float32)


def _of_speech(evidence: pd.DataFrame, _: pd.DataFrame, windows: Windows) -> Quality:
    seconds = _by_window(evidence, "speech_seconds", windows)
    return speech_quality(seconds, windows[:, 1] - windows[:, 0])


def _of_words(evidence: pd.DataFrame, _: pd.DataFrame, windows: Windows) -> Quality:
    told = pd.Series(words_quality([str(text) for text in evidence["text"]]), index=evidence["window"])
    return np.asarray(told.groupby(level=0).first().reindex(range(len(windows))), np.float32)


def _by_window(evidence: pd.DataFrame, column: str, windows: Windows) -> NDArray[np.float64]:
    """The value [N] that all rows of a window share; NaN for a window without rows."""
    return np.asarray(evidence.groupby("window")[column].first().reindex(range(len(windows))), np.float64)
