"""Scene labels: how well each emotion's texts match the whole picture, by CLIP without any training on emotions.

A network and its texts come from a checkpoint that is already on the machine (`modalities.local_models`). The cosine
similarities are divided by the network's own temperature before the softmax; the authors' release leaves that out, and
its seven probabilities are almost equal.
"""

import contextlib
import logging
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.files import file_digest
from data.frames import Frame, Ticks
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.local_models import CLIP_FILES, is_torchscript, known_clip

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Prompts = Mapping[str, Mapping[str, Sequence[str]]]
"""`basic` and `compound` -> label -> texts."""
FloatArray = NDArray[np.float32]
CONFIG = "open_clip_config.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
BATCH = 8

ABSENT_REASON = "No CLIP checkpoint is on this machine, and nothing smaller stands in for it."
REMEDY = "Download a CLIP checkpoint (605 MB) with ./dyad models download clip; it is used from then on."


@dataclass(frozen=True)
class TextBank:
    """Texts and what they stand for: unit vectors of the labels [L, D] and of the single texts [P, D]."""

    labels: tuple[str, ...]
    vectors: FloatArray
    texts: tuple[str, ...]
    text_vectors: FloatArray
    text_labels: NDArray[np.intp]


@dataclass(frozen=True)
class SceneLabels:
    """A CLIP network in evaluation mode with its picture preprocessing, embedded texts and softmax temperature."""

    network: Any
    preprocess: "Callable[[Image], Tensor]"
    basic: TextBank
    compound: TextBank
    temperature: float
    source: Source
    device: str


def load(
    checkpoint: Path,
    architecture: str,
    prompts: Prompts,
    *,
    tag: str = "",
    temperature: float | None = None,
    device: str = "cpu",
) -> SceneLabels:
    """Load CLIP weights (safetensors, or a state dict read as weights only) and embed `prompts`.

    `architecture` and `tag` are open_clip's names; the tag says how the pictures are normalised. An empty architecture
    is taken from the open_clip_config.json beside the file, else from a known repository's name in its path.
    `temperature` divides the cosines; by default it is the network's own, about 0.01. WeightsError for a file that is
    missing, damaged or of another architecture, InputError for prompts that do not name the seven basic emotions.
    """
    check_prompts(prompts)
    architecture, tag = names_of(checkpoint, architecture, tag)
    network, preprocess, tokenizer = _open(checkpoint, architecture, tag, device)
    source = Source(
        "open_clip",
        f"{architecture} {tag}".strip() or checkpoint.parent.name,
        file_digest(checkpoint)[:12],
        "whole picture; per label the mean of its texts' embeddings; softmax over the seven basic emotions",
    )
    basic, compound = (_text_bank(network, tokenizer, prompts[kind], device) for kind in ("basic", "compound"))
    own = 1.0 / float(network.logit_scale.exp())
    return SceneLabels(network, preprocess, basic, compound, temperature or own, source, device)


def names_of(checkpoint: Path, architecture: str = "", tag: str = "") -> tuple[str, str]:
    """Architecture and tag of a checkpoint, completed by its place in the hub's cache; empty where its config says them.

    The tag matters even where the architecture is given: without it pictures are normalised as OpenAI did.
    """
    _, known, known_tag = known_clip(checkpoint)
    if not architecture and not checkpoint.with_name(CONFIG).is_file():
        architecture = known
    return architecture, tag or (known_tag if architecture == known else "")


def check_prompts(prompts: Prompts) -> None:
    """InputError unless `basic` has texts for the seven basic emotions and `compound` texts for at least two labels."""
    if set(prompts.get("basic", {})) != set(BASIC_EMOTIONS):
        raise InputError(f"The prompts need texts under 'basic' for exactly: {', '.join(BASIC_EMOTIONS)}.")
    if len(prompts.get("compound", {})) < 2:
        raise InputError("The prompts need texts under 'compound' for at least two compounds.")
    for kind in ("basic", "compound"):
        for label, texts in prompts[kind].items():
            if isinstance(texts, str) or not texts or not all(isinstance(text, str) and text for text in texts):
                raise InputError(f"The prompts of '{label}' must be a list of one or more texts.")


