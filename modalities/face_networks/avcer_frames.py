"""AVCER's answers frame by frame, as its release gives them (arXiv 2403.12687): a buffer of features, held answers, resets.

Every `step`-th frame with a face puts its feature into a buffer of ten and is answered; frames between keep that answer; a frame
without a face empties the buffer and repeats what was answered before it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import LONG_BATCH
from data.errors import InputError
from data.media.crops import each_crop
from data.scores import Scores
from data.windows import Windows, windows_of
from modalities.face_networks.prepare import FRAME_RATE, prepared
from modalities.face_networks.recognise import FaceRecogniser, scores_of_sequences
from modalities.faces.crops import Pixels
from modalities.faces.windows import FaceScores, Which, chosen_faces, no_faces
from modalities.label_maps import to_basic
from modalities.loading.batching import Batches, in_batches

BUFFER = 10
"""Features that the network over time sees."""
STRIDE = 5
"""Frames of 25 a second from one of them to the next."""


class FrameAnswers(NamedTuple):
    """Answers for N frames, zeros where the release has none yet: `static` [N, C] probabilities, `dynamic` [N, D]."""

    static: NDArray[np.float64]
    dynamic: NDArray[np.float64]


def step_of(frames_per_second: float) -> int:
    """Frames from one that is answered to the next, a fifth of a second; halves are rounded to even, as the release does."""
    return max(round(STRIDE * frames_per_second / FRAME_RATE), 1)


def buffers_of(
    features: NDArray[np.float32], seen: NDArray[np.bool_], step: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The frames that are answered [K] and what the network over time sees at each [K, 10, D].

    features: [N, D] before the ReLU, rows without a face (`seen` [N] False) are not read. The first feature of a buffer
    fills all ten of its steps.
    """
    answered: list[int] = []
    buffers: list[NDArray[np.float32]] = []
    buffer: list[NDArray[np.float32]] = []
    for frame in range(len(seen)):
        if not seen[frame]:
            buffer = []
        elif frame % step == 0:
            feature = np.maximum(features[frame], 0)
            buffer = [*buffer[1:], feature] if buffer else [feature] * BUFFER
            answered.append(frame)
            buffers.append(np.stack(buffer))
    width = features.shape[1]
    return np.array(answered, np.int64), np.stack(buffers) if buffers else np.zeros((0, BUFFER, width), np.float32)


