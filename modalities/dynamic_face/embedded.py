"""Dynamic face: the expression of a face over the frames of a window, seen as one movement."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.faces.windows import Which, chosen_faces, no_faces
from modalities.static_face.embedded import FaceAnswers, StaticFace, describe_crops, describe_images
from modalities.static_face.embedded import load as load_static

if TYPE_CHECKING:
    from modalities.dynamic_face.network import DynamicFaceNetwork

LENGTH = 20
"""Frames of a sequence at most; a longer one is thinned evenly (RAS, arXiv 2507.02205, takes 20 of 4 s)."""

FRAME_GAP = 0.2
"""Seconds between frames where no times are given."""


@dataclass(frozen=True)
class DynamicFace:
    """The loaded model: temporal network, the static model it looks through, temperature, and centroids [7, D]."""

    network: "DynamicFaceNetwork"
    static: StaticFace
    source: Source
    temperature: float
    centroids: NDArray[np.float32]
    device: str = "cpu"


class FaceSequence(NamedTuple):
    """At most `LENGTH` frames: their rows in the table of faces and their times (s)."""

    rows: NDArray[np.int64]
    times: NDArray[np.float64]


class SequenceAnswers(NamedTuple):
    """Answers for B sequences: probabilities [B, 7], features [B, D], attention: one vector a sequence, over its frames."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    attention: list[NDArray[np.float32]]


def load(path: Path | None = None, static: StaticFace | None = None, device: str = "cpu") -> DynamicFace:
    """Read the shipped weights, or those of `path`; `static` is the static model they were trained over.

    WeightsError when the file is not one of this network, or was trained over another static model.
    """
    from modalities.dynamic_face.network import DynamicFaceNetwork, DynamicFaceShape
    from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint

    path, static = path or WEIGHTS_FOLDER / "dynamic_face.safetensors", static or load_static(device=device)
    checkpoint = load_checkpoint(path)
    try:
        network = DynamicFaceNetwork(DynamicFaceShape(**checkpoint.settings["shape"]))
        network.load_state_dict({key: value.float() for key, value in checkpoint.network().items()})
        centroids, temperature = checkpoint.tensors["centroids"].float().numpy(), checkpoint.tensors["temperature"]
        trained_over = checkpoint.settings["static_revision"]
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not hold weights of the dynamic face network ({error}); train or copy them again."
        ) from error
    if trained_over != static.source.revision:
        raise WeightsError(
            f"{path} was trained over the static face weights {trained_over}, not {static.source.revision}; "
            "train the dynamic face again, or give the static weights it was trained over."
        )
    model = "temporal network over the static face's features"
    source = Source("embedded", model, checkpoint.revision, f"at most {LENGTH} faces of a window, through the static face")
    return DynamicFace(network.eval().to(device), static, source, float(temperature), centroids, device)


def thin(count: int, most: int = LENGTH) -> NDArray[np.int64]:
    """Indices of at most `most` of `count` frames, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def gaps_of(times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Seconds since the frame before, [T]; the first has `FRAME_GAP`."""
    return np.diff(times, prepend=times[0] - FRAME_GAP).astype(np.float32)


def _answer_batch(model: DynamicFace, answers: FaceAnswers, batch: list[FaceSequence]) -> SequenceAnswers:
    """One batch of sequences over the static answers of all faces."""
    import torch

    rows = np.zeros((len(batch), LENGTH), np.int64)
    gaps, mask = np.zeros(rows.shape, np.float32), np.zeros(rows.shape, bool)
    for number, sequence in enumerate(batch):
        count = len(sequence.rows)
        rows[number, :count], mask[number, :count] = sequence.rows, True
        gaps[number, :count] = gaps_of(sequence.times)
    logs = np.log(np.maximum(answers.probabilities, 1e-6))
    inputs = [torch.from_numpy(part).to(model.device) for part in (answers.features[rows], logs[rows], gaps, mask)]
    with torch.inference_mode():
        found = model.network(*inputs)
        seven = torch.softmax(found.logits[:, : len(BASIC_EMOTIONS)] / model.temperature, 1)
    weights = found.attention.cpu().numpy()
    attention = [weights[number, : len(sequence.rows)] for number, sequence in enumerate(batch)]
    return SequenceAnswers(seven.cpu().numpy(), found.features.cpu().numpy(), attention)


