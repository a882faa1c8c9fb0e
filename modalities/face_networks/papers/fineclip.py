"""FineCLIPER (Chen et al. 2024, arXiv 2407.02157): CLIP with adapters over frames, parsing masks, landmarks and a caption.

No code of the paper could be had. From it: positive and negative texts of every class, streams of three levels (frames; masks and
landmarks; a description of the clip), adapters in a frozen CLIP ViT-B/16. Ours: adapters as in AIM (Yang et al. 2023, arXiv
2302.03024), how the similarities of texts and streams are put together, the weight of the second loss. Classes are told apart by
the positive texts; each positive text is set against its own negative one in a loss of its own. Classes told apart by the
difference of both cannot be learned: a frozen CLIP puts 'no happiness' where it puts 'happiness', so that the difference hardly
depends on the class.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.class_texts import ClassTexts, class_texts
from modalities.face_networks.parts.base import FaceAnswer, FaceInputs
from modalities.face_networks.parts.clip_face import TEMPERATURE, ClipFaceNetwork, copy_clip, cosines, in_pieces, unit
from modalities.face_networks.parts.clip_tower import (
    SHAPES,
    ClipBlock,
    ClipNetwork,
    ClipShape,
    ImageTower,
    ends_of,
    frozen,
    tokens_of,
)
from modalities.loading.state_dicts import JsonObject

STREAMS = ("frames", "parsing", "landmarks", "caption")
Mode = Literal["tuned", "zero-shot"]


class Adapter(nn.Module):
    """A bottleneck beside a frozen layer: down, GELU, up; zero at first. With `skip` its input is added."""

    def __init__(self, width: int, inner: int, skip: bool = False) -> None:
        super().__init__()
        self.down, self.up, self.skip = nn.Linear(width, inner), nn.Linear(inner, width), skip
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """[..., width] -> [..., width]; `time`, where it is given, is added to what goes through the bottleneck."""
        found: Tensor = self.up(F.gelu(self.down(x if time is None else x + time)))
        return x + found if self.skip else found


class BlockAdapters(nn.Module):
    """The three adapters of a block of the image tower: attention over time, over space, and beside the MLP."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.time, self.space, self.joint = Adapter(width, inner), Adapter(width, inner, skip=True), Adapter(width, inner)

    def forward(self, block: ClipBlock, x: Tensor, time: Tensor) -> Tensor:
        """Tokens [B * T, N, width] through a frozen block that now sees time: first along T for each position, then along N.

        `time` [T, width] says to that attention and to the adapters which frame is when.
        """
        frames = len(time)
        z = x.view(-1, frames, *x.shape[1:]).transpose(1, 2).flatten(0, 1) + time
        over_time = self.time(block.attn(block.ln_1(z)))
        x = x + over_time.view(-1, x.shape[1], frames, x.shape[2]).transpose(1, 2).flatten(0, 1)
        when = time.repeat(len(x) // frames, 1)[:, None]
        x = x + self.space(block.attn(block.ln_1(x)), when)
        inside = block.ln_2(x)
        answer: Tensor = x + block.mlp(inside) + 0.5 * self.joint(inside, when)
        return answer


class TowerAdapters(nn.Module):
    """The adapters of a whole image tower, and a learned vector for each position in time.

    The vectors are drawn at random: as zeros, behind adapters that are zeros, they would hardly begin to learn. Only adapters
    and the attention along time before one read them, so that CLIP is what it was until the adapters are trained.
    """

    def __init__(self, shape: ClipShape, frames: int, ratio: float = 0.25) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BlockAdapters(shape.width, int(shape.width * ratio)) for _ in range(shape.layers))
        self.time = nn.Parameter(torch.empty(frames, shape.width).normal_())

    def forward(self, tower: ImageTower, clips: Tensor) -> Tensor:
        """Normalised clips [B, T, 3, S, S] -> embeddings [B, E]: of the mean over frames of the class token."""
        count, frames = clips.shape[:2]
        x = tower.tokens(clips.flatten(0, 1))
        for block, adapters in zip(tower.transformer.resblocks, self.blocks, strict=True):
            x = adapters(block, x, self.time[:frames].to(x.dtype))
        return tower.project(x.view(count, frames, *x.shape[1:]).mean(1))


class TextAdapters(nn.Module):
    """Adapters beside the MLPs of the text tower, so that it may learn what 'no' means."""

    def __init__(self, shape: ClipShape, ratio: float = 0.25) -> None:
        super().__init__()
        inner = int(shape.text_width * ratio)
        self.blocks = nn.ModuleList(Adapter(shape.text_width, inner) for _ in range(shape.text_layers))

    def forward(self, clip: ClipNetwork, ids: Tensor) -> Tensor:
        """Token ids [P, L] -> embeddings [P, E], not of unit length."""
        x = clip.token_embedding(ids) + clip.positional_embedding[: ids.shape[1]]
        for block, adapter in zip(clip.transformer.resblocks, self.blocks, strict=True):
            assert isinstance(block, ClipBlock)
            x = x + block.attn(block.ln_1(x), causal=True)
            inside = block.ln_2(x)
            x = x + block.mlp(inside) + 0.5 * adapter(inside)
        found: Tensor = clip.ln_final(x)[torch.arange(len(x), device=x.device), ends_of(ids)] @ clip.text_projection
        return found


def stream_shares(weights: Tensor, present: Tensor) -> Tensor:
    """Shares [B, S] of the streams: the softmax of weights [S] over those that are present [B, S]."""
    return torch.softmax(weights.masked_fill(~present, -torch.inf), 1)


