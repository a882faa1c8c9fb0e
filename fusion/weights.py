"""The weights of the fusion and their readable JSON file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from data.errors import InputError
from data.files import write_text
from data.json_files import read_json
from fusion.arrays import Floats

Pooling = Literal["mean", "product"]
"""Whether modalities are added (MHPF, RAS) or multiplied (`fusion.log_linear`)."""
FORMAT = "dyad-fusion-weights"
VERSION = 1
DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "mhpf.json"


@dataclass(frozen=True, eq=False)
class FusionWeights:
    """MHPF with H heads: `head_weights` [H, M, C] and `head_combine` [H], both before their softmax.

    The two arrays bear the names of the authors' state dict. `temperatures` [M], for the product alone, say how over-sure each
    modality is (empty: 1 for all). `derived_from` says in words where the numbers come from. InputError when shapes and names do
    not fit, a number is not finite, or a name occurs twice.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    head_weights: Floats
    head_combine: Floats
    derived_from: str = ""
    date: str = ""
    pooling: Pooling = "mean"
    temperatures: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise InputError(f"Fusion weights are for '{self.pooling}'; they can be for one of: {', '.join(get_args(Pooling))}.")
        temperatures = np.array(self.temperatures or np.ones(len(self.modalities)))
        if len(temperatures) != len(self.modalities) or not (np.isfinite(temperatures) & (temperatures > 0)).all():
            raise InputError("Fusion weights need one temperature above 0 for each modality, or none; derive them again.")
        expected = (len(self.head_combine), len(self.modalities), len(self.classes))
        if self.head_combine.ndim != 1 or self.head_weights.shape != expected or 0 in expected:
            raise InputError(
                f"Fusion weights of shape {self.head_weights.shape} do not fit {expected[0]} heads, {expected[1]} "
                f"modalities and {expected[2]} classes; fit or derive them again."
            )
        if not (np.isfinite(self.head_weights).all() and np.isfinite(self.head_combine).all()):
            raise InputError("Fusion weights hold a number that is not finite; fit or derive them again.")
        for names in (self.modalities, self.classes):
            if len(set(names)) != len(names):
                raise InputError(f"Fusion weights name something twice: {', '.join(names)}; each name may occur once.")

    @property
    def description(self) -> str:
        """One line for results: kind, size, date and origin."""
        heads, modalities, classes = self.head_weights.shape
        way = "MHPF" if self.pooling == "mean" else "log-linear pooling"
        kind = f"{way}, {heads} {'head' if heads == 1 else 'heads'} x {modalities} modalities x {classes} classes"
        return "; ".join(part for part in (kind, self.date, self.derived_from) if part)


def from_state_dict(
    state: Mapping[str, ArrayLike], modalities: Sequence[str], classes: Sequence[str]
) -> FusionWeights:
    """Weights from the authors' state dict (`head_weights`, `head_combine`), which does not name rows and columns."""
    if missing := sorted({"head_weights", "head_combine"} - set(state)):
        raise InputError(f"The state dict has no {' and no '.join(missing)}; give that of a multi-head fusion (MHPF).")
    weights, combine = (np.asarray(state[key], np.float64) for key in ("head_weights", "head_combine"))
    return FusionWeights(tuple(modalities), tuple(classes), weights, combine)


def write_weights(path: Path, weights: FusionWeights) -> None:
    """Write weights as JSON in which every number stands beside its modality and class; whole or not at all."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "date": weights.date,
        "derived_from": weights.derived_from,
        "pooling": weights.pooling,
        "temperatures": dict(zip(weights.modalities, weights.temperatures, strict=False)),
        "modalities": weights.modalities,
        "classes": weights.classes,
        "heads": len(weights.head_combine),
        "head_combine": weights.head_combine.tolist(),
        "head_weights": [_named(weights, head) for head in weights.head_weights.tolist()],
    }
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_weights(path: Path = DEFAULT_WEIGHTS) -> FusionWeights:
    """Read what `write_weights` wrote; InputError naming the file and the error otherwise."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise InputError(f"There are no fusion weights at {path}; give an existing .json file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); restore it or fit the weights again.") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path} is not a file of fusion weights ('{FORMAT}', version {VERSION}); give one of those.")
    try:
        return _parse(content)
    except KeyError as error:
        raise InputError(f"{path} lacks the entry {error}; restore it or fit the weights again.") from error
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} holds no usable fusion weights: {error}") from error


def with_modalities(weights: FusionWeights, names: Sequence[str]) -> FusionWeights:
    """These weights with a row for each name that they lack: a modality nobody has measured gets the mean of the others."""
    new = tuple(name for name in names if name not in weights.modalities)
    if not new:
        return weights
    temperatures = (*weights.temperatures, *[float(np.mean(weights.temperatures))] * len(new)) if weights.temperatures else ()
    mean = np.repeat(weights.head_weights.mean(axis=1, keepdims=True), len(new), axis=1)
    origin = f"{weights.derived_from}; {', '.join(new)}: no measurement, so the mean of the others"
    return replace(
        weights, modalities=weights.modalities + new, derived_from=origin, temperatures=temperatures,
        head_weights=np.concatenate([weights.head_weights, mean], axis=1),
    )  # fmt: skip


def _named(weights: FusionWeights, head: list[list[float]]) -> dict[str, dict[str, float]]:
    rows = [dict(zip(weights.classes, row, strict=True)) for row in head]
    return dict(zip(weights.modalities, rows, strict=True))


def _parse(content: Mapping[str, Any]) -> FusionWeights:
    modalities, classes = tuple(map(str, content["modalities"])), tuple(map(str, content["classes"]))
    heads = [[[float(head[name][word]) for word in classes] for name in modalities] for head in content["head_weights"]]
    combine = np.array(content["head_combine"], np.float64)
    origin, date = str(content.get("derived_from", "")), str(content.get("date", ""))
    known = content.get("temperatures") or {}
    temperatures = tuple(float(known[name]) for name in modalities) if known else ()
    pooling = content.get("pooling", "mean")
    return FusionWeights(modalities, classes, np.array(heads, np.float64), combine, origin, date, pooling, temperatures)
