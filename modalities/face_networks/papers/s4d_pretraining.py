"""Masked pre-training of S4D's trunk on images and clips alike: what is hidden is to be drawn from what is seen.

A random part of the tubelets is hidden (0.9 of an image, 0.95 of a clip), the encoder sees the rest, and a small decoder draws
the pixels of all of them; hidden ones count (VideoMAE, arXiv 2203.12602; OmniMAE, arXiv 2206.08356). Names as in the release.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.face_networks.parts.vit import EPSILON, TubeletEmbedding, VitBlock, draw_weights, patches_of, position_table

IMAGE_MASK, VIDEO_MASK = 0.9, 0.95
"""Shares of the tubelets that are hidden."""


class PretrainingShape(NamedTuple):
    """Sizes of the encoder (as in `S4DShape`) and of the decoder."""

    size: int = 160
    patch: int = 16
    frames: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    mlp_ratio: float = 4.0

    @property
    def tubelets(self) -> int:
        """The tubelets of a clip, two frames deep."""
        return (self.frames // 2) * (self.size // self.patch) ** 2


class Encoder(nn.Module):
    """The trunk over the tubelets that are seen."""

    def __init__(self, shape: PretrainingShape) -> None:
        super().__init__()
        self.patch_embed = TubeletEmbedding(shape.patch, shape.width)
        self.blocks = nn.ModuleList(VitBlock(shape.width, shape.heads, shape.mlp_ratio) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, EPSILON)
        self.positions: Tensor
        self.register_buffer("positions", position_table(shape.tubelets, shape.width), persistent=False)

    def forward(self, patches: Tensor, seen: Tensor) -> Tensor:
        """Tubelets [B, V, 3, 2, p, p] that are seen and their indices [B, V] -> [B, V, width]."""
        z = self.patch_embed(patches) + self.positions[seen]
        for block in self.blocks:
            z = block(z)
        encoded: Tensor = self.norm(z)
        return encoded


class Decoder(nn.Module):
    """Draws the pixels of every tubelet."""

    def __init__(self, shape: PretrainingShape) -> None:
        super().__init__()
        width = shape.decoder_width
        self.blocks = nn.ModuleList(VitBlock(width, shape.decoder_heads, shape.mlp_ratio) for _ in range(shape.decoder_depth))
        self.norm = nn.LayerNorm(width, EPSILON)
        self.head = nn.Linear(width, 3 * 2 * shape.patch**2)

    def forward(self, z: Tensor) -> Tensor:
        """[B, N, width] -> [B, N, 6 p^2]."""
        for block in self.blocks:
            z = block(z)
        drawn: Tensor = self.head(self.norm(z))
        return drawn


class MaskedPretraining(nn.Module):
    """Encoder and decoder; `loss` is what training minimises, with weight 1 for both kinds."""

    def __init__(self, shape: PretrainingShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or PretrainingShape()
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        self.encoder_to_decoder = nn.Linear(shape.width, shape.decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, shape.decoder_width))
        self.positions: Tensor
        self.register_buffer("positions", position_table(shape.tubelets, shape.decoder_width), persistent=False)
        self.apply(draw_weights)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Images [B, 3, H, W] or clips [B, 3, T, H, W]; `mask` bool [B, N], True where hidden, as often in every row.

        Returns the drawn pixels [B, N, 6 p^2] of every tubelet, hidden or not, normalised as `targets` says.
        """
        patches = patches_of(as_clips(pixels), self.shape.patch)
        seen = (~mask).nonzero()[:, 1].view(len(mask), -1)  # indices [B, V]: every row shows as many tubelets
        rows = torch.arange(len(mask), device=mask.device)[:, None]
        known = self.encoder_to_decoder(self.encoder(patches[rows, seen], seen))
        tokens = self.mask_token.to(known.dtype).expand(*mask.shape, -1).clone()
        tokens[rows, seen] = known
        drawn: Tensor = self.decoder(tokens + self.positions[: mask.shape[1]])
        return drawn

    def loss(self, pixels: Tensor, mask: Tensor, normalised: bool = True) -> Tensor:
        """Mean squared error over the pixels of the hidden tubelets []."""
        wanted = targets(as_clips(pixels), self.shape.patch, normalised)
        return F.mse_loss(self(pixels, mask)[mask].float(), wanted[mask].float())


def random_mask(batch: int, tubelets: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """bool [batch, tubelets], True for `int(tubelets * share)` random ones of each row."""
    ranks = torch.rand(batch, tubelets, generator=generator).argsort(1).argsort(1)
    return ranks < int(tubelets * share)


def targets(clips: Tensor, patch: int, normalised: bool = True) -> Tensor:
    """What is to be drawn, [B, N, 2 p p 3], colours last; `normalised`: each tubelet's colours standardised by themselves."""
    patches = patches_of(clips, patch).permute(0, 1, 3, 4, 5, 2)
    if normalised:
        values = patches.flatten(2, 4)
        values = (values - values.mean(2, keepdim=True)) / (values.var(2, keepdim=True).sqrt() + 1e-6)
        return values.flatten(2)
    return patches.flatten(2)


def as_clips(pixels: Tensor) -> Tensor:
    """Images [B, 3, H, W] as clips of two equal frames; clips as they are."""
    return pixels[:, :, None].expand(-1, -1, 2, -1, -1) if pixels.ndim == 4 else pixels


def build(**settings: Any) -> MaskedPretraining:
    """The pre-training of these sizes (fields of `PretrainingShape`)."""
    return MaskedPretraining(PretrainingShape(**settings))


def parameter_count(network: nn.Module, prefixes: Sequence[str] = ("",)) -> int:
    """Parameters whose names start with one of `prefixes`."""
    return sum(value.numel() for name, value in network.named_parameters() if name.startswith(tuple(prefixes)))
