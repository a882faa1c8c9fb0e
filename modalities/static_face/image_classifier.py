"""Static face by any image classifier of transformers (ViT, Swin, ConvNeXt, ResNet, BEiT ...) in a local folder."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import BATCH
from data.errors import InputError, WeightsError
from data.media.crops import each_crop
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Windows
from modalities.faces.crops import Pixels
from modalities.faces.windows import FaceScores, Which, chosen_faces, no_faces, stack_answers, window_means
from modalities.label_maps import basic_matrix, label_names, missing_note, to_basic
from modalities.loading.batching import Batches, in_batches
from modalities.loading.devices import precision_of
from modalities.loading.pretrained import digest_of, load_config, load_network, loading_errors, name_of, quiet
from modalities.model_store.local import what_is_missing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OTHER = "give an image classifier"


@dataclass(frozen=True, eq=False)
class ImageClassifier:
    """A loaded classifier in evaluation mode with its own image processor.

    `labels` are the network's, `matrix` [L, 7] says which basic emotion each means. `width` is the length of the features
    that the network's last layer reads; 0 where there is no such single layer, and then no features are given. `several` is
    True for a network whose labels do not exclude each other (their probabilities are sigmoids).
    """

    network: Any
    processor: Any
    labels: tuple[str, ...]
    matrix: NDArray[np.float32]
    width: int
    several: bool
    source: Source
    device: str
    dtype: "torch.dtype"


def load_image_classifier(
    folder: Path, *, labels: Path | None = None, device: str = "cpu", precision: Precision = "auto"
) -> ImageClassifier:
    """Load a folder as save_pretrained writes it: config.json, weights, preprocessor_config.json.

    `labels` is a user's own table of what the network's labels mean. WeightsError for files that are missing, damaged or of
    another kind of network; InputError, with the table to fill in, for labels that nobody has explained.
    """
    config = _config(folder)
    names = label_names(config.id2label)
    matrix = basic_matrix(names, str(folder), labels)
    dtype = precision_of(device, precision)
    processor, network = _processor(folder), load_network("AutoModelForImageClassification", folder, dtype)
    network = network.to(device).eval().requires_grad_(False)
    about = [type(processor).__name__, str(dtype).removeprefix("torch."), missing_note(matrix)]
    source = Source("transformers", name_of(folder), digest_of(folder), ", ".join(filter(None, about)))
    several = config.problem_type == "multi_label_classification"
    model = ImageClassifier(network, processor, tuple(names), matrix, 0, several, source, device, dtype)
    with loading_errors(f"The image processor in {folder} does not prepare pictures as its network wants them"):
        return _keep_features(model)


def describe_images(model: ImageClassifier, images: Sequence[Pixels]) -> list[FaceScores]:
    """One answer for each RGB image uint8 [H, W, 3], all in one go; InputError for another shape or type."""
    from scipy.special import expit, softmax

    answers = _logits(model, prepared(model, images))
    logits, features = answers[:, : len(model.labels)], answers[:, len(model.labels) :].astype(np.float32)
    # in float64 the emotions' probabilities stay above 0 however sure the network is of something else
    basic = to_basic(expit(logits) if model.several else softmax(logits, axis=1), model.matrix)
    return [FaceScores(*answer) for answer in zip(basic, features, strict=True)]


def score_images(model: ImageClassifier, images: Sequence[Pixels] | Pixels, batch: int = BATCH) -> NDArray[np.float32]:
    """Probabilities [B, 7] of the basic emotions of faces uint8 [B, H, W, 3], or of a list of them in any sizes.

    A row is NaN where the network gives the seven no probability at all.
    """
    answers = [answer.probabilities for answer in in_batches(describe_images, model, images, batch)]
    return np.stack(answers) if answers else np.zeros((0, model.matrix.shape[1]), np.float32)


def prepared(model: ImageClassifier, images: Sequence[Pixels]) -> "Tensor":
    """Images as the network's own processor prepares them, [B, 3, h, w] on its device, images of one size together.

    The backend is the one that transformers chooses: torchvision's, which works on the network's device, else PIL's.
    """
    import torch

    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"A face picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}; convert it.")
    on_device = model.processor.backend == "torchvision"
    options = {"device": model.device} if on_device else {}
    if len({image.shape for image in images}) == 1:  # one copy to the device instead of one an image
        planes = list(torch.from_numpy(np.stack(images)).to(model.device if on_device else "cpu").permute(0, 3, 1, 2))
    else:
        planes = [torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) for image in images]
    inputs = model.processor(images=planes, return_tensors="pt", input_data_format="channels_first", **options)
    pixels: Tensor = inputs["pixel_values"].to(model.device, model.dtype)
    return pixels


def recognise(
    model: ImageClassifier,
    crops: Path,
    faces: pd.DataFrame,
    windows: Windows,
    *,
    which: Which = "main",
    batches: Batches = in_batches,
    batch: int = BATCH,
) -> Scores:
    """Scores of a clip: per window the plain mean over its frames, and over the faces of a frame first.

    `faces` are rows of faces.parquet, `crops` the crops.npy they index, `batch` the crops that go through the network at
    once. Crops are read in pieces, so that memory stays flat. Windows without a face are absent.
    """
    kept = chosen_faces(faces, which)
    if kept.empty:
        return no_faces("static_face", faces, windows, model.source)
    shown = each_crop(crops, kept["face"].to_numpy(np.int64))
    basic, features = stack_answers(list(batches(describe_images, model, shown, batch)))
    valid = ~np.isnan(basic).any(1)
    if not valid.any():
        reason = f"{model.source.model} gave none of the seven emotions any probability, for no face of the clip."
        return Scores.absent("static_face", windows, reason, "Run it in float32, or use another network.", model.source)
    kept = kept.iloc[np.flatnonzero(valid)].reset_index(drop=True)
    return window_means("static_face", kept, basic[valid], features[valid], windows, model.source)


# ---- loading -------------------------------------------------------------------------------------------------------------


def _config(folder: Path) -> Any:
    """The configuration of a folder; WeightsError unless it is one of an image classifier with its weights."""
    from transformers import AutoModelForImageClassification

    lacks = what_is_missing(folder) if folder.is_dir() else "there is no such folder"
    if lacks:
        raise WeightsError(f"{folder} holds no image classifier: {lacks}; give a folder as save_pretrained writes it.")
    config = load_config(folder)
    if type(config) not in AutoModelForImageClassification._model_mapping:
        raise WeightsError(f"{folder} holds a network of the type '{config.model_type}', which classifies no pictures; {OTHER}.")
    if getattr(config, "num_channels", 3) != 3 or config.problem_type == "regression":
        raise WeightsError(f"{folder} holds no classifier of RGB pictures into labels; {OTHER}.")
    return config


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    with loading_errors(f"The image processor in {folder} (preprocessor_config.json) cannot be loaded"), quiet():
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _keep_features(model: ImageClassifier) -> ImageClassifier:
    """The model with its last layer handing on the features it reads, if it is one layer and nothing else changes.

    One grey image goes through it, which also shows whether network and processor go together.
    """
    from modalities.loading.with_input import WithInput, last_linear, replace_module

    grey = prepared(model, [np.full((64, 64, 3), 128, np.uint8)])
    before, found = _logits(model, grey), last_linear(model.network, len(model.labels))
    if found is None:
        return model
    name, layer = found
    replace_module(model.network, name, WithInput(layer))
    with contextlib.suppress(RuntimeError, ValueError):  # of what follows the layer and does not take longer answers
        after = _logits(model, grey)
        # 0.02 is what half precision may change; a layer that is normed or summed up afterwards changes more
        if after.shape[1] == before.shape[1] + layer.in_features and np.allclose(after[:, : before.shape[1]], before, 0.02, 0.02):
            return replace(model, width=layer.in_features)
    replace_module(model.network, name, layer)
    return model


def _logits(model: ImageClassifier, pixels: "Tensor") -> NDArray[np.float64]:
    """What the network answers to prepared images: [B, L + D], the features after the logits."""
    import torch

    with torch.inference_mode():
        answers: NDArray[np.float64] = model.network(pixel_values=pixels).logits.double().cpu().numpy()
    return answers
