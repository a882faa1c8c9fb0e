"""Shipped weights: safetensors with their settings inside, and the model card beside them.

What `in_eight_bits` made of a network's weights is expanded as it is read: who loads a checkpoint need not know of it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from data.errors import InputError, WeightsError
from data.files import atomic_path, file_digest, write_text
from data.json_files import parse_json
from data.yaml_files import parse_yaml
from modalities.loading.state_dicts import JsonObject

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "weights"
LARGEST = 127
"""Of the integers that weights are kept as."""
SHORT = 16
"""Numbers that a row needs to be kept as int8: a filter of 3x3 gains little room by it, and errs most."""
SCALE = ".scale"
"""What the name of the scales [rows] has more than that of the int8 weights."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, the settings that preprocessing and network need, and `revision`: 12 digits of the file's SHA-256."""

    tensors: dict[str, "Tensor"]
    settings: JsonObject
    revision: str

    def network(self) -> dict[str, "Tensor"]:
        """The tensors of the network itself: those named 'network.*', without that prefix."""
        return {key[8:]: value for key, value in self.tensors.items() if key.startswith("network.")}


def save_checkpoint(
    path: Path, network: Mapping[str, "Tensor"], constants: Mapping[str, "Tensor"], settings: Mapping[str, object]
) -> None:
    """Write a network's state dict, constants (e.g. `centroids` [7, D]) and JSON settings into one safetensors file."""
    from safetensors.torch import save_file

    tensors = {f"network.{key}": value.detach().cpu().contiguous().clone() for key, value in network.items()}
    tensors |= {key: value.detach().cpu().contiguous().clone() for key, value in constants.items()}
    with atomic_path(path) as aside:
        save_file(tensors, aside, metadata={"settings": json.dumps(dict(settings))})
        aside.chmod(0o644)  # safetensors makes files that only their owner may read


def in_eight_bits(weights: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Kernels and matrices as int8 with a scale for each row, which is an output channel; vectors and `SHORT` rows in float16."""
    import torch

    kept: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.dim() < 2 or value[0].numel() < SHORT:
            kept[name] = value.half()
            continue
        scale = (value.float().flatten(1).abs().amax(1) / LARGEST).clamp_min(1e-12)
        kept |= {name: (value.float() / _by_row(scale, value)).round().to(torch.int8), f"{name}{SCALE}": scale}
    return kept


def _expanded(kept: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Tensors as they are, but those with a scale beside them as the float32 that they stand for."""
    scales = {name.removesuffix(SCALE): value for name, value in kept.items() if name.endswith(SCALE)}
    return {
        name: value.float() * _by_row(scales[name], value) if name in scales else value
        for name, value in kept.items()
        if not name.endswith(SCALE)
    }


def _by_row(scale: "Tensor", like: "Tensor") -> "Tensor":
    return scale.view(-1, *[1] * (like.dim() - 1))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote; WeightsError when the file is missing, damaged or of another kind."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}; give an existing .safetensors file.")
    try:
        with safe_open(path, framework="pt") as opened:
            settings = parse_json((opened.metadata() or {}).get("settings", "{}"))
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}); copy or download it again.") from error
    return Checkpoint(_expanded(tensors), settings, file_digest(path)[:12])


@dataclass(frozen=True)
class Card:
    """A model card: what the weights were made from, how, and what they reached; `metrics` as fractions of 1.

    corpora: what they were trained on, by the names of `data.corpora.known`, so that figures on these are known as such.
    """

    name: str
    data: str
    terms: str
    command: str
    seed: int
    date: str
    split: str
    metrics: dict[str, float]
    per_class_recall: dict[str, float]
    corpora: list[str] = field(default_factory=list)
    text: str = field(default="", compare=False)

    def write(self, path: Path) -> None:
        """Write the card as Markdown with a YAML front matter."""
        front = {key: value for key, value in asdict(self).items() if key != "text"}
        write_text(path, f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{self.text.strip()}\n")

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Read a card that `write` wrote; WeightsError when it is missing or has another form."""
        try:
            _, front, text = path.read_text(encoding="utf-8").split("---\n", 2)
            return cls(**parse_yaml(front, str(path)), text=text.strip())
        except (OSError, ValueError, TypeError, InputError) as error:
            raise WeightsError(f"{path} is not a model card ({error}); train the model again or restore the file.") from error
