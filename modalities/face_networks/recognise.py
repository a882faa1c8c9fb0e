"""Static and dynamic face by any network of the table: pictures and clips in, probabilities of the basic emotions out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.crops import iterate_crops
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.face_networks.loading import load_weights
from modalities.face_networks.prepare import Picture, places_in_time, prepared, resized
from modalities.face_networks.registry import Kind, NetworkInput, NetworkRow
from modalities.faces.windows import chosen_faces, no_faces, window_means
from modalities.label_maps import basic_matrix, missing_note, to_basic
from modalities.loading.batching import Batches, in_batches
from modalities.loading.devices import precision_of

if TYPE_CHECKING:
    import torch

    from modalities.face_networks.parts.base import FaceNetwork

Which = Literal["main", "all"]


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


class FaceScores(NamedTuple):
    """The answer for one picture or clip: probabilities [7] in the order of `BASIC_EMOTIONS`, features [D]."""

    basic: NDArray[np.float32]
    features: NDArray[np.float32]


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
    _check(model)
    return model


def describe_pictures(model: FaceRecogniser, pictures: Sequence[Picture]) -> list[FaceScores]:
    """One answer for each RGB picture uint8 [H, W, 3]."""
    return describe_clips(model, [[picture] for picture in pictures])


class Told(NamedTuple):
    """A clip, pictures uint8 [H, W, 3], what is said of it ('' for nothing), and a feature [D] of what surrounds it."""

    pictures: Sequence[Picture]
    caption: str = ""
    context: NDArray[np.float32] | None = None


def describe_clips(model: FaceRecogniser, clips: Sequence[Sequence[Picture]]) -> list[FaceScores]:
    """One answer for each clip, a sequence of as many pictures uint8 [H, W, 3] for all."""
    return describe_told(model, [Told(clip) for clip in clips])


def describe_told(model: FaceRecogniser, clips: Sequence[Told]) -> list[FaceScores]:
    """The same for clips of which something may be known: networks with a caption stream, or with a context, are told it."""
    from scipy.special import softmax

    given = [one.caption for one in clips], [one.context for one in clips]
    logits, features = _answers(model, [one.pictures for one in clips], *given)
    return [FaceScores(*answer) for answer in zip(to_basic(softmax(logits, 1), model.matrix), features, strict=True)]


Contexts = Sequence[NDArray[np.float32] | None]
"""A feature [D] of what surrounds each picture or clip, None where there is none."""


def score_images(
    model: FaceRecogniser, images: Sequence[Picture] | Picture, batch: int = 32, contexts: Contexts | None = None
) -> NDArray[np.float32]:
    """Probabilities [B, 7] of face pictures uint8 [H, W, 3] in any sizes, in their `contexts` where the network takes some."""
    told = (Told([image], context=context) for image, context in zip(images, contexts or [None] * len(images), strict=True))
    return _stacked([answer.basic for answer in in_batches(describe_told, model, told, batch)])


def score_views(
    model: FaceRecogniser, clips: Sequence[NDArray[np.uint8]], batch: int = 8, contexts: Contexts | None = None,
    captions: Sequence[str] | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Probabilities [B, 7] of clips whose views are cut out already, uint8 [V, T, H, W, 3]; the mean over the views of each.

    What is known of the clips, `contexts` and `captions`, is for networks that take it.
    """
    known = zip(clips, captions or [""] * len(clips), contexts or [None] * len(clips), strict=True)
    views = [Told(list(view), caption, context) for clip, caption, context in known for view in clip]
    found = _stacked([answer.basic for answer in in_batches(describe_told, model, views, batch)])
    edges = np.cumsum([len(clip) for clip in clips])[:-1]
    return _stacked([part.mean(0) for part in np.split(found, edges)]) if clips else found


