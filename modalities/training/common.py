"""What every training shares: progress and where it is reported, the state it goes on from, running means, the temperature."""

import pickle
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import WeightsError
from data.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modalities.loading.checkpoint import Card


@dataclass(frozen=True)
class Progress:
    """One finished step (usually an epoch) of a training: its number of `total`, and figures such as loss and validation UAR."""

    step: int
    total: int
    figures: dict[str, float]


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""


def command_line(what: str, **given: object) -> str:
    """The command that trains the same again: 'dyad train text --data corpora --seed 7'; what is empty or 0 is left out."""
    named = ((name.replace("_", "-"), value) for name, value in given.items() if value)
    pairs = ((name, one) for name, value in named for one in (value if isinstance(value, list | tuple) else [value]))
    return f"dyad train {what}" + "".join(f" --{name} {shlex.quote(str(value))}" for name, value in pairs)


def with_command(card: "Card", file: Path, what: str, **given: object) -> "Card":
    """A card, and its file, with the command that was given (see `command_line`)."""
    told = replace(card, command=command_line(what, **given))
    told.write(file)
    return told


def read_resume(path: Path, about: Mapping[str, object]) -> dict[str, Any] | None:
    """What a broken-off training left at `path`; None when there is nothing, or it belongs to another training.

    WeightsError when the file cannot be read, or holds no state of a training.
    """
    import torch

    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return state if state.pop("about") == about else None
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} cannot be continued from ({type(error).__name__}); remove it to start again.") from error


def write_resume(path: Path, about: Mapping[str, object], **state: object) -> None:
    """Write what a training needs to go on, with what it is about (a training with other options starts anew)."""
    import torch

    with atomic_path(path) as aside:
        torch.save(state | {"about": about}, aside)


def follow(average: "nn.Module", network: "nn.Module", decay: float) -> None:
    """Move the running mean of the weights, and of the normalisations' statistics, towards the network; copy what counts."""
    import torch

    with torch.no_grad():
        for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - decay)
            else:
                slow.copy_(fast)


def best_temperature(logits: "Tensor", targets: "Tensor", grid: Iterable[float]) -> float:
    """The softmax temperature of the least cross-entropy of logits [N, C] (Guo et al. 2017, arXiv 1706.04599).

    `targets` are classes [N] or their shares [N, C].
    """
    from torch.nn import functional

    return min(grid, key=lambda temperature: float(functional.cross_entropy(logits / temperature, targets)))
