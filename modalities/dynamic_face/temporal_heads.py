"""Temporal heads of the dynamic face: what a trained VideoMamba or VideoFormer says of sequences of face features.

A head's file is a bare state dict, as RAS (arXiv 2507.02205) saves it, or one under `model_state_dict`, `state_dict` or
`model`; as safetensors, or as a .pt file that is read as weights only. The sizes follow from the tensors. What they do not
tell can stand in the safetensors metadata, or in a JSON file of the same name beside the weights:
`heads` (attention heads of a VideoFormer, 4), `positions` (true where positions in time are encoded), `discretisation`
(`product`, as RAS trained, or `exponential`), `classes` (words in the order of the logits).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS
from data.errors import WeightsError
from data.files import file_digest
from data.precision import Precision
from data.scores import Source
from modalities.faces.windows import FaceScores
from modalities.loading.devices import precision_of
from modalities.loading.state_dicts import read_notes, read_state_dict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from modalities.dynamic_face.video_former import VideoFormerShape
    from modalities.dynamic_face.video_mamba import TemporalShell, VideoMambaShape

RAS_CLASSES = (*BASIC_EMOTIONS, "other")
"""The classes of RAS's heads in the order of their logits."""


@dataclass(frozen=True, eq=False)
class TemporalHead:
    """A loaded head: network, `architecture` (VideoMamba or VideoFormer), lengths of its input and of its features,
    the indices of our seven emotions among its logits, and what made it."""

    network: "TemporalShell"
    architecture: str
    features: int
    width: int
    columns: tuple[int, ...]
    source: Source
    device: str
    dtype: "torch.dtype"


def load_head(path: Path, device: str = "cpu", precision: Precision = "auto") -> TemporalHead:
    """Read a head; architecture and sizes follow from the names and shapes of its tensors.

    Heads of 8 classes are in RAS's order (`RAS_CLASSES`), those of 7 without `other`, unless the file says `classes`.
    `auto` is float32 on every device: a head costs less than a hundredth of the features it reads, and its recurrence adds
    up rounding errors. WeightsError for a file that is missing, damaged or of another network.
    """
    tensors = read_state_dict(path)
    notes = read_notes(path)
    network = _network_of(path, tensors, notes)
    dtype = precision_of(device, "float32" if precision == "auto" else precision)
    columns = _columns(path, network.classes, notes.get("classes"))
    name = type(network).__name__
    source = Source("temporal head", name, file_digest(path)[:12], "frames in the order of time, mean over them")
    network = network.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return TemporalHead(network, name, network.features, network.width, columns, source, device, dtype)


def answer_sequences(head: TemporalHead, sequences: list[NDArray[np.float32]]) -> list[FaceScores]:
    """One answer a sequence of features [T, D], T of at least 1 and not the same for all: padding changes no answer.

    The head's softmax runs over our seven alone: probabilities without `other`, renormalised.
    """
    import torch

    longest = max(len(sequence) for sequence in sequences)
    padded = np.zeros((len(sequences), longest, head.features), np.float32)
    mask = np.zeros((len(sequences), longest), bool)
    for number, sequence in enumerate(sequences):
        padded[number, : len(sequence)], mask[number, : len(sequence)] = sequence, True
    with torch.inference_mode():
        inputs = torch.from_numpy(padded).to(head.device, head.dtype)
        logits, features = head.network(inputs, torch.from_numpy(mask).to(head.device))
        seven = torch.softmax(logits[:, list(head.columns)].float(), 1).cpu().numpy()
    return [FaceScores(*answer) for answer in zip(seven, features.float().cpu().numpy(), strict=True)]


def _network_of(path: Path, tensors: dict[str, "Tensor"], notes: Mapping[str, object]) -> "TemporalShell":
    """The network of a state dict with its weights, in float32."""
    from modalities.dynamic_face.video_former import VideoFormer
    from modalities.dynamic_face.video_mamba import VideoMamba

    tensors = {key: value.float() for key, value in tensors.items()}
    kinds = {key.split(".")[0] for key in tensors}
    try:
        if "mamba" in kinds:
            network: TemporalShell = VideoMamba(_mamba_shape(tensors, notes))
        elif "transformer" in kinds:
            network = VideoFormer(_former_shape(tensors, notes))
        else:
            raise KeyError("it has neither 'mamba' nor 'transformer' layers")
        derived = {key for key in network.state_dict() if key.endswith("positional_encoding.pe")}
        found = network.load_state_dict({key: tensors[key] for key in tensors if key not in derived}, strict=False)
        unknown = [*found.unexpected_keys, *(key for key in found.missing_keys if key not in derived)]
        if unknown:
            raise KeyError(f"'{unknown[0]}' is missing or not one of its own")
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error.args[0] if error.args else error).split())[:200]
        raise WeightsError(
            f"{path} does not hold the weights of a VideoMamba or VideoFormer as RAS saves them ({said}); give another file."
        ) from error
    return network


def _shell_sizes(tensors: Mapping[str, "Tensor"], layers: str) -> dict[str, int]:
    """What both architectures have in common."""
    width, features = tensors["image_proj.0.weight"].shape
    classes, hidden = tensors["classifier.4.weight"].shape
    count = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith(f"{layers}."))
    return {"features": features, "width": width, "hidden": hidden, "classes": classes, "layers": count}


def _mamba_shape(tensors: Mapping[str, "Tensor"], notes: Mapping[str, object]) -> "VideoMambaShape":
    from modalities.dynamic_face.video_mamba import VideoMambaShape

    discretisation = notes.get("discretisation", "product")
    if discretisation not in ("product", "exponential"):
        raise ValueError(f"'{discretisation}' is no discretisation, which is 'product' or 'exponential'")
    states, kernel = tensors["mamba.0.A"].shape[1], tensors["mamba.0.conv.weight"].shape[2]
    inner = {"states": states, "kernel": kernel, "rank": tensors["mamba.0.s_D.0.weight"].shape[0]}
    return VideoMambaShape(**_shell_sizes(tensors, "mamba"), **inner, discretisation=discretisation)


def _former_shape(tensors: Mapping[str, "Tensor"], notes: Mapping[str, object]) -> "VideoFormerShape":
    from modalities.dynamic_face.video_former import VideoFormerShape

    sizes = _shell_sizes(tensors, "transformer")
    heads = int(str(notes.get("heads", 4)))
    if heads < 1 or sizes["width"] % heads:
        raise ValueError(
            f"its width {sizes['width']} cannot be divided among {heads} attention heads; name 'heads' in a JSON beside"
        )
    positions = bool(notes.get("positions", "transformer.0.positional_encoding.pe" in tensors))
    return VideoFormerShape(**sizes, heads=heads, positions=positions)


def _columns(path: Path, count: int, named: object) -> tuple[int, ...]:
    """The indices of our seven emotions among the logits."""
    words = named if isinstance(named, list) else [] if named else RAS_CLASSES[:count]
    classes = [EMOTION_WORDS.get(str(word).strip().lower()) for word in words] if named else list(words)
    if len(classes) != count or any(emotion not in classes for emotion in BASIC_EMOTIONS):
        raise WeightsError(
            f"The head {path} has {count} classes, of which it is not known which are {', '.join(BASIC_EMOTIONS)}; "
            f"name them in the order of its logits as 'classes' in {path.with_suffix('.json').name} beside it."
        )
    return tuple(list(classes).index(emotion) for emotion in BASIC_EMOTIONS)