def views_of(model: FaceRecogniser, times: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Which of the frames at `times` (s) the network sees, for each of its views."""
    return places_in_time(times, model.reads)


def recognise_static(
    model: FaceRecogniser, crops: Path, faces: pd.DataFrame, windows: Windows, *, which: Which = "main",
    batches: Batches = in_batches, batch: int = 32,
) -> Scores:  # fmt: skip
    """Scores of a clip: per window the mean over its frames, and over the faces of a frame first; see `static_face.recognise`."""
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("static_face", faces, windows, model.source)
    answers = list(batches(describe_pictures, model, _crops(crops, kept["face"].to_numpy(np.int64)), batch))
    basic, features = (np.stack([answer[place] for answer in answers]) for place in (0, 1))
    return window_means("static_face", kept, basic, features, windows, model.source)


def recognise_dynamic(
    model: FaceRecogniser, crops: Path, faces: pd.DataFrame, windows: Windows, *, which: Which = "main",
    batches: Batches = in_batches, batch: int = 8, captions: Sequence[str] | None = None,
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
    items = (Told(_pictures(crops, each), text) for each, text in zip(rows, said, strict=True))
    scores = scores_of_sequences(model, windows, seen, list(batches(describe_told, model, items, batch)))
    return scores if captions is None else _with_captions(scores, captions)


# ---- sequences -----------------------------------------------------------------------------------------------------------


def _sequences(model: FaceRecogniser, kept: pd.DataFrame, windows: Windows) -> pd.DataFrame:
    """A row a face that the network is shown, in order: `sequence window frame time_s track_id face`."""
    parts: list[pd.DataFrame] = []
    inside = windows_of(kept["time_s"].to_numpy(float), windows)
    for window, row in enumerate(inside):
        for _, person in kept[row].groupby("track_id", sort=True):
            for places in views_of(model, person["time_s"].to_numpy(float)):
                parts.append(person.iloc[places].assign(sequence=len(parts), window=window))
    columns = ["sequence", "window", "frame", "time_s", "track_id", "face"]
    return pd.concat(parts)[columns].reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def _pictures(crops: Path, rows: NDArray[np.int64]) -> list[Picture]:
    """The crops of one sequence, each read once."""
    places, back = np.unique(rows, return_inverse=True)
    found = list(_crops(crops, places))
    return [found[place] for place in back]


def _crops(path: Path, rows: NDArray[np.int64]) -> Iterator[Picture]:
    for piece in iterate_crops(path, rows):
        yield from piece


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
    values = np.concatenate([np.stack([answer[place] for answer in answers]) for place in (0, 1)], 1)
    means = np.full((len(windows), values.shape[1]), np.nan, np.float32)
    for window in np.unique(owner):
        means[window] = values[owner == window].mean(0)
    present = np.asarray(~np.isnan(means[:, : len(BASIC_EMOTIONS)]).any(1))
    evidence = seen.groupby(["window", "frame", "time_s", "track_id"], sort=True).size().rename("attention").reset_index()
    evidence["attention"] = (evidence["attention"] / evidence.groupby("window")["attention"].transform("sum")).astype(np.float32)
    probabilities, features = means[:, : len(BASIC_EMOTIONS)], means[:, len(BASIC_EMOTIONS) :]
    return Scores("dynamic_face", windows, probabilities, present, model.source, features=features, evidence=evidence)


# ---- the network ---------------------------------------------------------------------------------------------------------


def _answers(
    model: FaceRecogniser, clips: Sequence[Sequence[Picture]], captions: Sequence[str] = (), contexts: Contexts = ()
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Logits [B, C] and features [B, D] of clips of as many pictures each."""
    import torch

    from modalities.face_networks.parts.base import FaceInputs
    from modalities.face_networks.parts.clip_tower import caption_tokens

    flat = [picture for clip in clips for picture in clip]
    shown = [flat, *(_parts_of(model, flat) if model.streams else ())]
    ready = [prepared(pictures, model.reads, model.device).to(model.dtype) for pictures in shown]
    inputs = FaceInputs(*(pixels.view(len(clips), -1, *pixels.shape[1:]) for pixels in ready))
    if any(captions):
        inputs = inputs._replace(caption=caption_tokens(captions).to(model.device))
    if any(one is not None for one in contexts):
        inputs = inputs._replace(context=_contexts(model, contexts))
    with torch.inference_mode():
        answer = model.network.answer(inputs)
    return answer.logits.double().cpu().numpy(), answer.features.float().cpu().numpy()


def _contexts(model: FaceRecogniser, contexts: Contexts) -> "torch.Tensor":
    """Contexts [B, D] for the network, NaN rows where there is none; InputError when it takes none, or of another length."""
    import torch

    length = getattr(getattr(model.network, "shape", None), "context", 0)
    for one in contexts:
        if one is not None and len(one) != length:
            takes = f"takes contexts of {length} numbers, not {len(one)}" if length else "takes no context"
            raise InputError(f"The network {model.row.name} {takes}; take context-face, trained with contexts of that length.")
    rows = [np.full(length, np.nan, np.float32) if one is None else one for one in contexts]
    return torch.from_numpy(np.stack(rows)).to(model.device, model.dtype)


def _parts_of(model: FaceRecogniser, pictures: Sequence[Picture]) -> tuple[Sequence[Picture], Sequence[Picture]]:
    """Landmarks and parsing masks of pictures, drawn at the network's size."""
    from modalities.face_networks.face_parts import part_pictures

    squares = resized(pictures, model.reads).round().byte().permute(0, 2, 3, 1).numpy()
    landmarks, parsing = part_pictures(squares, model.reads.size)
    return list(landmarks), list(parsing)


def _check(model: FaceRecogniser) -> None:
    """Whether network and labels go together, shown by one grey clip."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    logits, _ = _answers(model, [[grey] * (model.reads.frames if model.kind == "dynamic" else 1)])
    if logits.shape[1] != len(model.labels):
        raise WeightsError(
            f"The checkpoint of {model.row.name} has {logits.shape[1]} classes, but {len(model.labels)} labels are known for it "
            f"({', '.join(model.labels)}); name its own as 'labels' in a JSON file beside it."
        )


def _stacked(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, len(BASIC_EMOTIONS)), np.float32)
