"""Static face: the expression of single face images, averaged over the frames of a window."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import BATCH
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.crops import iterate_crops
from data.scores import Scores, Source
from data.windows import Windows
from modalities.faces.windows import Which, chosen_faces, no_faces, window_means
from modalities.loading.side_by_side import one_thread_each
from modalities.static_face.described import once

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from modalities.static_face.network import StaticFaceNetwork

CLASSES = (*BASIC_EMOTIONS, "contempt")
"""What the network answers before contempt is left out."""
ON_PROCESSORS = 8
"""Images at once on a processor: their maps stay in its cache. Other devices get `BATCH`, which keeps them busy."""


@dataclass(frozen=True)
class StaticFace:
    """The loaded model: the network, where it runs, image side (pixels), temperature, and centroids [7, D]."""

    network: "StaticFaceNetwork"
    source: Source
    size: int
    temperature: float
    centroids: NDArray[np.float32]
    device: str = "cpu"


class FaceAnswers(NamedTuple):
    """Answers for B images: probabilities [B, 8] in the order of `CLASSES`, features [B, D]."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]

    @property
    def basic(self) -> NDArray[np.float32]:
        """Probabilities [B, 7] of the basic emotions, renormalised without contempt."""
        seven = self.probabilities[:, : len(BASIC_EMOTIONS)]
        return (seven / seven.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def load(path: Path | None = None, device: str = "cpu") -> StaticFace:
    """Read the shipped weights, or those of `path`; WeightsError when the file is not one of this network."""
    import torch

    from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint
    from modalities.static_face.network import StaticFaceNetwork, StaticFaceShape

    path = path or WEIGHTS_FOLDER / "static_face.safetensors"
    checkpoint = load_checkpoint(path)
    try:
        settings = checkpoint.settings
        network = StaticFaceNetwork(StaticFaceShape.of(settings["shape"]))
        missing = network.load_state_dict(checkpoint.network(), strict=False).missing_keys
        if [key for key in missing if not key.endswith("num_batches_tracked")]:
            raise KeyError(missing[0])
        centroids = checkpoint.tensors["centroids"].float().numpy()
        temperature = float(checkpoint.tensors["temperature"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not hold weights of the static face network ({error}); train or copy them again."
        ) from error
    source = Source("embedded", "MobileNet on FER+ votes", checkpoint.revision, str(settings.get("preprocessing", "")))
    network.folded().to(device).layers.to(_precision(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return StaticFace(network, source, int(settings["size"]), temperature, centroids, device)


def _grey(images: NDArray[np.uint8], size: int) -> "Tensor":
    """Images [B, H, W] or [B, H, W, 3] RGB, 0..255 -> grey [B, 1, size, size], 0..1, area-averaged."""
    import torch

    from modalities.static_face.network import resize

    pixels = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
    if pixels.ndim == 4:
        pixels = pixels @ torch.tensor([0.299, 0.587, 0.114])
    return resize(pixels[:, None], size)


def _precision(device: str) -> "torch.dtype":
    """bfloat16 where it is faster than float32: on accelerators, and on processors with instructions for it."""
    import torch

    half = device != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if half else torch.float32


def _answer(model: StaticFace, images: NDArray[np.uint8]) -> FaceAnswers:
    """Answers for one batch, as the network gives them in the precision of its device."""
    import torch

    from modalities.static_face.network import standardise

    pixels = standardise(_grey(images, model.size)).to(model.device, _precision(model.device))
    with torch.inference_mode():
        logits, features = model.network(pixels.contiguous(memory_format=torch.channels_last))
    probabilities = torch.softmax(logits.float() / model.temperature, 1)
    return FaceAnswers(probabilities.cpu().numpy(), features.float().cpu().numpy())


def _joined(parts: list[FaceAnswers], width: int) -> FaceAnswers:
    if not parts:
        return FaceAnswers(np.zeros((0, len(CLASSES)), np.float32), np.zeros((0, width), np.float32))
    return FaceAnswers(np.concatenate([p.probabilities for p in parts]), np.concatenate([p.features for p in parts]))


def describe_images(model: StaticFace, images: NDArray[np.uint8], batch: int | None = None) -> FaceAnswers:
    """Eight-class probabilities [B, 8] and features [B, D] of faces uint8 [B, H, W] (grey) or [B, H, W, 3] (RGB).

    InputError for another shape or type. Faces are expected framed as in FER2013: brows to chin fill the image.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise InputError(
            f"Face pictures must be uint8 [B, H, W] or [B, H, W, 3], not {images.dtype} {list(images.shape)}; convert them first."
        )
    size = batch or (ON_PROCESSORS if model.device == "cpu" else BATCH)
    with one_thread_each(model.device):
        parts = [_answer(model, images[start : start + size]) for start in range(0, len(images), size)]
    return _joined(parts, model.centroids.shape[1])


def score_images(model: StaticFace, images: NDArray[np.uint8], batch: int | None = None) -> NDArray[np.float32]:
    """Probabilities [B, 7] of the basic emotions of faces uint8 [B, H, W] or [B, H, W, 3]."""
    return describe_images(model, images, batch).basic


def describe_crops(model: StaticFace, crops: Path, rows: NDArray[np.int64]) -> FaceAnswers:
    """Answers for `rows` of a run folder's crops, read in pieces so that memory stays flat; the same rows are looked at once."""

    def describe() -> FaceAnswers:
        return _joined([describe_images(model, piece) for piece in iterate_crops(crops, rows)], model.centroids.shape[1])

    return once(model.network, crops, rows, describe)


def recognise(
    model: StaticFace, crops: Path, faces: pd.DataFrame, windows: Windows, *, which: Which = "main"
) -> Scores:
    """Scores of a clip: per window the plain mean over its frames, and over the faces of a frame first.

    `faces` are rows of faces.parquet, `crops` the crops.npy they index. Frames weigh the same, as in RAS (arXiv
    2507.02205); windows without a face are absent.
    """
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("static_face", faces, windows, model.source)
    answers = describe_crops(model, crops, kept["face"].to_numpy(np.int64))
    return window_means("static_face", kept, answers.basic, answers.features, windows, model.source)
