"""VideoFormer: the expression of a sequence of face features by transformer layers, RAS's alternative to VideoMamba.

The names of the parameters are those of the RAS release (arXiv 2507.02205), so that its checkpoints load as they are.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.dynamic_face.video_mamba import AddAndNorm, TemporalShell

LONGEST = 5000
"""Steps for which the release keeps positional codes."""


class VideoFormerShape(NamedTuple):
    """Sizes: input features, width d, attention heads, layers, classifier, classes; whether positions in time are encoded."""

    features: int = 512
    width: int = 512
    heads: int = 4
    layers: int = 1
    hidden: int = 128
    classes: int = 8
    dropout: float = 0.15
    positions: bool = False


def positional_codes(width: int, length: int = LONGEST) -> Tensor:
    """Sinusoidal codes [length, width]: sines in the even columns, cosines in the odd ones (arXiv 1706.03762)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


class PositionalEncoding(nn.Module):
    """Adds the codes of the positions in time."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.pe: Tensor
        self.register_buffer("pe", positional_codes(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] -> [B, T, width]."""
        encoded: Tensor = self.dropout(x + self.pe[: x.shape[1]])
        return encoded


class FeedForward(nn.Module):
    """Two linear maps as wide as the layer, with GELU between."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layer_1 = nn.Linear(width, width)
        self.layer_2 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        answer: Tensor = self.layer_2(self.dropout(F.gelu(self.layer_1(x))))
        return answer


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each followed by a residual and a norm."""

    def __init__(self, shape: VideoFormerShape) -> None:
        super().__init__()
        width, dropout = shape.width, shape.dropout
        self.self_attention = nn.MultiheadAttention(width, shape.heads, dropout, batch_first=True)
        self.feed_forward = FeedForward(width, dropout)
        self.add_norm_after_attention = AddAndNorm(width, dropout)
        self.add_norm_after_ff = AddAndNorm(width, dropout)
        if shape.positions:
            self.positional_encoding = PositionalEncoding(width, dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, width] -> the same; with positions, queries, keys, values and the residual all carry them (as released)."""
        if hasattr(self, "positional_encoding"):
            x = self.positional_encoding(x)
        ignored = None if mask is None else ~mask
        attended = self.self_attention(x, x, x, key_padding_mask=ignored, need_weights=False)[0]
        x = self.add_norm_after_attention(attended, x)
        answer: Tensor = self.add_norm_after_ff(self.feed_forward(x), x)
        return answer


class VideoFormer(TemporalShell):
    """Features of a window's faces in the order of time -> the expression of the window."""

    def __init__(self, shape: VideoFormerShape | None = None) -> None:
        shape = shape or VideoFormerShape()
        super().__init__(shape.features, shape.width, shape.hidden, shape.classes, shape.dropout)
        self.shape = shape
        self.transformer = nn.ModuleList(TransformerLayer(shape) for _ in range(shape.layers))

    def over_time(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, d] -> [B, T, d]; steps outside the mask are not attended to."""
        for layer in self.transformer:
            x = x + layer(x, mask)
        return x
