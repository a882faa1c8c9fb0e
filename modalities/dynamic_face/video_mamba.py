"""VideoMamba: the expression of a sequence of face features, by selective state spaces (Mamba, arXiv 2312.00752).

The names of the parameters are those of the RAS release (arXiv 2507.02205), so that its checkpoints load as they are.
"""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

Discretisation = Literal["product", "exponential"]
"""How a state fades over a step of length delta: `exp(-A) * delta`, what the RAS release computes and what its checkpoints
were trained with, or `exp(-A * delta)`, the zero-order hold of the Mamba paper."""


class VideoMambaShape(NamedTuple):
    """Sizes: input features, width d, states a channel, kernel (frames), rank of the step size, blocks, classifier, classes."""

    features: int = 512
    width: int = 512
    states: int = 4
    kernel: int = 6
    rank: int = 32
    layers: int = 4
    hidden: int = 128
    classes: int = 8
    dropout: float = 0.15
    discretisation: Discretisation = "product"


class TemporalAnswer(NamedTuple):
    """Logits [B, classes] and features [B, width]: the mean over time of what the last layer says."""

    logits: Tensor
    features: Tensor


class AddAndNorm(nn.Module):
    """`LayerNorm(x + dropout(residual))`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Both [..., width]."""
        added: Tensor = self.norm(x + self.dropout(residual))
        return added


def selective_scan(keep: Tensor, enter: Tensor) -> Tensor:
    """All states of `h_t = keep_t * h_(t-1) + enter_t`, starting from 0: [B, T, d, states] -> the same shape.

    One step a frame over the whole batch: with the at most 20 frames of a window this is cheaper than a parallel scan.
    """
    states = torch.empty_like(enter)
    state = torch.zeros_like(enter[:, 0])
    for step in range(enter.shape[1]):
        state = torch.addcmul(enter[:, step], keep[:, step], state)
        states[:, step] = state
    return states


class MambaBlock(nn.Module):
    """A causal convolution over time and a selective state space, gated."""

    def __init__(self, shape: VideoMambaShape) -> None:
        super().__init__()
        width = shape.width
        self.discretisation = shape.discretisation
        self.in_proj = nn.Linear(width, 2 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.s_B = nn.Linear(width, shape.states, bias=False)
        self.s_C = nn.Linear(width, shape.states, bias=False)
        self.s_D = nn.Sequential(nn.Linear(width, shape.rank, bias=False), nn.Linear(shape.rank, width, bias=False))
        self.conv = nn.Conv1d(width, width, shape.kernel, padding=shape.kernel - 1, groups=width)
        self.A = nn.Parameter(torch.arange(1.0, shape.states + 1).repeat(width, 1))
        self.D = nn.Parameter(torch.ones(width))
        self.add_norm = AddAndNorm(width, shape.dropout)

    def state_space(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, d] -> output [B, T, d] and states [B, T, d, states], computed in float32 at least.

        `D` is the bias of the step size as well as the weight of the direct path (as in the release).
        """
        exact = torch.promote_types(x.dtype, torch.float32)
        step = F.softplus(self.D + self.s_D(x)).to(exact)[..., None]
        fading = self.A.to(exact)
        keep = torch.exp(-fading) * step if self.discretisation == "product" else torch.exp(-fading * step)
        enter = self.s_B(x).to(exact)[:, :, None, :] * (step * x.to(exact)[..., None])
        states = selective_scan(keep, enter)
        seen = (states @ self.s_C(x).to(exact)[..., None])[..., 0]
        return self.add_norm(self.D * x, seen.to(x.dtype)), states

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, d]; an answer depends on the frames up to its own."""
        inner, gate = self.in_proj(x).chunk(2, dim=-1)
        inner = self.conv(inner.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        answer: Tensor = self.out_proj(self.state_space(F.silu(inner))[0] * F.silu(gate))
        return answer


class TemporalShell(nn.Module, ABC):
    """What both heads share: features enter, layers with residuals around them, the mean over time, a classifier."""

    def __init__(self, features: int, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.features, self.width, self.classes = features, width, classes
        self.image_proj = nn.Sequential(nn.Linear(features, width), nn.LayerNorm(width), nn.Dropout(dropout))
        self.classifier = nn.Sequential(
            nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )

    @abstractmethod
    def over_time(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, d] -> [B, T, d]: the layers."""

    def forward(self, sequences: Tensor, mask: Tensor | None = None) -> TemporalAnswer:
        """`sequences` [B, T, features]; `mask` bool [B, T] is True for frames, False for the padding after them.

        Without a mask every step counts, padding included (so the release treats its zero-padded sequences).
        """
        x = self.over_time(self.image_proj(sequences), mask)
        pooled = x.mean(1) if mask is None else (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).to(x.dtype)
        return TemporalAnswer(self.classifier(pooled), pooled)


class VideoMamba(TemporalShell):
    """Features of a window's faces in the order of time -> the expression of the window."""

    def __init__(self, shape: VideoMambaShape | None = None) -> None:
        shape = shape or VideoMambaShape()
        super().__init__(shape.features, shape.width, shape.hidden, shape.classes, shape.dropout)
        self.shape = shape
        self.mamba = nn.ModuleList(MambaBlock(shape) for _ in range(shape.layers))

    def over_time(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, d] -> [B, T, d]; the blocks look back only, so padding after a sequence changes nothing before it."""
        for block in self.mamba:
            x = x + block(x)
        return x
