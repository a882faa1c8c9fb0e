"""Recipes of the face networks (`recipes.yaml`): which parameters are trained, at which rates, for how long."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from data.errors import InputError
from modalities.face_networks.parts.base import FaceNetwork

TABLE = Path(__file__).with_name("recipes.yaml")
RESTART_EPOCHS = 10


@dataclass(frozen=True)
class Recipe:
    """One stage of a training; the fields are explained in recipes.yaml."""

    epochs: int = 30
    batch: int = 32
    accumulate: int = 1
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = 1e-4
    weight_decay: float = 0.05
    groups: Mapping[str, float] = field(default_factory=dict)
    layer_decay: float = 1.0
    warmup: float = 0.05
    schedule: Literal["cosine", "steps", "restarts", "constant"] = "cosine"
    average: float = 0.0
    mixup: float = 0.0
    smoothing: float = 0.0
    balanced: bool = False
    augment: float = 1.0
    flip: bool = True
    clip_norm: float = 1.0
    still_steps: float = 0.5


def recipes_of(network: str, changes: Mapping[str, object] | None = None) -> tuple[Recipe, ...]:
    """The stages of a network's training, with `changes` instead of its own values.

    A change of `epochs` is of all stages together: the last one gets what the others leave, one at least. InputError for fields
    that there are not, or values out of range.
    """
    tree = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    given = {**tree["default"], **tree.get(network, {}), **(changes or {})}
    stages = given.pop("stages") or [{}]
    epochs = (changes or {}).get("epochs")
    others = {name: value for name, value in (changes or {}).items() if name not in ("epochs", "stages")}
    made = tuple(_recipe({**given, **stage, **others}, network) for stage in stages)
    if epochs is None:
        return made
    left = max(int(str(epochs)) - sum(one.epochs for one in made[:-1]), 1)
    return (*made[:-1], replace(made[-1], epochs=left))


def _recipe(given: Mapping[str, object], network: str) -> Recipe:
    """One stage from its fields; InputError for one that there is not, or a value that does not fit."""
    known = {one.name: one for one in fields(Recipe)}
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"'{unknown[0]}' is no field of a recipe; known are: {', '.join(known)}.")
    try:
        recipe = Recipe(**{name: _typed(value, type(getattr(Recipe(), name))) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"The recipe of {network} has a value of another kind ({error}); see recipes.yaml.") from error
    _check(recipe, network)
    return recipe


def _check(recipe: Recipe, network: str) -> None:
    """InputError where a number is out of range, or the optimiser or the schedule is not known."""
    shares = recipe.average, recipe.warmup, recipe.smoothing, 1 - recipe.layer_decay
    counts = recipe.epochs, recipe.batch, recipe.accumulate
    if min(counts) < 1 or recipe.rate <= 0 or min(*shares, recipe.still_steps) < 0 or max(shares) >= 1:
        raise InputError(
            f"The recipe of {network} must have epochs, batch and accumulate of 1 or more, a rate above 0, average, warmup and "
            "smoothing below 1, a layer decay above 0 and at most 1, and still_steps of 0 or more."
        )
    if recipe.optimiser not in ("adamw", "sgd") or recipe.schedule not in ("cosine", "steps", "restarts", "constant"):
        raise InputError(f"'{recipe.optimiser}' or '{recipe.schedule}' of the recipe of {network} is not known.")


def _typed(value: Any, kind: type) -> Any:
    """A value of the YAML as the field's type: 1e-4, say, is a text in YAML 1.1."""
    return dict(value) if kind is dict else value if kind in (bool, str) else kind(value)


def choose_parameters(network: FaceNetwork, recipe: Recipe) -> dict[str, float]:
    """The rate of every parameter that this stage trains, by name; all others are frozen.

    Rates fall by `layer_decay` for each layer before the last. Low-rank adapters have `rate`, what they stand beside is frozen.
    InputError for a pattern that names nothing.
    """
    named = {name: value for name, value in network.named_parameters() if ".base_layer." not in name}
    if not recipe.groups:
        rates = {name: recipe.rate for name, value in named.items() if value.requires_grad}
    else:
        rates = {name: rate for pattern, rate in recipe.groups.items() for name in named if re.search(pattern, name)}
        empty = [pattern for pattern in recipe.groups if not any(re.search(pattern, name) for name in named)]
        if empty:
            raise InputError(f"No parameter of the network is named by '{empty[0]}'; correct the groups of the recipe.")
    low_rank = [name for name in named if ".lora_" in name]
    rates = {name: rate for name, rate in rates.items() if not low_rank or named[name].requires_grad}
    rates |= dict.fromkeys(low_rank, recipe.rate)
    for name, value in network.named_parameters():
        value.requires_grad_(name in rates)
    return {name: rate * _layer_factor(network, name, recipe) for name, rate in rates.items()}


def _layer_factor(network: FaceNetwork, name: str, recipe: Recipe) -> float:
    layer, last = network.depth_of(name)
    return recipe.layer_decay ** (last - layer)


def make_optimiser(network: FaceNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of a stage: one group for each rate and kind of parameter, its full rate under `full`."""
    named, chosen = dict(network.named_parameters()), choose_parameters(network, recipe)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, rate in chosen.items():
        decay = recipe.weight_decay if named[name].ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(named[name])
    listed = [{"params": some, "lr": rate, "full": rate, "weight_decay": decay} for (rate, decay), some in groups.items()]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(listed, lr=recipe.rate, momentum=0.9)
    return torch.optim.AdamW(listed, lr=recipe.rate)


def rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """What the full rates are multiplied with at a step of a stage of `steps` steps."""
    rising = recipe.warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    progress = (step - rising) / max(steps - rising, 1)
    if recipe.schedule == "steps":
        return 0.1 ** ((progress >= 0.6) + (progress >= 0.8))
    if recipe.schedule == "restarts":
        progress = progress * recipe.epochs / RESTART_EPOCHS % 1.0
    return 1.0 if recipe.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * progress))
