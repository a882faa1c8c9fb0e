"""The authors' numbers in ../shared/parity: reading a file, and checking ours against it.

    sheet = read_parity(shared / "parity" / "ras_videomamba.json")
    network.load_state_dict(sheet.state_dict(), strict=False)      # `sheet.unsupplied` names the keys that may lack
    assert_parity({"logits": network(sheet.tensors()["x"])}, sheet)
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]


@dataclass(frozen=True)
class Parity:
    """One parity file: its JSON, the weights under the authors' keys, inputs and expected outputs by name."""

    json: dict[str, Any]
    weights: dict[str, Array]
    inputs: dict[str, Array]
    outputs: dict[str, Array]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the authors' constructor was given."""
        return dict(self.json.get("constructor_args", {}))

    @property
    def unsupplied(self) -> list[str]:
        """Keys of the authors' state dict that the file leaves to the constructor."""
        entry = self.json.get("weights", {})
        return sorted({*entry.get("kept_as_built", []), *entry.get("deterministic_buffers_not_stored", {})})

    def state_dict(self) -> dict[str, Any]:
        """The weights as torch tensors."""
        return _to_torch(self.weights)

    def tensors(self) -> dict[str, Any]:
        """The inputs as torch tensors."""
        return _to_torch(self.inputs)


def read_parity(path: Path) -> Parity:
    """Read NAME.json and, if it names one, the safetensors file beside it; values given by formula are computed."""
    sheet = json.loads(path.read_text(encoding="utf-8"))
    stored = load_file(path.parent / sheet["file"]) if "file" in sheet else {}
    entry, recipe = sheet.get("weights", {}), sheet.get("formula", {})
    shapes = dict(entry.get("formula_keys", {}))
    if entry.get("kind") == "formula":
        shapes |= {key: shape for key, shape in entry["key_shapes"].items() if key not in entry["kept_as_built"]}
    weights = _group(stored, "w/") | {key: weight_by_formula(key, shape, recipe) for key, shape in shapes.items()}
    aliases = entry.get("aliases", {}).get("map", {})
    weights |= {alias: weights[key] for alias, key in aliases.items() if key in weights}
    described = {name: about for name, about in sheet.get("inputs", {}).items() if about["kind"] == "formula"}
    inputs = _group(stored, "in/") | {name: input_by_formula(about, recipe) for name, about in described.items()}
    return Parity(sheet, weights, inputs, _group(stored, "out/"))


def uniform(key: str, count: int, seed: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) that depend on seed, key and position only: the finaliser of splitmix64."""
    golden = 0x9E3779B97F4A7C15
    offset = (seed * golden + (zlib.crc32(key.encode()) << 32) + golden) % 2**64
    with np.errstate(over="ignore"):
        state = np.arange(count, dtype=np.uint64) + np.uint64(offset)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) / 2**53


def weight_by_formula(key: str, shape: list[int], recipe: dict[str, Any]) -> Array:
    """A parameter that is too big to be stored; its spread depends on its kind, which the key's last part tells."""
    values = 2.0 * uniform(key, int(np.prod(shape)), recipe["seed"]) - 1.0
    last = key.rpartition(".")[2]
    if last == "running_var":
        values = 1.0 + 0.4 * values
    elif last == "running_mean":
        values = 0.2 * values
    elif not shape:
        values = 0.5 * values
    elif len(shape) == 1:
        values = 1.0 + 0.3 * values if last in ("weight", "gamma_1", "gamma_2") else 0.2 * values
    else:
        values = values * (recipe["gain"] * np.sqrt(3.0 / np.prod(shape[1:])))
    return values.astype(np.float32).reshape(shape)


def input_by_formula(about: dict[str, Any], recipe: dict[str, Any]) -> Array:
    """An input that is too big to be stored."""
    low, high = about["range"]
    values = low + (high - low) * uniform(about["formula_key"], int(np.prod(about["shape"])), recipe["seed"])
    return values.astype(np.float32).reshape(about["shape"])


def assert_parity(ours: dict[str, Any], sheet: Parity) -> None:
    """Fail unless every named output of ours (array or tensor) is the authors', within the file's own tolerance."""
    assert ours, "nothing was compared"
    for name, value in ours.items():
        found, expected = _to_numpy(value), sheet.outputs[name]
        assert found.shape == expected.shape, f"{name}: shape {found.shape} instead of {expected.shape}"
        if not np.issubdtype(expected.dtype, np.floating):
            np.testing.assert_array_equal(found, expected, err_msg=name)
            continue
        atol, rtol = sheet.json["outputs"][name]["atol"], sheet.json["tolerance"]["rtol"]
        np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol, atol, err_msg=name)


def _group(stored: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}


def _to_torch(arrays: dict[str, Array]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


def _to_numpy(value: Any) -> Array:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
