"""A face seen in its context: its code is adapted by what is heard or seen around it before it is classified.

The classifier part of "How Do You Perceive My Face?" (arXiv 2409.02566): independent variational codes of the face (content) and
of the context (a feature of the voice or the scene), and attention from the one to the other. Only the abstract could be had, and
no code: the forms of encoders and attention are ours. Without a context the face's own code is classified, as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.papers.emo_affect_net import EXPANSION, EmoAffectNet
from modalities.face_networks.parts.base import FaceAnswer, FaceInputs, FaceNetwork

DIVERGENCE_WEIGHT = 1e-3
"""Of the codes' divergence from the standard normal distribution."""
ALONE_WEIGHT = 0.5
"""Of the classification of the face without its context, so that both ways of being asked are learnt."""


class ContextFaceShape(NamedTuple):
    """Sizes: code, slots it is cut into for attention, length of the context's feature, classes; those of the ResNet."""

    code: int = 512
    slots: int = 8
    context: int = 512
    classes: int = 7
    layers: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64


class Code(nn.Module):
    """A variational code: mean and log variance from a feature; drawn in training, the mean otherwise."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(width, code), nn.Linear(width, code)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, width] -> code [B, D], and its divergence from the standard normal distribution [B], per dimension."""
        mean, log_variance = self.mean(x), self.log_variance(x).clamp(-8, 8)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(1)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return drawn, divergence


class ContextAttention(nn.Module):
    """The slots of a face's code look at those of its context, and are moved as far as a gate says."""

    def __init__(self, code: int, slots: int) -> None:
        super().__init__()
        self.slots, width = slots, code // slots
        self.of_face, self.of_context = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        self.gate = nn.Linear(2 * code, code)
        nn.init.constant_(self.gate.bias, -1.0)  # the face counts more, to begin with

    def forward(self, face: Tensor, context: Tensor) -> Tensor:
        """Codes [B, D] -> the adapted code [B, D]."""
        cut, around = (torch.unflatten(code, 1, (self.slots, -1)) for code in (face, context))
        query, seen = self.of_face(cut), self.of_context(around)
        moved: Tensor = self.attention(query, seen, seen, need_weights=False)[0].flatten(1)
        adapted: Tensor = face + self.gate(torch.cat([face, context], 1)).sigmoid() * moved
        return adapted


class ContextFace(FaceNetwork):
    """EmoAffectNet's ResNet as the encoder of faces, an MLP as that of contexts, and a linear classifier of the adapted code."""

    def __init__(self, shape: ContextFaceShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or ContextFaceShape()
        last = shape.width * 2 ** (len(shape.layers) - 1) * EXPANSION
        self.trunk = EmoAffectNet(shape.layers, shape.width, last // EXPANSION, shape.classes)
        self.trunk.fc2 = nn.Identity()  # type: ignore[assignment]
        self.content = Code(last // EXPANSION, shape.code)
        self.around = nn.Sequential(nn.Linear(shape.context, shape.code), nn.GELU())
        self.surroundings = Code(shape.code, shape.code)
        self.adapt = ContextAttention(shape.code, shape.slots)
        self.classifier = nn.Linear(shape.code, shape.classes)

    def codes(self, inputs: FaceInputs) -> tuple[Tensor, Tensor, Tensor]:
        """The face's code, the same adapted to its context (where there is one) [B, D], and their divergence []."""
        features = self.trunk.features(inputs.pixels.flatten(0, 1)).relu()
        face, divergence = self.content(features.view(*inputs.pixels.shape[:2], -1).mean(1))
        if inputs.context is None:
            return face, face, divergence.mean()
        known = ~inputs.context.isnan().any(1)
        context, further = self.surroundings(self.around(inputs.context.nan_to_num()))
        adapted = torch.where(known[:, None], self.adapt(face, context), face)
        return face, adapted, (divergence + further * known).mean()

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`; `inputs.context` [B, D] may be None, or have NaN rows where there is none."""
        _, adapted, _ = self.codes(inputs)
        return FaceAnswer(self.classifier(adapted), adapted)

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy with the context and without it, and the codes' divergence."""
        face, adapted, divergence = self.codes(inputs)
        answered = F.cross_entropy(self.classifier(adapted), targets)
        found: dict[str, Tensor] = {"classification": answered, "divergence": DIVERGENCE_WEIGHT * divergence}
        if inputs.context is None:
            return found
        return found | {"face alone": ALONE_WEIGHT * F.cross_entropy(self.classifier(face), targets)}

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """EmoAffectNet's weights become the trunk's, without their classifier."""
        if any(key.startswith("trunk.") for key in tensors):
            return dict(tensors)
        return {f"trunk.{key}": value for key, value in tensors.items() if not key.startswith("fc2.")}

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """As EmoAffectNet's, all else last."""
        inside = parameter.startswith("trunk.")
        return (self.trunk.depth_of(parameter.removeprefix("trunk."))[0] if inside else 6), 7


def build(layers: Sequence[int] = (3, 4, 6, 3), **settings: Any) -> ContextFace:
    """The network of these sizes (fields of `ContextFaceShape`)."""
    return ContextFace(ContextFaceShape(layers=tuple(layers), **settings))