def answer_sequences(
    model: DynamicFace, answers: FaceAnswers, sequences: Sequence[FaceSequence], batch: int = 256
) -> SequenceAnswers:
    """Answers for sequences of rows in the static model's `answers` (none of them empty)."""
    starts = range(0, len(sequences), batch)
    parts = [_answer_batch(model, answers, list(sequences[start : start + batch])) for start in starts]
    attention = [weights for part in parts for weights in part.attention]
    if not parts:
        width = model.centroids.shape[1]
        return SequenceAnswers(np.zeros((0, 7), np.float32), np.zeros((0, width), np.float32), attention)
    probabilities = np.concatenate([part.probabilities for part in parts])
    return SequenceAnswers(probabilities, np.concatenate([part.features for part in parts]), attention)


def score_sequences(
    model: DynamicFace,
    sequences: Sequence[NDArray[np.uint8]],
    times: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.float32]:
    """Probabilities [B, 7] of sequences of face crops uint8 [T, H, W] or [T, H, W, 3]; NaN rows for empty ones.

    `times` [T] of each sequence are in seconds; without them frames lie `FRAME_GAP` apart.
    """
    result = np.full((len(sequences), len(BASIC_EMOTIONS)), np.nan, np.float32)
    for number, images in enumerate(sequences):
        if len(images):
            seen = thin(len(images))
            answers = describe_images(model.static, images[seen])
            when = np.arange(len(images)) * FRAME_GAP if times is None else times[number]
            whole = FaceSequence(np.arange(len(seen)), np.asarray(when[seen], np.float64))
            result[number] = answer_sequences(model, answers, [whole]).probabilities[0]
    return result


def _sequences(kept: pd.DataFrame, windows: Windows) -> tuple[NDArray[np.int64], list[FaceSequence]]:
    """Every track's sequence in each window, and the number of its window; a cut in a window starts another track."""
    times, tracks = kept["time_s"].to_numpy(float), kept["track_id"].to_numpy()
    numbers, sequences = [], []
    for number, inside in enumerate(windows_of(times, windows)):
        for track in np.unique(tracks[inside]):
            rows = np.flatnonzero(inside & (tracks == track))
            rows = rows[thin(len(rows))]
            numbers.append(number)
            sequences.append(FaceSequence(rows, times[rows]))
    return np.array(numbers, np.int64), sequences


def _window_means(
    numbers: NDArray[np.int64], sequences: Sequence[FaceSequence], values: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Means [count, D] of the sequences' `values` with the same number, weighted by their frames; NaN where there is none."""
    frames = np.array([len(sequence.rows) for sequence in sequences], np.float64)
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, numbers, values * frames[:, None])
    weight = np.bincount(numbers, frames, minlength=count)[:, None]
    return np.where(weight > 0, total / np.maximum(weight, 1), np.nan).astype(np.float32)


def _attention_table(
    kept: pd.DataFrame, numbers: NDArray[np.int64], sequences: list[FaceSequence], found: SequenceAnswers
) -> pd.DataFrame:
    """One row a window and frame: which frames the answer rests on."""
    rows = np.concatenate([sequence.rows for sequence in sequences])
    window = np.repeat(numbers, [len(sequence.rows) for sequence in sequences])
    table = kept.iloc[rows][["frame", "time_s", "track_id"]].reset_index(drop=True)
    table.insert(0, "window", window)
    return table.assign(attention=np.concatenate(found.attention))


def recognise(
    model: DynamicFace, crops: Path, faces: pd.DataFrame, windows: Windows, *, which: Which = "main"
) -> Scores:
    """Scores of a clip: per window one answer for the main track's faces in the order of time.

    With `which="all"` every track in the window is a sequence and their answers are averaged. `faces` are rows of
    faces.parquet, `crops` the crops.npy they index; the static features are those of the static face, whichever of the two, which
    run at the same time, asks first. The evidence says how much each frame of a window counted.
    """
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("dynamic_face", faces, windows, model.source)
    answers = describe_crops(model.static, crops, kept["face"].to_numpy(np.int64))
    numbers, sequences = _sequences(kept, windows)
    if not sequences:
        return Scores.absent("dynamic_face", windows, "No face lies in any window.", source=model.source)
    found = answer_sequences(model, answers, sequences)
    probabilities = _window_means(numbers, sequences, found.probabilities, len(windows))
    return Scores(
        "dynamic_face", windows, probabilities, ~np.isnan(probabilities[:, 0]), model.source,
        features=_window_means(numbers, sequences, found.features, len(windows)),
        evidence=_attention_table(kept, numbers, sequences, found),
    )  # fmt: skip
