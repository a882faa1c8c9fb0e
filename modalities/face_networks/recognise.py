"""Static and dynamic face by any network of the table: images and clips in, probabilities of the basic emotions out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import BATCH, LONG_BATCH
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.crops import each_crop
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.face_networks.loading import load_weights
from modalities.face_networks.prepare import prepared, resized, view_frames
from modalities.face_networks.registry import Kind, NetworkInput, NetworkRow
from modalities.faces.crops import Pixels
from modalities.faces.windows import FaceScores, Which, chosen_faces, no_faces, stack_answers, window_means
from modalities.label_maps import basic_matrix, missing_note, to_basic
from modalities.loading.batching import Batches, in_batches
from modalities.loading.devices import precision_of

if TYPE_CHECKING:
    import torch

    from modalities.face_networks.parts.base import FaceNetwork


@dataclass(frozen=True, eq=False)
class FaceRecogniser:
    """A network of the table with its weights, as one of the two branches.

    `labels` are those of its logits, `matrix` [C, 7] says which basic emotion each means; `streams`: landmarks and parsing masks
    are drawn for it; the rest is where and how it runs.
    """

    network: "FaceNetwork"
    row: NetworkRow
    reads: NetworkInput
    kind: Kind
    labels: tuple[str, ...]
    matrix: NDArray[np.float32]
    source: Source
    device: str
    dtype: "torch.dtype"
    streams: bool = False


def load(
    row: NetworkRow, kind: Kind, files: Sequence[Path], *, clip: Path | None = None, meanings: Path | None = None,
    streams: bool = False, device: str = "cpu", precision: Precision = "auto",
) -> FaceRecogniser:  # fmt: skip
    """A network with the weights of `files` (see `load_weights`); `meanings` is a user's own table of what its labels mean.

    `streams` draws landmarks and parsing masks for a network that takes them and was trained with them.
    """
    loaded = load_weights(row, kind, files, clip)
    matrix = basic_matrix(loaded.labels, row.name, meanings)
    dtype = precision_of(device, precision)
    network = loaded.network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    drawn = streams and {"landmarks", "parsing"} <= set(row.needs)
    parts = "landmarks and parsing drawn" if drawn else ""
    about = [f"{loaded.reads.said()}, {loaded.reads.resize}", parts, str(dtype).removeprefix("torch."), missing_note(matrix)]
    source = Source("network", row.name, loaded.revision, ", ".join(filter(None, about)))
    model = FaceRecogniser(network, row, loaded.reads, kind, loaded.labels, matrix, source, device, dtype, drawn)
    _check_labels(model)
    return model


def describe_images(model: FaceRecogniser, images: Sequence[Pixels]) -> list[FaceScores]:
    """One answer for each RGB image uint8 [H, W, 3]."""
    return describe_clips(model, [[image] for image in images])


class FaceClip(NamedTuple):
    """A clip, RGB images uint8 [H, W, 3], a caption of it ('' for none), and a feature [D] of what surrounds it."""

    images: Sequence[Pixels]
    caption: str = ""
    context: NDArray[np.float32] | None = None


def describe_clips(model: FaceRecogniser, clips: Sequence[Sequence[Pixels]]) -> list[FaceScores]:
    """One answer for each clip, a sequence of as many images uint8 [H, W, 3] for all."""
    return describe_with_context(model, [FaceClip(clip) for clip in clips])


def describe_with_context(model: FaceRecogniser, clips: Sequence[FaceClip]) -> list[FaceScores]:
    """The same for clips of which something may be known, for networks with a caption stream or with a context."""
    from scipy.special import softmax

    logits, features = _run(
        model, [one.images for one in clips], [one.caption for one in clips], [one.context for one in clips]
    )
    return [FaceScores(*answer) for answer in zip(to_basic(softmax(logits, 1), model.matrix), features, strict=True)]


Contexts = Sequence[NDArray[np.float32] | None]
"""A feature [D] of what surrounds each image or clip, None where there is none."""


def score_images(
    model: FaceRecogniser, images: Sequence[Pixels] | Pixels, batch: int = BATCH, contexts: Contexts | None = None
) -> NDArray[np.float32]:
    """Probabilities [B, 7] of face images uint8 [H, W, 3] in any sizes, in their `contexts` where the network takes some."""
    known = zip(images, contexts or [None] * len(images), strict=True)
    shown = (FaceClip([image], context=context) for image, context in known)
    return _stacked([answer.probabilities for answer in in_batches(describe_with_context, model, shown, batch)])


def score_views(
    model: FaceRecogniser, clips: Sequence[NDArray[np.uint8]], batch: int = LONG_BATCH, contexts: Contexts | None = None,
    captions: Sequence[str] | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Probabilities [B, 7] of clips whose views are cut out already, uint8 [V, T, H, W, 3]; the mean over the views of each.

    What is known of the clips, `contexts` and `captions`, is for networks that take it.
    """
    known = zip(clips, captions or [""] * len(clips), contexts or [None] * len(clips), strict=True)
    views = [FaceClip(list(view), caption, context) for clip, caption, context in known for view in clip]
    found = _stacked([answer.probabilities for answer in in_batches(describe_with_context, model, views, batch)])
    edges = np.cumsum([len(clip) for clip in clips])[:-1]
    return _stacked([part.mean(0) for part in np.split(found, edges)]) if clips else found


