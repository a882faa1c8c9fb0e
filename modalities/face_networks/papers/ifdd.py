"""IFDD: what moves in a face, split from what stays by a learnt wavelet lifting over time (arXiv 2412.13168).

MViTv2 makes tokens of 8 time steps; ISSM reads two halves of them at times that depend on the content, one of what changes little
and one of what changes; LADM updates the first with the second, subtracts from the second what the first predicts, and only what
is left is classified. The names of the parameters are those of the release.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.face_networks.parts.base import FaceAnswer, FaceInputs, FaceNetwork
from modalities.face_networks.parts.mvit import DropPath, MViT, stages

DEPTHS = {"xs": (1, 2, 5, 2), "s": (1, 2, 11, 2)}
"""Blocks of each stage; S is torchvision's `mvit_v2_s`."""
OFFSET = 2.0
"""Time steps that a learnt index may lie from the even or odd step it starts from at most."""
COARSE = 7
"""Side of the maps, and number of channels, from which the likeness of frames is told."""
LIFTING_WEIGHT = 1.6
"""Of the lifting loss, meant over the batch: 0.1 of the release's sum over its batches of 16."""

HALVES = {"moving": 1, "still": 1, "both": 2}
"""Halves of the tokens that can be classified, and how many they are."""


class LiftingShape(NamedTuple):
    """Sizes of ISSM and LADM: time steps, height, width of the maps; width and heads of the tokens; dropout.

    `adaptive` off splits even from odd steps; `norm` off leaves the norms before lifting out; `update_first` off predicts first.
    `release_sampling` reads index i at the time `i T / (T - 1) - 0.5`, as the release does, instead of i. `classified`: the half
    that the code is made of; the paper's is the moving one, the others are for ablations.
    """

    grid: tuple[int, int, int] = (8, 7, 7)
    width: int = 768
    heads: int = 8
    drop: float = 0.2
    adaptive: bool = True
    norm: bool = True
    update_first: bool = True
    release_sampling: bool = False
    classified: Literal["moving", "still", "both"] = "moving"


