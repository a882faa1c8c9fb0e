"""MViTv2: a video transformer that pools its tokens on the way (arXiv 2112.01526), as IFDD uses it.

Names and order of the parameters are those of torchvision's `mvit_v2_s`, so that its Kinetics-400 weights load as they are.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

EPSILON = 1e-6
KERNEL = (3, 3, 3)
Grid = tuple[int, int, int]
"""Positions over time, height and width."""


class BlockShape(NamedTuple):
    """Sizes of a block: heads, widths before and after, strides over height and width of queries and of keys."""

    heads: int
    width: int
    out: int
    query_stride: int
    key_stride: int


def stages(depths: tuple[int, ...], widths: tuple[int, ...], first_key_stride: int = 8) -> list[BlockShape]:
    """The blocks of stages of these depths; the first of each but the first stage widens the tokens and halves the maps."""
    blocks: list[BlockShape] = []
    for number, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for index in range(depth):
            enters = index == 0 and number > 0
            before = widths[number - 1] if enters else width
            blocks.append(BlockShape(2**number, before, width, 2 if enters else 1, max(first_key_stride >> number, 1)))
    return blocks


class Pool(nn.Module):
    """A convolution of each channel over the positions of a head, and a norm; the class token only meets the norm."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.Conv3d(width, width, KERNEL, (1, stride, stride), padding=1, groups=width, bias=False)
        self.norm_act = nn.Sequential(nn.LayerNorm(width, EPSILON))

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """[B, heads, 1 + positions, d] -> the same with fewer positions, and their grid."""
        pooled = self.pool(_as_maps(x[:, :, 1:], grid))
        tokens = torch.unflatten(pooled.flatten(2).transpose(1, 2), 0, x.shape[:2])
        return self.norm_act(torch.cat([x[:, :, :1], tokens], 2)), tuple(pooled.shape[2:])


class PooledAttention(nn.Module):
    """Attention between pooled queries and keys, with relative positions apart for time, height and width.

    The positions enter as further columns of queries and keys (the query's products with the positions, and which position a
    key has), so that no matrix of all pairs is ever formed.
    """

    def __init__(self, shape: BlockShape, grid: Grid) -> None:
        super().__init__()
        self.heads, head = shape.heads, shape.out // shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.out)
        self.project = nn.Sequential(nn.Linear(shape.out, shape.out))
        self.pool_q = Pool(head, shape.query_stride)
        self.pool_k, self.pool_v = (Pool(head, shape.key_stride) for _ in range(2))
        side = max(grid[1:])
        reach = 2 * max(side // shape.query_stride, side // shape.key_stride) - 1
        self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.empty(reach, head)) for _ in range(2))
        self.rel_pos_t = nn.Parameter(torch.empty(2 * grid[0] - 1, head))
        for table in (self.rel_pos_h, self.rel_pos_w, self.rel_pos_t):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """[B, 1 + positions, width] -> [B, 1 + fewer positions, out], and their grid."""
        q, k, v = torch.unflatten(self.qkv(x), 2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        (q, grid_q), (k, grid_k), (v, _) = self.pool_q(q, grid), self.pool_k(k, grid), self.pool_v(v, grid)
        columns, marks = self._relative(q[:, :, 1:], grid_q, grid_k)
        queries = torch.cat([q * q.shape[3] ** -0.5, F.pad(columns, (0, 0, 1, 0))], 3)
        keys = torch.cat([k, F.pad(marks, (0, 0, 1, 0)).to(k.dtype).expand(*k.shape[:2], -1, -1)], 3)
        values = F.pad(v, (0, queries.shape[3] - v.shape[3]))  # equal widths: the fast kernels ask for them
        seen = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., : v.shape[3]]
        seen = torch.cat([seen[:, :, :1], seen[:, :, 1:] + q[:, :, 1:]], 2)  # pooling's residual, not for the class token
        answer: Tensor = self.project(seen.transpose(1, 2).flatten(2))
        return answer, grid_q

    def _relative(self, q: Tensor, grid_q: Grid, grid_k: Grid) -> tuple[Tensor, Tensor]:
        """Products of queries [B, heads, queries, d] with the positions of keys, [B, heads, queries, t + h + w], and which
        of them each key has, 0 or 1 [keys, t + h + w]."""
        maps = torch.unflatten(q, 2, grid_q)
        tables = [self.rel_pos_t, self.rel_pos_h, self.rel_pos_w]
        positions = [_distances(table, *sizes) for table, *sizes in zip(tables, grid_q, grid_k, strict=True)]
        over_time = torch.einsum("bnthwc,tkc->bnthwk", maps, positions[0])
        over_height = torch.einsum("bnthwc,hkc->bnthwk", maps, positions[1])
        over_width = torch.einsum("bnthwc,wkc->bnthwk", maps, positions[2])
        columns = torch.cat([over_time, over_height, over_width], 5).flatten(2, 4)
        coordinates = torch.cartesian_prod(*(torch.arange(size, device=q.device) for size in grid_k)).unbind(1)
        marks = [F.one_hot(coordinate, size) for coordinate, size in zip(coordinates, grid_k, strict=True)]
        return columns, torch.cat(marks, 1)