def views_of(model: FaceRecogniser, times: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Which of the frames at `times` (s) the network sees, for each of its views."""
    return view_frames(times, model.reads)


def recognise_static(
    model: FaceRecogniser, crops: Path, faces: pd.DataFrame, windows: Windows, *, which: Which = "main",
    batches: Batches = in_batches, batch: int = BATCH,
) -> Scores:  # fmt: skip
    """Scores of a clip: per window the mean over its frames, and over the faces of a frame first; see `static_face.recognise`."""
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("static_face", faces, windows, model.source)
    shown = each_crop(crops, kept["face"].to_numpy(np.int64))
    basic, features = stack_answers(list(batches(describe_images, model, shown, batch)))
    return window_means("static_face", kept, basic, features, windows, model.source)


def recognise_dynamic(
    model: FaceRecogniser, crops: Path, faces: pd.DataFrame, windows: Windows, *, which: Which = "main",
    batches: Batches = in_batches, batch: int = LONG_BATCH, captions: Sequence[str] | None = None,
) -> Scores:  # fmt: skip
    """Scores of a clip: per window the network's answer to the faces of each person there, meant over its views and people.

    `faces` are rows of faces.parquet, `crops` the crops.npy they index, `batch` the sequences that go through the network at
    once; `captions` says for each window what a network with a caption stream is told of it, '' for nothing, and InputError
    when the network has none. The evidence has a row for each face that was seen, its `attention` its share among them, and the
    source tells how many windows had a caption.
    """
    if captions is not None and "caption" not in model.row.needs:
        raise InputError(f"The network {model.row.name} reads no captions; leave dynamic_face.captions out, or take fineclip.")
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("dynamic_face", faces, windows, model.source)
    seen = _sequences(model, kept, windows)
    if seen.empty:
        return Scores.absent("dynamic_face", windows, "No face lies in any window.", source=model.source)
    rows = [group["face"].to_numpy(np.int64) for _, group in seen.groupby("sequence", sort=True)]
    owners = seen.groupby("sequence", sort=True)["window"].first()
    said = [""] * len(rows) if captions is None else [captions[window] for window in owners]
    shown = (FaceClip(_read_crops(crops, each), text) for each, text in zip(rows, said, strict=True))
    scores = scores_of_sequences(model, windows, seen, list(batches(describe_with_context, model, shown, batch)))
    return scores if captions is None else _with_captions(scores, captions)


# ---- sequences -----------------------------------------------------------------------------------------------------------


def _sequences(model: FaceRecogniser, kept: pd.DataFrame, windows: Windows) -> pd.DataFrame:
    """A row a face that the network is shown, in order: `sequence window frame time_s track_id face`."""
    parts: list[pd.DataFrame] = []
    inside = windows_of(kept["time_s"].to_numpy(float), windows)
    for window, row in enumerate(inside):
        for _, person in kept[row].groupby("track_id", sort=True):
            for frames in views_of(model, person["time_s"].to_numpy(float)):
                parts.append(person.iloc[frames].assign(sequence=len(parts), window=window))
    columns = ["sequence", "window", "frame", "time_s", "track_id", "face"]
    return pd.concat(parts)[columns].reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def _read_crops(crops: Path, rows: NDArray[np.int64]) -> list[Pixels]:
    """The crops of one sequence, each read once though a short sequence repeats its last frame."""
    different, index = np.unique(rows, return_inverse=True)
    found = list(each_crop(crops, different))
    return [found[number] for number in index]


def _with_captions(scores: Scores, captions: Sequence[str]) -> Scores:
    """The scores with what the network was told of each window in the evidence, and of how many in the source."""
    told = sum(bool(text) for text, here in zip(captions, scores.present, strict=True) if here)
    said = f"captions of the scene in {told} of {int(scores.present.sum())} windows"
    assert scores.source is not None
    source = replace(scores.source, preprocessing=f"{scores.source.preprocessing}, {said}")
    evidence = scores.evidence.assign(caption=[captions[window] for window in scores.evidence["window"]])
    return replace(scores, source=source, evidence=evidence)


def scores_of_sequences(model: FaceRecogniser, windows: Windows, seen: pd.DataFrame, answers: list[FaceScores]) -> Scores:
    """Answers in the rows of their windows; every sequence of a window weighs the same.

    seen: a row a face that was shown, `sequence window frame time_s track_id`, the sequences numbered as the answers are.
    """
    owner = seen.groupby("sequence")["window"].first().to_numpy(np.int64)
    values = np.concatenate(stack_answers(answers), 1)
    means = np.full((len(windows), values.shape[1]), np.nan, np.float32)
    for window in np.unique(owner):
        means[window] = values[owner == window].mean(0)
    present = np.asarray(~np.isnan(means[:, : len(BASIC_EMOTIONS)]).any(1))
    evidence = seen.groupby(["window", "frame", "time_s", "track_id"], sort=True).size().rename("attention").reset_index()
    evidence["attention"] = (evidence["attention"] / evidence.groupby("window")["attention"].transform("sum")).astype(np.float32)
    probabilities, features = means[:, : len(BASIC_EMOTIONS)], means[:, len(BASIC_EMOTIONS) :]
    return Scores("dynamic_face", windows, probabilities, present, model.source, features=features, evidence=evidence)


# ---- the network ---------------------------------------------------------------------------------------------------------


def _run(
    model: FaceRecogniser, clips: Sequence[Sequence[Pixels]], captions: Sequence[str] = (), contexts: Contexts = ()
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Logits [B, C] and features [B, D] of clips of as many images each."""
    import torch

    from modalities.face_networks.parts.base import FaceInputs
    from modalities.face_networks.parts.clip_tower import caption_tokens

    flat = [image for clip in clips for image in clip]
    shown = [flat, *(_draw_parts(model, flat) if model.streams else ())]
    ready = [prepared(images, model.reads, model.device).to(model.dtype) for images in shown]
    inputs = FaceInputs(*(pixels.view(len(clips), -1, *pixels.shape[1:]) for pixels in ready))
    if any(captions):
        inputs = inputs._replace(caption=caption_tokens(captions).to(model.device))
    if any(one is not None for one in contexts):
        inputs = inputs._replace(context=_stack_contexts(model, contexts))
    with torch.inference_mode():
        answer = model.network.answer(inputs)
    return answer.logits.double().cpu().numpy(), answer.features.float().cpu().numpy()


def _stack_contexts(model: FaceRecogniser, contexts: Contexts) -> "torch.Tensor":
    """Contexts [B, D] for the network, NaN rows where there is none; InputError when it takes none, or of another length."""
    import torch

    length = getattr(getattr(model.network, "shape", None), "context", 0)
    for one in contexts:
        if one is not None and len(one) != length:
            takes = f"takes contexts of {length} numbers, not {len(one)}" if length else "takes no context"
            raise InputError(f"The network {model.row.name} {takes}; take context-face, trained with contexts of that length.")
    rows = [np.full(length, np.nan, np.float32) if one is None else one for one in contexts]
    return torch.from_numpy(np.stack(rows)).to(model.device, model.dtype)


def _draw_parts(model: FaceRecogniser, images: Sequence[Pixels]) -> tuple[Sequence[Pixels], Sequence[Pixels]]:
    """Landmarks and parsing masks of images, drawn at the network's size."""
    from modalities.face_networks.face_parts import draw_parts

    squares = resized(images, model.reads).round().byte().permute(0, 2, 3, 1).numpy()
    landmarks, parsing = draw_parts(squares, model.reads.size)
    return list(landmarks), list(parsing)


def _check_labels(model: FaceRecogniser) -> None:
    """WeightsError unless network and labels go together, as the answer to one grey clip shows."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    logits, _ = _run(model, [[grey] * (model.reads.frames if model.kind == "dynamic" else 1)])
    if logits.shape[1] != len(model.labels):
        raise WeightsError(
            f"The checkpoint of {model.row.name} has {logits.shape[1]} classes, but {len(model.labels)} labels are known for it "
            f"({', '.join(model.labels)}); name its own as 'labels' in a JSON file beside it."
        )


def _stacked(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, len(BASIC_EMOTIONS)), np.float32)