class AdaptiveSplit(nn.Module):
    """ISSM: the times of the static and of the dynamic half follow from how alike the frames are."""

    def __init__(self, shape: LiftingShape) -> None:
        super().__init__()
        self.grid, self.release_sampling = shape.grid, shape.release_sampling
        steps = shape.grid[0]
        self.dim_project = nn.Sequential(nn.Conv2d(shape.width, COARSE, 1))
        self.offset_project_approx, self.offset_project_detail = (
            nn.Sequential(nn.Linear(steps**2, steps // 2, bias=False)) for _ in range(2)
        )
        self.time_project = _unused(nn.Sequential(nn.Linear(steps, steps), nn.ReLU(), nn.Linear(steps, 1)))
        self.index_even: Tensor
        self.index_odd: Tensor
        self.register_buffer("index_even", torch.arange(0, steps, 2))
        self.register_buffer("index_odd", torch.arange(1, steps, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T, H W] -> the static and the dynamic half, [B, C, T/2, H W] each."""
        likeness = self.likeness(x)
        like, unlike = (likeness.mul(sign).softmax(2).flatten(1) for sign in (1.0, -1.0))
        still = self.index_even + OFFSET * self.offset_project_approx(like).tanh()
        moving = self.index_odd + OFFSET * self.offset_project_detail(unlike).tanh()
        return self.read(x, still), self.read(x, moving)

    def likeness(self, x: Tensor) -> Tensor:
        """[B, C, T, H W] -> products of the frames' coarse maps, over C: [B, T, T]."""
        frames = torch.unflatten(x, 3, self.grid[1:]).transpose(1, 2).flatten(0, 1)
        coarse = F.gelu(self.dim_project(F.adaptive_avg_pool2d(frames, COARSE))).reshape(len(x), x.shape[2], -1)
        products: Tensor = coarse @ coarse.transpose(1, 2) / x.shape[1]
        return products

    def read(self, x: Tensor, index: Tensor) -> Tensor:
        """[B, C, T, H W] at fractional time steps [B, K], linearly between two and the outer ones beyond: [B, C, K, H W]."""
        last = x.shape[2] - 1
        if self.release_sampling:
            index = index * (last + 1) / last - 0.5
        index = index.clamp(0, last)
        steps = torch.arange(last + 1, device=x.device)
        shares = (1 - (index[..., None] - steps).abs()).clamp(min=0)  # [B, K, T]: a hat around each step
        return torch.einsum("bkt,bctp->bckp", shares.to(x.dtype), x)


class Lifting(nn.Module):
    """LADM: update, predict, refine, and one code of what is left."""

    def __init__(self, shape: LiftingShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        positions, self.pairs = shape.grid[1] * shape.grid[2], shape.grid[0] // 2
        sizes = {"spatial_pos": (positions, width), "temporal_pos": (shape.grid[0], width), "class_pos": (width,)}
        for name, size in sizes.items():  # in the release's checkpoints, and unused there
            self.register_parameter(name, nn.Parameter(torch.zeros(size), requires_grad=False))
        self.q_d, self.q_a = nn.Linear(width, width), nn.Linear(width, width)
        self.kv_a, self.kv_d = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.project_d, self.project_a = (nn.Sequential(nn.Linear(width, width)) for _ in range(2))
        self.adapt_split = AdaptiveSplit(shape) if shape.adaptive else None
        self.xa_norm, self.xd_norm = (nn.LayerNorm(width) if shape.norm else None for _ in range(2))
        self.out_norm1, self.out_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Sequential(nn.Linear(width, width))
        hidden = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width), nn.Identity())
        self.drop = DropPath(shape.drop)
        if shape.classified not in HALVES:
            raise ValueError(f"classified is one of {', '.join(HALVES)}, not '{shape.classified}'")
        self.project_compress = nn.Linear(HALVES[shape.classified] * self.pairs * positions, 1, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T H W, C] -> the code of the half that is classified [B, C], and the residual of the static half
        [B, C, T/2, H, W]."""
        still, moving = self.lifted(tokens)
        before = torch.unflatten(tokens, 1, (self.pairs, 2, -1)).mean(2).flatten(1, 2)
        residual = torch.unflatten((before - still).transpose(1, 2), 2, (self.pairs, *self.shape.grid[1:]))
        chosen = {"moving": [moving], "still": [still], "both": [moving, still]}[self.shape.classified]
        return self.project_compress(self.refined(torch.cat(chosen, 1)).transpose(1, 2))[..., 0], residual

    def lifted(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T H W, C] -> the static half updated and the dynamic half without what that predicts, [B, T/2 H W, C] each."""
        still, moving = self._split(tokens)
        still = still if self.xa_norm is None else self.xa_norm(still)
        moving = moving if self.xd_norm is None else self.xd_norm(moving)
        if self.shape.update_first:
            still = self._updated(still, moving)
            return still, self._without_predicted(moving, still)
        moving = self._without_predicted(moving, still)
        return self._updated(still, moving), moving

    def refined(self, moving: Tensor) -> Tensor:
        """[B, T/2 H W, C] -> the same, after self-attention and an MLP that has no residual."""
        q, k, v = self.qkv(self.out_norm1(moving)).chunk(3, 2)
        moving = moving + self.drop(self.project(self._attention(q, k, v)))
        answer: Tensor = self.drop(self.mlp(self.out_norm2(moving)))
        return answer

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.unflatten(tokens, 1, (self.shape.grid[0], -1)).permute(0, 3, 1, 2)
        halves = (maps[:, :, 0::2], maps[:, :, 1::2]) if self.adapt_split is None else self.adapt_split(maps)
        still, moving = (half.flatten(2).transpose(1, 2) for half in halves)
        return still, moving

    def _updated(self, still: Tensor, moving: Tensor) -> Tensor:
        k, v = self.kv_d(moving).chunk(2, 2)
        updated: Tensor = still + self.project_a(self._attention(self.q_a(still), k, v) + v)  # the values, where positions match
        return updated

    def _without_predicted(self, moving: Tensor, still: Tensor) -> Tensor:
        k, v = self.kv_a(still).chunk(2, 2)
        left: Tensor = moving - self.project_d(self._attention(self.q_d(moving), k, v) + v)
        return left

    def _attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, N, C] each -> [B, N, C]."""
        q, k, v = (torch.unflatten(part, 2, (self.shape.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Stem(nn.Module):
    """Clips to maps of 8 time steps and a quarter of the size."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.halve = frames >= 32
        self.conv_proj = nn.Conv3d(3, width, (3, 7, 7), (1 if frames == 8 else 2, 4, 4), (1, 3, 3))

    def forward(self, clips: Tensor) -> Tensor:
        """[B, 3, T, H, W] -> [B, width, 8, H/4, W/4]."""
        maps: Tensor = self.conv_proj(clips)
        return F.avg_pool3d(maps, (2, 1, 1)) if self.halve else maps


class IFDDShape(NamedTuple):
    """Sizes: variant (`xs` or `s`), frames (8, 16 or 32), image side, widths of the stages, classes."""

    variant: str = "xs"
    frames: int = 16
    size: int = 224
    widths: tuple[int, ...] = (96, 192, 384, 768)
    classes: int = 7
    drop: float = 0.2
    head_dropout: float = 0.5
    lifting: LiftingShape = LiftingShape()


class IFDDAnswer(NamedTuple):
    """Logits [B, C], the code of what moves [B, width], the residual of the static half [B, width, 4, h, w]."""

    logits: Tensor
    features: Tensor
    residual: Tensor


class Pyramid(nn.Module):
    """The backbone, its two last stages joined, and the lifting over them."""

    def __init__(self, shape: IFDDShape) -> None:
        super().__init__()
        widths, side = shape.widths, shape.size // 4
        self.backbone = MViT(stages(DEPTHS[shape.variant], widths), (8, side, side), shape.drop)
        self.PANLayer = nn.Sequential(nn.Conv2d(widths[2], widths[2], 3, 2, padding=2, dilation=2, bias=False))
        self.CatConv = nn.Conv2d(widths[2] + widths[3], widths[3], 1, bias=False)
        self.WaveLifts = Lifting(shape.lifting._replace(grid=(8, side // 8, side // 8), width=widths[3]))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """[B, width, 8, h, w] -> what `Lifting` answers."""
        *_, (third, grid), (last, smaller) = self.backbone(maps)
        joined = torch.cat([self.PANLayer(_frame_maps(third, grid)), _frame_maps(last, smaller)], 1)
        x = torch.unflatten(self.CatConv(joined), 0, (-1, grid[0])).permute(0, 1, 3, 4, 2).flatten(1, 3)
        code: tuple[Tensor, Tensor] = self.WaveLifts(x)
        return code


class IFDDHead(nn.Module):
    """Dropout and a linear layer."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width] -> [B, classes]."""
        logits: Tensor = self.head(x)
        return logits


class IFDD(FaceNetwork):
    """The whole network; its pixels lie in 0..1, without further normalisation."""

    def __init__(self, shape: IFDDShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or IFDDShape()
        self.embed = Stem(shape.widths[0], shape.frames)
        self.backbone = Pyramid(shape)
        self.head = IFDDHead(shape.widths[3], shape.classes, shape.head_dropout)

    def forward(self, clips: Tensor) -> IFDDAnswer:
        """Clips [B, 3, T, H, W] in 0..1."""
        code, residual = self.backbone(self.embed(clips))
        return IFDDAnswer(self.head(code), code, residual)

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`."""
        return FaceAnswer(*self(inputs.pixels.transpose(1, 2))[:2])

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy, and the lifting loss at `LIFTING_WEIGHT`."""
        found = self(inputs.pixels.transpose(1, 2))
        lifting = LIFTING_WEIGHT * lifting_losses(relaxed(found.residual)).mean()
        return {"classification": F.cross_entropy(found.logits, targets), "lifting": lifting}

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's `mvit_v2_s`: its stem and blocks under their names here, the two last blocks as the last of XS."""
        if "conv_proj.weight" not in tensors:
            return dict(tensors)
        moved = {"14": "8", "15": "9"} if self.shape.variant == "xs" else {}
        left_out = {str(number) for number in range(8, 14)} if moved else set()
        ours: dict[str, Tensor] = {}
        for key, value in tensors.items():
            part, *rest = key.split(".")
            if part == "conv_proj":
                ours[f"embed.{key}"] = value
            elif part == "blocks" and rest[0] not in left_out:
                ours[".".join(["backbone.backbone.blocks", moved.get(rest[0], rest[0]), *rest[1:]])] = value
            elif part in ("pos_encoding", "norm"):
                ours[f"backbone.backbone.{key}"] = value
        return ours

    def derived(self) -> frozenset[str]:
        """Indices, which are fixed."""
        return frozenset(key for key in self.state_dict() if key.endswith(("index_even", "index_odd")))

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Stem 0, blocks from 1, all the rest last."""
        last = sum(DEPTHS[self.shape.variant]) + 1
        if parameter.startswith(("embed", "backbone.backbone.pos_encoding")):
            return 0, last + 1
        inside = parameter.startswith("backbone.backbone.blocks.")
        return (int(parameter.split(".")[3]) + 1 if inside else last), last + 1


def relaxed(residual: Tensor) -> Tensor:
    """The residual of the static half [B, C, T/2, H, W], averaged over channels and time: [B, H, W]."""
    return residual.mean((1, 2))


def lifting_losses(residual: Tensor) -> Tensor:
    """How far each clip's static half is from the mean of its frames: smooth L1 of the residual [B, H, W] -> [B]."""
    return F.smooth_l1_loss(residual, torch.zeros_like(residual), reduction="none").flatten(1).mean(1)


def build(**settings: Any) -> IFDD:
    """An IFDD of these sizes (fields of `IFDDShape`; `lifting` a mapping of fields of `LiftingShape`)."""
    lifting = LiftingShape(**settings.pop("lifting", {}))
    if "widths" in settings:
        settings["widths"] = tuple(settings["widths"])
    return IFDD(IFDDShape(lifting=lifting, **settings))


def _frame_maps(tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """[B, 1 + positions, width] -> [B t, width, h, w], without the class token."""
    return torch.unflatten(tokens[:, 1:], 1, grid).permute(0, 1, 4, 2, 3).flatten(0, 1)


def _unused(module: nn.Module) -> nn.Module:
    """Parameters that the release's checkpoints hold and nothing reads."""
    return module.requires_grad_(False)
