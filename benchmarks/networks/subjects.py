"""The networks of `benchmarks/networks/table.py`: rows of the table of face networks, at full size or tiny, and their inputs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.face_networks.parts.base import FaceInputs, FaceNetwork
from modalities.face_networks.registry import NetworkRow, build_network, network_table
from modalities.training.face_networks.recipes import make_optimiser, recipes_of

SPEECH_FRAMES = 199
"""Of 20 ms, in the 4 s of speech that RAS's heads hear."""
CAPTION_TOKENS = 77
CONTEXT = 512
ITEMS = ("clips", "pictures", "features")

SMALL_CLIP: dict[str, Any] = {
    "shape": {
        "embedding": 32, "size": 32, "patch": 8, "width": 64, "layers": 2, "text_width": 64, "text_heads": 1, "text_layers": 1,
    }
}  # fmt: skip
SMALL_RESNET: dict[str, Any] = {"width": 4, "layers": [1, 1, 1, 1], "features": 16}
SMALL_HEAD = {"width": 32, "middle": 16, "last": 8}
SMALL: Mapping[str, dict[str, Any]] = {
    "s4d": {"size": 32, "patch": 8, "frames": 4, "width": 32, "depth": 3, "heads": 4, "expert_blocks": [1, 2]},
    "ifdd-xs": {"size": 32, "frames": 8, "widths": [8, 16, 32, 64]},
    "ifdd-s": {"size": 32, "frames": 8, "widths": [8, 16, 32, 64]},
    "fineclip": {**SMALL_CLIP, "frames": 4},
    "cliper": SMALL_CLIP,
    **dict.fromkeys(
        ("dfer-clip", "dfer-clip-released"),
        {**SMALL_CLIP, "temporal": {"frames": 4, "heads": 2, "head_width": 16, "hidden": 64}},
    ),
    **dict.fromkeys(("ke-fer", "ke-fer-swin-t"), {"shape": {"embedding": 32}}),  # their encoders have one size
    "ke-fer-clip": SMALL_CLIP,
    "emoaffectnet": SMALL_RESNET,
    "avcer": {"trunk": SMALL_RESNET, "head": {"features": 16, "hidden": 12, "last": 8}},
    "context-face": {"code": 16, "slots": 4, "layers": [1, 1, 1, 1], "width": 4},
    "neutral-reference": {
        "size": 32, "patch": 8, "width": 32, "depth": 2, "heads": 4, "generator_width": 16, "generator_depth": 1,
        "generator_heads": 2,
    },
    **dict.fromkeys(("wavlm-gru", "wavlm-lstm", "wavlm-heads", "wavlm-uncertain", "whisper-heads"), SMALL_HEAD),
}  # fmt: skip
"""Settings of a few channels; what is not here is small already."""


@dataclass(frozen=True)
class Subject:
    """A network of the table on one kind of items (`clips`, `pictures` or `features`), at full size or tiny."""

    row: NetworkRow
    items: str
    tiny: bool = False

    @property
    def face(self) -> bool:
        """True for networks that see pixels; the others are heads over features."""
        return self.items != "features"

    @property
    def settings(self) -> dict[str, Any]:
        """What the network is built with beside the settings of its row."""
        return SMALL.get(self.row.name, {}) if self.tiny else {}

    def shape(self) -> tuple[int, ...]:
        """Of one item: [T, 3, S, S], or [T, D]."""
        reads, small = self.row.input, self.settings
        if not self.face:
            steps = reads.frames if reads.frames > 1 else SPEECH_FRAMES
            return 20 if self.tiny else steps, small.get("width", reads.features)
        side = small.get("size", small.get("shape", {}).get("size", 64)) if self.tiny else reads.size
        frames = small.get("frames", 4) if self.tiny else reads.frames
        return frames if self.items == "clips" else 1, 3, side, side

    def said(self) -> str:
        """The items for people: 'clips 16 x 160 x 160'."""
        sizes = [size for index, size in enumerate(self.shape()) if not self.face or index != 1]
        return f"{self.items} {' x '.join(map(str, sizes[1:] if self.items == 'pictures' else sizes))}"

    def build(self) -> nn.Module:
        """The network, its weights random."""
        return build_network(self.row, self.settings)

    def inputs(self, count: int, device: str, dtype: torch.dtype) -> Any:
        """What the network reads of `count` items: `FaceInputs`, or a tensor of features."""
        values = torch.randn(count, *self.shape(), device=device, dtype=dtype)
        if not self.face:
            return values
        landmarks, parsing = (values if name in self.row.needs else None for name in ("landmarks", "parsing"))
        caption = torch.randint(1, 49406, (count, CAPTION_TOKENS), device=device) if "caption" in self.row.needs else None
        context = torch.randn(count, CONTEXT, device=device, dtype=dtype) if "context" in self.row.needs else None
        return FaceInputs(values, landmarks, parsing, caption, context)

    def answer(self, network: Any, inputs: Any) -> Tensor:
        """Logits [B, C]."""
        logits: Tensor = network.answer(inputs).logits if isinstance(network, FaceNetwork) else network(inputs).logits
        return logits

    def loss(self, network: Any, inputs: Any, targets: Tensor) -> Tensor:
        """What a training step minimises [], for shares of the classes [B, C]: the network's own loss, or cross entropy."""
        if isinstance(network, FaceNetwork):
            return torch.stack([term.float() for term in network.loss(inputs, targets).values()]).sum()
        return F.cross_entropy(network(inputs).logits.float(), targets)

    def targets(self, count: int, device: str) -> Tensor:
        """A class for each of `count` items, as shares [count, C]."""
        classes = 7 if self.face else 8
        return F.one_hot(torch.arange(count, device=device) % classes, classes).float()

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """That of the last stage of the network's recipe, which also says what is trained; AdamW of everything for heads."""
        if isinstance(network, FaceNetwork):
            return make_optimiser(network, recipes_of(self.row.name)[-1])
        return torch.optim.AdamW(network.parameters())

    def same_as(self, other: "Subject") -> bool:
        """True where two rows are one network on items of one size: they differ in what the pixels are normalised with."""
        ours, theirs = self.row, other.row
        same = ours.build == theirs.build and dict(ours.settings) == dict(theirs.settings)
        return same and (self.items, self.shape()) == (other.items, other.shape())


def subjects(tiny: bool) -> Iterator[Subject]:
    """Every network of the table on every kind of items that it answers, in the order of the table."""
    kinds = {"static": ("pictures",), "dynamic": ("clips",), "both": ("clips", "pictures"), "voice": ("features",)}
    for row in network_table().networks.values():
        for items in ("features",) if row.input.features else kinds[row.kind]:
            yield Subject(row, items, tiny)


Run = Callable[[int], None]
"""Runs a batch of so many items once."""
