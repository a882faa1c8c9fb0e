"""A last layer that hands on what it has read."""

import torch
from torch import Tensor, nn


class WithInput(nn.Module):
    """A linear layer whose answer is followed by its input: [..., in] -> [..., out + in].

    What comes after it is linear in most classifiers (nothing, or a mean over positions), so the features that the layer reads
    come out beside the logits: no hook that threads would share, no list of all hidden states in memory.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out + in]."""
        return torch.cat([self.layer(x), x], -1)


def replace_module(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace the module `name` of a network by `layer`."""
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, layer)


def last_linear(network: nn.Module, count: int) -> tuple[str, nn.Linear] | None:
    """Name and module of the only linear layer with `count` outputs; None when there are none or several."""
    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    fitting = [(name, layer) for name, layer in found if layer.out_features == count]
    return fitting[0] if len(fitting) == 1 else None