class MultiscaleBlock(nn.Module):
    """Attention and MLP with residuals; where the width grows or the grid shrinks the residual does so too."""

    def __init__(self, shape: BlockShape, grid: Grid, drop: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, EPSILON)
        self.norm2 = nn.LayerNorm(shape.out, EPSILON)
        self.attn = PooledAttention(shape, grid)
        hidden = 4 * shape.out
        layers = [nn.Linear(shape.out, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, shape.out), nn.Identity()]
        self.mlp = nn.Sequential(*layers)
        self.project = nn.Linear(shape.width, shape.out) if shape.width != shape.out else None
        self.shrink = shape.query_stride
        self.drop = DropPath(drop)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """[B, 1 + positions, width] -> [B, 1 + fewer positions, out], and their grid."""
        normed = self.norm1(x)
        seen, smaller = self.attn(normed, grid)
        kept = x if self.project is None else self.project(normed)
        if self.shrink > 1:
            size = (1, self.shrink + 1, self.shrink + 1)
            maps = F.max_pool3d(_as_maps(kept[:, None, 1:], grid), size, (1, self.shrink, self.shrink), (0, 1, 1))
            kept = torch.cat([kept[:, :1], maps.flatten(2).transpose(1, 2)], 1)
        x = kept + self.drop(seen)
        return x + self.drop(self.mlp(self.norm2(x))), smaller


class DropPath(nn.Module):
    """Leaves a branch out of whole samples in training, with this probability, and scales the others up."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> the same."""
        if not self.training or not self.probability:
            return x
        kept = x.new_empty([len(x), *[1] * (x.ndim - 1)]).bernoulli_(1 - self.probability)
        return x * kept / (1 - self.probability)


class ClassToken(nn.Module):
    """Puts a learnt token before the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, width] -> [B, 1 + N, width]."""
        return torch.cat([self.class_token.to(x.dtype).expand(len(x), 1, -1), x], 1)


class MViT(nn.Module):
    """The blocks after the stem; `ends` are the numbers of the blocks whose tokens are handed on."""

    def __init__(self, blocks: list[BlockShape], grid: Grid, drop: float) -> None:
        super().__init__()
        self.pos_encoding = ClassToken(blocks[0].width)
        self.blocks = nn.ModuleList()
        for number, shape in enumerate(blocks):
            self.blocks.append(MultiscaleBlock(shape, grid, drop * number / max(len(blocks) - 1, 1)))
            grid = (grid[0], grid[1] // shape.query_stride, grid[2] // shape.query_stride)
        self.norm = nn.LayerNorm(blocks[-1].out, EPSILON)
        self.ends = [number for number in range(len(blocks) - 1) if blocks[number + 1].heads > blocks[number].heads]

    def forward(self, maps: Tensor) -> list[tuple[Tensor, Grid]]:
        """[B, width, t, h, w] -> the tokens [B, 1 + positions, width] of every stage with their grids, the last one normed."""
        grid: Grid = (maps.shape[2], maps.shape[3], maps.shape[4])
        x = self.pos_encoding(maps.flatten(2).transpose(1, 2))
        found: list[tuple[Tensor, Grid]] = []
        for number, block in enumerate(self.blocks):
            x, grid = block(x, grid)
            if number in self.ends:
                found.append((x, grid))
        return [*found, (self.norm(x), grid)]


def _as_maps(tokens: Tensor, grid: Grid) -> Tensor:
    """[B, heads, positions, d] -> [B heads, d, t, h, w]."""
    return torch.unflatten(tokens.flatten(0, 1).transpose(1, 2), 2, grid)


def _distances(table: Tensor, queries: int, keys: int) -> Tensor:
    """The rows of a table of relative positions for every pair [queries, keys, d]; the finer grid counts where they differ."""
    reach = 2 * max(queries, keys) - 1
    if len(table) != reach:
        table = F.interpolate(table.T[None], size=reach, mode="linear")[0].T
    of_queries = torch.arange(queries, device=table.device)[:, None] * max(keys / queries, 1.0)
    of_keys = (torch.arange(keys, device=table.device)[None] + (1.0 - keys)) * max(queries / keys, 1.0)
    return table[(of_queries - of_keys).long()]
