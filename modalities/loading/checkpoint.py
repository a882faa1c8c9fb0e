"""Shipped weights: safetensors with their settings inside, and the model card beside them."""

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
    return Checkpoint(tensors, settings, file_digest(path)[:12])


@dataclass(frozen=True)
class Card:
    """A model card: what the weights were made from, how, and what they reached; `metrics` as fractions of 1."""

    name: str
    data: str
    terms: str
    command: str
    seed: int
    date: str
    split: str
    metrics: dict[str, float]
    per_class_recall: dict[str, float]
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
