"""What every face network has in common: what it is given, what it answers, and what training minimises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class FaceInputs(NamedTuple):
    """Faces of B images (T = 1) or B clips of T frames, prepared as the network's row in the table says.

    `pixels` [B, T, 3, H, W]; `landmarks` and `parsing` [B, T, 3, H, W] are those drawn as images; `caption` [B, L] are
    tokens of a description of each clip; `context` [B, D] is a feature of its voice or scene, NaN rows where there is none.
    What is not there is None.
    """

    pixels: Tensor
    landmarks: Tensor | None = None
    parsing: Tensor | None = None
    caption: Tensor | None = None
    context: Tensor | None = None


class FaceAnswer(NamedTuple):
    """Logits [B, C] in the order of the network's labels, and the features [B, D] they come from."""

    logits: Tensor
    features: Tensor


class FaceNetwork(nn.Module, ABC):
    """A network that answers images, clips, or both."""

    @abstractmethod
    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """Logits and features; in evaluation mode the answer to an input depends on that input alone."""

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """The named terms whose sum training minimises; `targets` [B, C] are shares of the classes, each row of sum 1."""
        return {"classification": F.cross_entropy(self.answer(inputs).logits, targets)}

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of an authors' checkpoint under the keys of this network; what it has no place for may stay or go."""
        return dict(tensors)

    def derived(self) -> frozenset[str]:
        """Keys of the state dict that a checkpoint need not hold: fixed tables, or frozen parts that are loaded elsewhere."""
        return frozenset()

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """The layer of a parameter, counted from the input, and the number of layers: for rates that decay with the depth."""
        return 0, 1