def held(answers: NDArray[np.float64], frames: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Answers [K, D] at `frames` [K] of `count`, kept until the next one: [count, D], zeros before the first."""
    last = np.searchsorted(frames, np.arange(count), side="right") - 1
    kept = np.concatenate([np.zeros((1, answers.shape[1])), answers])
    return np.asarray(kept[last + 1])


def frame_answers(
    static: NDArray[np.float64], features: NDArray[np.float32], seen: NDArray[np.bool_], step: int,
    answer: Callable[[NDArray[np.float32]], NDArray[np.float64]],
) -> FrameAnswers:  # fmt: skip
    """What the release answers for each of N frames.

    static: probabilities [N, C] of single frames; answer: buffers [K, 10, D] -> the answers of the network over time. A frame
    without a face repeats the answers of the frame before it, and has zeros in both while nothing was answered over time.
    """
    answered, buffers = buffers_of(features, seen, step)
    count, first = len(seen), int(answered[0]) if len(answered) else len(seen)
    rows = np.full(count, count)  # the row after the last one is all zeros
    for frame in range(count):
        rows[frame] = frame if seen[frame] else rows[frame - 1] if frame > first else count
    found = answer(buffers) if len(answered) else np.zeros((0, static.shape[1]))
    return FrameAnswers(np.concatenate([static, np.zeros((1, static.shape[1]))])[rows], held(found, answered, count))


# ---- a clip --------------------------------------------------------------------------------------------------------------


def recognise_frames(
    model: FaceRecogniser, crops: Path, faces: pd.DataFrame, times: pd.DataFrame, windows: Windows, *, which: Which = "main",
    batches: Batches = in_batches, batch: int = LONG_BATCH,
) -> Scores:  # fmt: skip
    """Scores of a clip: per window the mean of the answers over time to its frames.

    Each person's track is answered from its first face to its last one.

    times: `frame` and `time_s` of the frames that faces were looked for in; the other arguments are those of `recognise_dynamic`.
    Frames before the first answer do not count. InputError when the network is not AVCER's.
    """
    from modalities.face_networks.papers.emo_affect_net import AvcerDynamic

    if not isinstance(model.network, AvcerDynamic):
        raise InputError(f"The network {model.row.name} answers clips; dynamic_face.by_frames is for avcer.")
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("dynamic_face", faces, windows, model.source)
    shown = each_crop(crops, kept["face"].to_numpy(np.int64))
    features = np.stack(list(batches(_face_features, model, shown, batch * BUFFER)))
    parts = [_answer_track(model, rows, features[rows.index], times) for _, rows in kept.groupby("track_id", sort=True)]
    frames, answers = pd.concat([part[0] for part in parts]), [one for part in parts for one in part[1]]
    window, index = np.nonzero(windows_of(frames["time_s"].to_numpy(float), windows))
    if not len(window):
        return Scores.absent("dynamic_face", windows, "No frame of any window is answered.", source=model.source)
    seen = frames.iloc[index].assign(sequence=np.arange(len(index)), window=window).reset_index(drop=True)
    return scores_of_sequences(model, windows, seen, [answers[one] for one in index.tolist()])


def _face_features(model: FaceRecogniser, images: Sequence[Pixels]) -> list[NDArray[np.float32]]:
    """Features [D] of faces before the ReLU."""
    import torch

    from modalities.face_networks.papers.emo_affect_net import AvcerDynamic

    assert isinstance(model.network, AvcerDynamic)
    with torch.inference_mode():
        found = model.network.trunk.features(prepared(images, model.reads, model.device).to(model.dtype))
    return list(found.float().cpu().numpy())


def _answer_track(
    model: FaceRecogniser, rows: pd.DataFrame, features: NDArray[np.float32], times: pd.DataFrame
) -> tuple[pd.DataFrame, list[FaceScores]]:
    """`frame time_s track_id` of the frames of a track that have an answer, and the answers."""
    import torch
    from scipy.special import softmax

    from modalities.face_networks.papers.emo_affect_net import AvcerDynamic

    assert isinstance(model.network, AvcerDynamic)
    looked = times[times["frame"].between(rows["frame"].min(), rows["frame"].max())].reset_index(drop=True)
    row = pd.Series(np.arange(len(rows)), index=rows["frame"]).reindex(looked["frame"]).to_numpy(float)
    seen = np.isfinite(row)
    whole = np.zeros((len(looked), features.shape[1]), np.float32)
    whole[seen] = features[row[seen].astype(np.int64)]
    buffered, buffers = buffers_of(whole, seen, step_of(_frame_rate(times)))
    with torch.inference_mode():
        found = model.network.head(torch.from_numpy(buffers).to(model.device, model.dtype))
    basic = to_basic(softmax(found.logits.double().cpu().numpy(), 1), model.matrix)
    states = found.features.float().cpu().numpy()
    owner = held(np.arange(1.0, len(buffered) + 1)[:, None], buffered, len(looked))[:, 0].astype(np.int64) - 1
    answered = owner >= 0
    frames = looked.loc[answered, ["frame", "time_s"]].assign(track_id=rows["track_id"].iloc[0])
    return frames, [FaceScores(basic[one], states[one]) for one in owner[answered].tolist()]


def _frame_rate(times: pd.DataFrame) -> float:
    """Frames looked at in a second."""
    apart = np.diff(times["time_s"].to_numpy(float))
    return 1.0 / float(np.median(apart)) if len(apart) and np.median(apart) > 0 else FRAME_RATE
