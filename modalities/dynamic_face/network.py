"""The network of the dynamic face: temporal convolutions over what the static network says of each frame, then attention."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)


class DynamicFaceShape(NamedTuple):
    """Sizes: the static features' length D, classes of the static network, channels, temporal blocks, attention heads."""

    features: int = 192
    classes: int = 8
    width: int = 64
    blocks: int = 2
    heads: int = 4
    dropout: float = 0.2


class DynamicAnswer(NamedTuple):
    """Logits [B, classes], features [B, 2 * width], attention [B, T] over the frames (sums to 1)."""

    logits: Tensor
    features: Tensor
    attention: Tensor


class DilatedBlock(nn.Module):
    """A dilated convolution over time that sees both past and future, with a residual; frames outside the mask stay 0."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, T, width], mask [B, T, 1] -> [B, T, width]."""
        inner = self.over_time((self.norm(x) * mask).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = self.dropout(self.mix(F.gelu(inner)))
        return (x + mixed) * mask


class DynamicFaceNetwork(nn.Module):
    """Frames' features and log-probabilities, and the time since the frame before, -> the expression of the sequence.

    The answer starts from the mean of the frames' log-probabilities and adds what the order, the peak and the duration say.
    """

    def __init__(self, shape: DynamicFaceShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or DynamicFaceShape()
        self.norm = nn.LayerNorm(shape.features)
        self.enter = nn.Linear(shape.features + shape.classes + 1, shape.width)
        self.blocks = nn.ModuleList(DilatedBlock(shape.width, 2**k, shape.dropout) for k in range(shape.blocks))
        self.attend = nn.Linear(shape.width, shape.heads)
        self.leave = nn.LayerNorm(2 * shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(2 * shape.width, shape.classes)
        self.trust = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor, log_probabilities: Tensor, gaps: Tensor, mask: Tensor) -> DynamicAnswer:
        """`features` [B, T, D], `log_probabilities` [B, T, classes], `gaps` [B, T] in seconds, `mask` bool [B, T]."""
        present = mask[:, :, None].to(features.dtype)
        log_probabilities = log_probabilities.clamp_min(-8.0)  # else one impossible class would outweigh the mean of all frames
        entered = torch.cat([self.norm(features), log_probabilities, gaps.clamp(0, 2)[:, :, None]], 2)
        x = F.gelu(self.enter(entered)) * present
        for block in self.blocks:
            x = block(x, present)
        # -1e4 and not minus infinity: it fits into half precision, and its softmax is 0 all the same
        weights = torch.softmax(self.attend(x).masked_fill(~mask[:, :, None], -1e4), 1)
        heads = x.view(*x.shape[:2], self.shape.heads, -1)
        attended = (weights[..., None] * heads).sum(1).flatten(1)
        strongest = x.masked_fill(~mask[:, :, None], -1e4).amax(1)
        pooled = self.leave(torch.cat([attended, strongest], 1))
        mean = (log_probabilities * present).sum(1) / present.sum(1)
        return DynamicAnswer(self.head(self.dropout(pooled)) + self.trust * mean, pooled, weights.mean(2))
