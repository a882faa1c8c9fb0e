"""S4D: one plain ViT for face images and face clips, with adapter experts in its upper blocks (arXiv 2409.06154).

An image is a clip of one frame shown twice; it takes the first rows of the position table. Two linear heads, one a kind.
The names of the parameters are those of the release.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.face_networks.parts.base import FaceAnswer, FaceInputs, FaceNetwork
from modalities.face_networks.parts.experts import AdapterExperts, ExpertShape
from modalities.face_networks.parts.vit import EPSILON, TubeletEmbedding, VitBlock, draw_weights, patches_of, position_table

BALANCE_WEIGHT = 1e-3
"""Of the balance loss in training."""


class S4DShape(NamedTuple):
    """Sizes: image side and patch (pixels), frames, width, blocks, heads; the blocks with experts; classes of both heads.

    `mean_pooling` off takes the first token, `layer_scale` above 0 scales each branch by a learnt vector that starts there, and
    `experts_with_layer_scale` off leaves the experts out of scaled blocks: variants that the release can build.
    """

    size: int = 160
    patch: int = 16
    frames: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    expert_blocks: tuple[int, ...] = (6, 7, 8, 9, 10, 11)
    experts: ExpertShape = ExpertShape()
    image_classes: int = 7
    video_classes: int = 7
    learnt_positions: bool = False
    mean_pooling: bool = True
    layer_scale: float = 0.0
    experts_with_layer_scale: bool = True


class S4DAnswer(NamedTuple):
    """Logits [B, C], features [B, width], and the balance loss [] summed over the blocks with experts."""

    logits: Tensor
    features: Tensor
    balance: Tensor


class ExpertBlock(VitBlock):
    """A block that may hold experts beside its MLP: `z' = h + mlp(u) + MoAE(u)`, `u = norm h`; it may scale its branches."""

    def __init__(self, shape: S4DShape, with_experts: bool) -> None:
        super().__init__(shape.width, shape.heads, shape.mlp_ratio)
        self.used = shape.experts_with_layer_scale or not shape.layer_scale
        self.moe_layer = AdapterExperts(shape.width, shape.experts) if with_experts else None
        scales = torch.full((shape.width,), shape.layer_scale)
        self.gamma_1 = nn.Parameter(scales.clone()) if shape.layer_scale else None
        self.gamma_2 = nn.Parameter(scales.clone()) if shape.layer_scale else None

    def mixing(self, z: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, N, width] -> the same, and the balance loss []."""
        seen = self.attn(self.norm1(z))
        h = z + (seen if self.gamma_1 is None else self.gamma_1 * seen)
        u = self.norm2(h)
        added = self.mlp(u)
        balance = h.new_zeros((), dtype=torch.float32)
        if self.moe_layer is not None and self.used:
            mixed, balance = self.moe_layer(u, noise)
            added = added + mixed
        return h + (added if self.gamma_2 is None else self.gamma_2 * added), balance


class S4D(FaceNetwork):
    """The network of fine-tuning and inference; pre-training is in `s4d_pretraining`."""

    def __init__(self, shape: S4DShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or S4DShape()
        tubelets = (shape.frames // 2) * (shape.size // shape.patch) ** 2
        self.patch_embed = TubeletEmbedding(shape.patch, shape.width)
        self.pos_embed: Tensor
        if shape.learnt_positions:
            self.pos_embed = nn.Parameter(torch.zeros(1, tubelets, shape.width))
        else:
            self.register_buffer("pos_embed", position_table(tubelets, shape.width)[None], persistent=False)
        self.blocks = nn.ModuleList(ExpertBlock(shape, number in shape.expert_blocks) for number in range(shape.depth))
        norm = nn.LayerNorm(shape.width, EPSILON)
        self.norm = None if shape.mean_pooling else norm
        self.fc_norm = norm if shape.mean_pooling else None
        self.head = nn.ModuleDict(
            {"image": nn.Linear(shape.width, shape.image_classes), "video": nn.Linear(shape.width, shape.video_classes)}
        )
        self.apply(draw_weights)

    def forward(self, pixels: Tensor, noise: Sequence[Tensor] | None = None) -> S4DAnswer:
        """Images [B, 3, H, W] or clips [B, 3, T, H, W]; `noise`, [B, N, E] for each block with experts, replaces the drawn."""
        kind = "image" if pixels.ndim == 4 else "video"
        clips = pixels[:, :, None].expand(-1, -1, 2, -1, -1) if pixels.ndim == 4 else pixels
        z = self.patch_embed(patches_of(clips, self.shape.patch))
        z = z + self.pos_embed[:, : z.shape[1]].to(z.dtype)
        given = iter(noise or ())
        balances = []
        for block in self.blocks:
            assert isinstance(block, ExpertBlock)
            z, balance = block.mixing(z, next(given, None) if block.moe_layer is not None else None)
            balances.append(balance)
        features = self.fc_norm(z.mean(1)) if self.fc_norm is not None else self._first(z)
        return S4DAnswer(self.head[kind](features), features, torch.stack(balances).sum())

    def _first(self, z: Tensor) -> Tensor:
        assert self.norm is not None
        first: Tensor = self.norm(z[:, 0])
        return first

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`; a single frame is an image and is answered by the head of images."""
        return FaceAnswer(*self(_channels_first(inputs.pixels))[:2])

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy, and the balance of the experts at `BALANCE_WEIGHT`."""
        found = self(_channels_first(inputs.pixels))
        return {"classification": F.cross_entropy(found.logits, targets), "balance": BALANCE_WEIGHT * found.balance}

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder of a masked pre-training stands under `encoder.`; its last norm and its decoder are left out."""
        if not any(key.startswith("encoder.") for key in tensors):
            return dict(tensors)
        encoder = {key.removeprefix("encoder."): value for key, value in tensors.items() if key.startswith("encoder.")}
        return {key: value for key, value in encoder.items() if not key.startswith("norm.")}

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Embedding 0, blocks from 1, what follows them last."""
        last = self.shape.depth + 1
        if parameter.startswith(("patch_embed", "pos_embed")):
            return 0, last + 1
        return (int(parameter.split(".")[1]) + 1 if parameter.startswith("blocks.") else last), last + 1


def build(**settings: Any) -> S4D:
    """An S4D of these sizes (fields of `S4DShape`; `experts` a mapping of fields of `ExpertShape`)."""
    experts = ExpertShape(**settings.pop("experts", {}))
    if "expert_blocks" in settings:
        settings["expert_blocks"] = tuple(settings["expert_blocks"])
    return S4D(S4DShape(experts=experts, **settings))


def _channels_first(pixels: Tensor) -> Tensor:
    """[B, T, 3, H, W] -> [B, 3, T, H, W], or [B, 3, H, W] where T is 1."""
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(1, 2)
