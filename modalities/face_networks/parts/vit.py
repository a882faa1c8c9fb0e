"""Parts of the plain vision transformers of VideoMAE (arXiv 2203.12602) that S4D and its pre-training are made of.

The names of the parameters are those of the S4D release (arXiv 2409.06154), so that its checkpoints load as they are.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

EPSILON = 1e-6
"""Of every layer norm."""


def position_table(length: int, width: int) -> Tensor:
    """Fixed sinusoidal codes [length, width] of the positions in a flattened grid: sines in even columns, cosines in odd ones."""
    column = torch.arange(width, dtype=torch.float64)
    rates = torch.pow(10000.0, -2.0 * torch.div(column, 2, rounding_mode="floor") / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.where(column % 2 == 0, angles.sin(), angles.cos()).float()


def patches_of(clips: Tensor, patch: int, tubelet: int = 2) -> Tensor:
    """Clips [B, 3, T, H, W] cut into tubelets: [B, (T/tubelet)(H/patch)(W/patch), 3, tubelet, patch, patch]."""
    batch, colours, frames, height, width = clips.shape
    grid = (frames // tubelet, height // patch, width // patch)
    cut = clips.reshape(batch, colours, grid[0], tubelet, grid[1], patch, grid[2], patch)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(1, 3)


class TubeletEmbedding(nn.Module):
    """A linear map of each tubelet; its weight has the form of a convolution as wide as its stride."""

    def __init__(self, patch: int, width: int, tubelet: int = 2) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, (tubelet, patch, patch), (tubelet, patch, patch))

    def forward(self, patches: Tensor) -> Tensor:
        """[B, N, 3, tubelet, patch, patch] -> [B, N, width]."""
        return F.linear(patches.flatten(2), self.proj.weight.flatten(1), self.proj.bias)


class VitAttention(nn.Module):
    """Self-attention whose queries and values have a bias and whose keys have none."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, width] -> the same."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        split = F.linear(x, self.qkv.weight, bias).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(split[0], split[1], split[2])
        answer: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return answer


class VitMlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> the same."""
        answer: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return answer


class VitBlock(nn.Module):
    """A pre-norm transformer block: `h = z + attention(norm z)`, `h + mlp(norm h)`."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.attn = VitAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.mlp = VitMlp(width, int(width * mlp_ratio))

    def forward(self, z: Tensor) -> Tensor:
        """[B, N, width] -> the same."""
        h = z + self.attn(self.norm1(z))
        answer: Tensor = h + self.mlp(self.norm2(h))
        return answer


def draw_weights(module: nn.Module) -> None:
    """Start a module as the ViTs of the field do: truncated normal of deviation 0.02 in linear maps, biases at 0."""
    if isinstance(module, nn.Linear | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
