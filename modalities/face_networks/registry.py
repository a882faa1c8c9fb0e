"""The table of face networks (`networks.yaml`): what each one is, how it is built, and how its inputs are prepared."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from data.errors import InputError
from modalities.loading.state_dicts import JsonObject

if TYPE_CHECKING:
    from torch import nn

TABLE = Path(__file__).with_name("networks.yaml")
Kind = Literal["static", "dynamic"]
Resize = Literal["linear", "cubic", "nearest"]
"""Linear and cubic average over what they shrink."""


@dataclass(frozen=True)
class NetworkInput:
    """How faces become a network's input: squares of `size` pixels, normalised by `mean` and `std` of RGB in 0..1.

    A clip is seen as `frames` frames, `stride` frames of 25 a second apart (0: spread evenly over the clip), as at most `views`
    sequences whose answers are averaged. Where the network reads features instead of pixels `features` is their length.
    """

    size: int = 0
    frames: int = 1
    stride: int = 0
    views: int = 1
    resize: Resize = "linear"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    features: int = 0

    def said(self) -> str:
        """For people: frames and pixels '16 x 160 x 160', or steps and length of features '20 x 512'."""
        if self.features:
            return f"{self.frames} x {self.features}" if self.frames > 1 else f"time x {self.features}"
        return f"{self.frames} x {self.size} x {self.size}" if self.frames > 1 else f"{self.size} x {self.size}"


@dataclass(frozen=True)
class NetworkRow:
    """One network of the table.

    kind: what it answers (static: images, dynamic: clips, both, or voice); build: `module:function`, called with `settings`;
    labels: kind -> order of the logits by name, for checkpoints that do not name theirs; parameters: their number at full size;
    needs: what it reads or is built from besides pixels (clip, landmarks, parsing, caption, context); zero_shot: settings with
    which a CLIP alone answers, without a checkpoint; used: the setting that switches a network on which `network` does not;
    checkpoint: source and form of the authors' weights; `model` and its `files`, where the table of models has them.
    """

    name: str
    title: str
    kind: Literal["static", "dynamic", "both", "voice"]
    build: str
    input: NetworkInput
    labels: Mapping[str, str]
    parameters: int
    checkpoint: Mapping[str, str]
    licence: str
    paper: str
    settings: Mapping[str, object] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    zero_shot: Mapping[str, object] | None = None
    used: str = ""

    def answers(self, kind: Kind) -> bool:
        """True where the network can be the backend of that branch."""
        return self.kind in (kind, "both") and not self.used


@dataclass(frozen=True)
class NetworkTable:
    """All networks by name, and the known orders of labels."""

    networks: Mapping[str, NetworkRow]
    label_orders: Mapping[str, tuple[str, ...]]

    def choose(self, name: str, kind: Kind | None = None) -> NetworkRow:
        """The network of that name; InputError lists those that answer `kind`."""
        row = self.networks.get(name)
        if row is None or (kind and not row.answers(kind)):
            fitting = [one.name for one in self.networks.values() if kind is None or one.answers(kind)]
            what = f"network for the {kind} face" if kind else "face network"
            raise InputError(f"'{name}' is no {what}; use one of: {', '.join(fitting)}.")
        return row

    def labels(self, name: str) -> tuple[str, ...]:
        """The labels of an order; InputError lists the orders."""
        if name not in self.label_orders:
            raise InputError(f"'{name}' is no known order of labels; use one of: {', '.join(self.label_orders)}.")
        return self.label_orders[name]


@cache
def network_table() -> NetworkTable:
    """The table that comes with Dyad."""
    tree = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    rows = {name: _row(name, fields, tree["pixels"]) for name, fields in tree["networks"].items()}
    return NetworkTable(rows, {name: tuple(labels) for name, labels in tree["label_orders"].items()})


def build_network(row: NetworkRow, settings: Mapping[str, object] | None = None) -> "nn.Module":
    """The network with the row's settings, or with those given instead; its weights are random."""
    module, _, function = row.build.partition(":")
    built: nn.Module = getattr(importlib.import_module(module), function)(**{**row.settings, **(settings or {})})
    return built


def _row(name: str, fields: JsonObject, pixels: Mapping[str, JsonObject]) -> NetworkRow:
    """One network of the YAML, its pixels looked up among those that have a name."""
    given = dict(fields.get("input", {}))
    normal = pixels[given.pop("pixels", "none")]
    lists = {key: tuple(value) for key, value in normal.items() if isinstance(value, list)}
    reads = NetworkInput(**{**normal, **lists, **given})
    return NetworkRow(**{**fields, "name": name, "input": reads, "needs": tuple(fields.get("needs", ()))})
