"""A face and its neutral reference: a ViT whose code is split into the expression and what is left of the face without it.

After PF-ViT ("poker face", arXiv 2207.11081): encoder, separator into two orthogonal parts, generator that draws the face from
both and the emotionless face from the residue, classifier on the expression. The paper judges drawn faces by discriminators; here
none takes part: faces that are neutral must be drawn from their residue alone, and every residue must be classified as neutral.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.parts.base import FaceAnswer, FaceInputs, FaceNetwork
from modalities.face_networks.parts.vit import EPSILON, TubeletEmbedding, VitBlock, draw_weights, patches_of, position_table

WEIGHTS = {"orthogonality": 1.0, "reconstruction": 1.0, "neutral face": 1.0, "neutral residue": 0.1}
"""Of the losses beside the classification."""
NEUTRAL = "neutral"


class NeutralReferenceShape(NamedTuple):
    """Sizes: image side and patch (pixels); width, blocks and heads of the encoder; of the generator; labels."""

    size: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    generator_width: int = 384
    generator_depth: int = 4
    generator_heads: int = 6
    labels: tuple[str, ...] = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")


class Separated(NamedTuple):
    """Tokens of the expression and of the residue, [B, N, width] each."""

    expression: Tensor
    residue: Tensor


class NeutralReference(FaceNetwork):
    """Encoder, separator, classifier; the generator takes part in training and in drawing, not in answers."""

    def __init__(self, shape: NeutralReferenceShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or NeutralReferenceShape()
        patches = (shape.size // shape.patch) ** 2
        self.patch_embed = TubeletEmbedding(shape.patch, shape.width, 1)
        self.blocks = nn.ModuleList(VitBlock(shape.width, shape.heads) for _ in range(shape.depth))
        self.expression, self.residue = (nn.Sequential(VitBlock(shape.width, shape.heads), _norm(shape.width)) for _ in range(2))
        self.classifier = nn.Linear(shape.width, len(shape.labels))
        self.enter = nn.Linear(shape.width, shape.generator_width)
        inner = shape.generator_width
        self.generator = nn.Sequential(*(VitBlock(inner, shape.generator_heads) for _ in range(shape.generator_depth)))
        self.leave = nn.Sequential(_norm(inner), nn.Linear(inner, 3 * shape.patch**2))
        self.positions: Tensor
        self.generator_positions: Tensor
        self.register_buffer("positions", position_table(patches, shape.width), persistent=False)
        self.register_buffer("generator_positions", position_table(patches, shape.generator_width), persistent=False)
        self.apply(draw_weights)

    def separated(self, images: Tensor) -> Separated:
        """Images [B, 3, H, W] -> their two parts."""
        z = self.patch_embed(patches_of(images[:, :, None], self.shape.patch, 1)) + self.positions
        for block in self.blocks:
            z = block(z)
        return Separated(self.expression(z), self.residue(z))

    def drawn(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, width] -> the pixels of the patches [B, N, 3 p^2]; of a residue alone: the emotionless face."""
        pixels: Tensor = self.leave(self.generator(self.enter(tokens) + self.generator_positions))
        return pixels

    def neutral_face(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] (normalised) -> the same faces without their expression, in the same form."""
        patches = self.drawn(self.separated(images).residue)
        side, patch = self.shape.size // self.shape.patch, self.shape.patch
        grid = patches.view(len(images), side, side, 3, patch, patch)
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`; the codes of a clip's frames are averaged."""
        parts = self.separated(inputs.pixels.flatten(0, 1))
        code = parts.expression.mean(1).view(*inputs.pixels.shape[:2], -1).mean(1)
        return FaceAnswer(self.classifier(code), code)

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """Classification, orthogonality of both parts, and what the generator draws, weighted by `WEIGHTS`."""
        frames, images = inputs.pixels.shape[1], inputs.pixels.flatten(0, 1)
        shares = targets.repeat_interleave(frames, 0)
        parts, wanted = self.separated(images), patches_of(images[:, :, None], self.shape.patch, 1).flatten(2)
        expression, residue = parts.expression.mean(1), parts.residue.mean(1)
        neutral = self.shape.labels.index(NEUTRAL)
        alone = F.l1_loss(self.drawn(parts.residue), wanted, reduction="none").mean((1, 2))
        of_neutral = torch.full((len(residue),), neutral, device=residue.device)
        further = {
            "orthogonality": F.cosine_similarity(expression, residue).square().mean(),
            "reconstruction": F.l1_loss(self.drawn(parts.expression + parts.residue), wanted),
            "neutral face": (shares[:, neutral] * alone).mean(),
            "neutral residue": F.cross_entropy(self.classifier(residue), of_neutral),
        }
        weighted = {name: WEIGHTS[name] * term for name, term in further.items()}
        return {"classification": F.cross_entropy(self.classifier(expression), shares), **weighted}

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Embedding 0, blocks from 1, what follows them last."""
        last = self.shape.depth + 1
        if parameter.startswith("patch_embed"):
            return 0, last + 1
        return (int(parameter.split(".")[1]) + 1 if parameter.startswith("blocks.") else last), last + 1


def build(labels: Sequence[str] = NeutralReferenceShape().labels, **settings: Any) -> NeutralReference:
    """The network of these sizes (fields of `NeutralReferenceShape`) for these labels, one of which is 'neutral'."""
    if NEUTRAL not in labels:
        raise ValueError(f"'{NEUTRAL}' must be one of its labels, which are {', '.join(labels)}")
    return NeutralReference(NeutralReferenceShape(labels=tuple(labels), **settings))


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, EPSILON)