def fused_similarities(streams: Tensor, texts: Tensor, shares: Tensor) -> Tensor:
    """[B, P]: cosines of unit streams [B, S, E] with unit texts [P, E] over the temperature, summed by shares [B, S]."""
    return (shares[:, :, None] * cosines(streams, texts)).sum(1) / TEMPERATURE


def label_loss(evidence: Tensor, shares: Tensor) -> Tensor:
    """Mean binary cross entropy of sigma(evidence) [B, C], positive against negative text, with the classes' shares [B, C]."""
    return F.binary_cross_entropy_with_logits(evidence, shares)


class FineClip(ClipFaceNetwork):
    """Clips with what is known of them -> cosines with the positive texts over the temperature.

    `pixels`, `parsing` and `landmarks` [B, T, 3, S, S] are normalised as CLIP's images; a row of `caption` [B, L] without
    tokens is absent. All but the adapters, the streams' weights and the vectors in time is frozen. In mode 'zero-shot' the
    network is CLIP itself: frames (and captions) against positive texts; masks and landmarks, which CLIP never saw, are left out.
    `ratio` is the width of the tower's adapters by that of the tower.
    """

    def __init__(
        self, texts: ClassTexts, shape: ClipShape = SHAPES["ViT-B-16"], frames: int = 16, *, mode: Mode = "tuned",
        text_adapters: bool = False, denial: float = 0.1, ratio: float = 0.25,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.denial, self.classes = mode, denial, len(texts.positive)
        self.ids: Tensor
        self.register_buffer("ids", tokens_of([*texts.positive, *texts.negative], shape.context), persistent=False)
        self.clip = ClipNetwork(shape)
        frozen(self.clip)
        self.frame_adapters = TowerAdapters(shape, frames, ratio)
        self.part_adapters = TowerAdapters(shape, frames, ratio)
        self.text_adapters = TextAdapters(shape) if text_adapters else None
        self.stream_weights = nn.Parameter(torch.zeros(len(STREAMS)))

    def embed_texts(self) -> Tensor:
        """Embeddings [P, E] of unit length of the positive texts, then the negative ones."""
        return unit(self._read(self.ids.to(self.stream_weights.device)))

    def _read(self, ids: Tensor) -> Tensor:
        tuned = self.text_adapters is not None and self.mode == "tuned"
        found: Tensor = self.text_adapters(self.clip, ids) if tuned and self.text_adapters else self.clip.encode_text(ids)
        return found

    def streams(self, inputs: FaceInputs) -> tuple[Tensor, Tensor]:
        """Unit embeddings [B, S, E] of the streams in the order of `STREAMS`, zeros where absent; which are present [B, S]."""
        tower, tuned = self.clip.visual, self.mode == "tuned"
        frames = self.frame_adapters(tower, inputs.pixels) if tuned else unit(in_pieces(tower, inputs.pixels)).mean(1)
        parts = [
            self.part_adapters(tower, clips) if tuned and clips is not None else None
            for clips in (inputs.parsing, inputs.landmarks)
        ]
        caption = None if inputs.caption is None else self._read(inputs.caption)
        found = [frames, *parts, caption]
        present = torch.tensor([one is not None for one in found], device=frames.device).repeat(len(frames), 1)
        if inputs.caption is not None:
            present[:, -1] = (inputs.caption > 0).any(1)
        return torch.stack([torch.zeros_like(frames) if one is None else unit(one) for one in found], 1), present

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """Logits [B, C] and the streams' weighted mean [B, E]."""
        both, features = self._similarities(inputs)
        return FaceAnswer(both[:, : self.classes], features)

    def _similarities(self, inputs: FaceInputs) -> tuple[Tensor, Tensor]:
        """Similarities [B, P] with all texts, and the streams' weighted mean [B, E]."""
        streams, present = self.streams(inputs)
        shares = stream_shares(self.stream_weights, present)
        return fused_similarities(streams, self.text_embeddings(), shares), (shares[:, :, None] * streams).sum(1)

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """Cross entropy, and where there are negative texts `denial` times the loss of each class against its denial."""
        both = self._similarities(inputs)[0].float()
        positive, negative = both[:, : self.classes], both[:, self.classes :]
        terms = {"classification": F.cross_entropy(positive, targets)}
        if negative.shape[1]:
            terms["denial"] = self.denial * label_loss(positive - negative, targets)
        return terms

    def take_clip(self, state: Mapping[str, Tensor]) -> None:
        """CLIP's weights into both towers."""
        copy_clip(self.clip, state)
        self._texts = None

    def derived(self) -> frozenset[str]:
        """The frozen CLIP: a checkpoint may hold the adapters alone."""
        return frozenset(key for key in self.state_dict() if key.startswith("clip."))

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """The block that an adapter stands in."""
        last = self.clip.shape.layers
        inside = parameter.partition("_adapters.blocks.")[2]
        return (int(inside.partition(".")[0]) if inside else last), last


def build(
    labels: Sequence[str] = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    architecture: str = "ViT-B-16", prompts: JsonObject | None = None, shape: JsonObject | None = None,
    **others: Any,
) -> FineClip:  # fmt: skip
    """The network for these labels; `prompts` is the content of a prompt file, `shape` changes the sizes."""
    return FineClip(class_texts(prompts, labels), SHAPES[architecture]._replace(**(shape or {})), **others)