def _open(checkpoint: Path, architecture: str, tag: str, device: str) -> tuple[Any, Any, Any]:
    """Network, preprocessing and tokenizer of a checkpoint; every failure is a WeightsError naming the file."""
    if not checkpoint.is_file():
        raise WeightsError(f"There is no CLIP checkpoint at {checkpoint}; give the path of an existing file.")
    if is_torchscript(checkpoint):
        raise WeightsError(f"{checkpoint} is a TorchScript archive, which carries a program; give weights alone.")
    from safetensors import SafetensorError

    # a state dict of another architecture can fail anywhere in open_clip's conversions, assertions included
    broken = (RuntimeError, AssertionError, AttributeError, LookupError, TypeError, ValueError, StopIteration)
    unreadable = (SafetensorError, pickle.UnpicklingError, EOFError, OSError)
    try:
        with _untouched_root_logger():
            if not architecture:
                return _open_folder(checkpoint, device)
            return _open_named(checkpoint, architecture, tag, device)
    except (*broken, *unreadable) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        kind = architecture or "the architecture in its config"
        raise WeightsError(
            f"{checkpoint} does not hold the weights of {kind} ({said}); name its architecture or copy the file again."
        ) from error


def _open_named(checkpoint: Path, architecture: str, tag: str, device: str) -> tuple[Any, Any, Any]:
    import open_clip

    config = open_clip.get_model_config(architecture)
    if config is None:
        raise WeightsError(f"open_clip has no architecture '{architecture}' for {checkpoint}; name one that it lists.")
    text = config["text_cfg"]
    if "hf_tokenizer_name" in text or "hf_model_name" in text or "siglip" in architecture.lower():
        raise WeightsError(
            f"The tokenizer of '{architecture}' is not on this machine; give {checkpoint} in a folder with its "
            f"{CONFIG} and tokenizer files, or use another CLIP."
        )
    pictures = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    network, preprocess = open_clip.create_model_from_pretrained(
        architecture,
        str(checkpoint.resolve()),
        device=device,
        image_mean=pictures.get("mean"),
        image_std=pictures.get("std"),
        image_interpolation=pictures.get("interpolation"),
        image_resize_mode=pictures.get("resize_mode"),
        weights_only=True,
    )
    return network.eval().requires_grad_(False), preprocess, open_clip.get_tokenizer(architecture)


def _open_folder(checkpoint: Path, device: str) -> tuple[Any, Any, Any]:
    """Open a checkpoint by the config beside it.

    open_clip chooses the weights in a folder itself; a folder of links to this file and to what is no weights leaves it
    no choice.
    """
    import open_clip

    config = checkpoint.with_name(CONFIG)
    if not config.is_file():
        raise WeightsError(f"The architecture of {checkpoint} is not known; name it, or put its {CONFIG} beside it.")
    with tempfile.TemporaryDirectory() as links:
        for file in checkpoint.parent.iterdir():
            if file.suffix not in WEIGHT_SUFFIXES:
                Path(links, file.name).symlink_to(file.resolve())
        name = CLIP_FILES[0] if checkpoint.suffix == ".safetensors" else CLIP_FILES[1]
        Path(links, name).symlink_to(checkpoint.resolve())
        folder = f"local-dir:{links}"
        network, preprocess = open_clip.create_model_from_pretrained(folder, device=device, weights_only=True)
        return network.eval().requires_grad_(False), preprocess, open_clip.get_tokenizer(folder)


@contextlib.contextmanager
def _untouched_root_logger() -> Iterator[None]:
    """open_clip logs to the root logger, which would give it a handler on stderr for the rest of the process."""
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


def _text_bank(network: Any, tokenizer: Any, prompts: Mapping[str, Sequence[str]], device: str) -> TextBank:
    """Embed texts; basic emotions in their order, other labels in the order given."""
    import torch

    labels = tuple(BASIC_EMOTIONS) if set(prompts) == set(BASIC_EMOTIONS) else tuple(prompts)
    texts = tuple(text for label in labels for text in prompts[label])
    owners = np.repeat(np.arange(len(labels)), [len(prompts[label]) for label in labels])
    with torch.inference_mode():
        vectors = network.encode_text(tokenizer(list(texts)).to(device), normalize=True).float().cpu().numpy()
    means = np.stack([vectors[owners == number].mean(0) for number in range(len(labels))])
    return TextBank(labels, _unit(means), texts, vectors, owners)


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def encode_pictures(model: SceneLabels, pictures: Iterable[NDArray[np.uint8]]) -> FloatArray:
    """Unit embeddings [T, D] of RGB pictures uint8 [H, W, 3], each preprocessed as the network was trained."""
    import torch
    from PIL import Image

    rows: list[FloatArray] = []
    stream = iter(pictures)
    while some := list(islice(stream, BATCH)):
        batch = torch.stack([model.preprocess(Image.fromarray(picture)) for picture in some]).to(model.device)
        with torch.inference_mode():
            rows.append(model.network.encode_image(batch, normalize=True).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, model.basic.vectors.shape[1]), np.float32)


def probabilities_of(bank: TextBank, embeddings: FloatArray, temperature: float) -> FloatArray:
    """Softmax over the labels of a bank [T, L]: p_k = exp(v . u_k / temperature) / sum_j exp(v . u_j / temperature)."""
    logits = embeddings @ bank.vectors.T / temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def recognise(
    model: SceneLabels, frames: Iterable[Frame], windows: Windows, *, frames_per_second: float = 1.0
) -> Scores:
    """Scores of a clip: per window the mean of its pictures' probabilities; features: their mean embedding [N, D].

    Each picture is encoded once, though it belongs to two windows; `frames_per_second` are used, and every window that
    has a picture gets one. The evidence lists, per window, every basic and compound label with its probability, its
    cosine similarity and that of its texts which fits best.
    """
    times: list[float] = []
    embeddings = encode_pictures(model, _sampled(frames, windows, frames_per_second, times))
    if not times:
        return Scores.absent("scene_labels", windows, "The clip has no picture.", source=model.source)
    inside = windows_of(np.array(times), windows)
    present: NDArray[np.bool_] = np.asarray(inside.any(1))
    shares = (inside / np.maximum(inside.sum(1, keepdims=True), 1)).astype(np.float32)
    probabilities = shares @ probabilities_of(model.basic, embeddings, model.temperature)
    features = shares @ embeddings
    probabilities[~present] = features[~present] = np.nan
    evidence = _evidence(model, embeddings, shares, present)
    return Scores("scene_labels", windows, probabilities, present, model.source, features=features, evidence=evidence)


def _sampled(
    frames: Iterable[Frame], windows: Windows, rate: float, times: list[float]
) -> Iterator[NDArray[np.uint8]]:
    """Pictures of the frames that are used, in time order; their times are appended to `times`."""
    ticks = Ticks(rate)
    covered = np.zeros(len(windows), bool)
    for frame in frames:
        inside = windows_of(np.array([frame.time_s]), windows)[:, 0]
        if ticks.takes(frame.time_s) or (inside & ~covered).any():
            covered |= inside
            times.append(frame.time_s)
            yield frame.rgb


def _evidence(
    model: SceneLabels, embeddings: FloatArray, shares: FloatArray, present: NDArray[np.bool_]
) -> pd.DataFrame:
    """One row a window and label, best first; `kind` is basic or compound, `text` the one that fits best."""
    windows = np.flatnonzero(present)
    tables = []
    for kind, bank in (("basic", model.basic), ("compound", model.compound)):
        means = shares[windows] @ embeddings
        columns = {
            "window": np.repeat(windows, len(bank.labels)),
            "kind": kind,
            "label": np.tile(bank.labels, len(windows)),
            "probability": (shares[windows] @ probabilities_of(bank, embeddings, model.temperature)).ravel(),
            "similarity": (means @ bank.vectors.T).ravel(),
            "text": [text for mean in means for text in _best_texts(bank, bank.text_vectors @ mean)],
        }
        tables.append(pd.DataFrame(columns))
    order = ["window", "kind", "probability"]
    return pd.concat(tables).sort_values(order, ascending=[True, True, False], kind="stable", ignore_index=True)


def _best_texts(bank: TextBank, fits: FloatArray) -> list[str]:
    """For each label, the one of its texts with the highest similarity; `fits` [P] are those of all texts."""
    own = [np.flatnonzero(bank.text_labels == number) for number in range(len(bank.labels))]
    return [bank.texts[int(texts[fits[texts].argmax()])] for texts in own]
