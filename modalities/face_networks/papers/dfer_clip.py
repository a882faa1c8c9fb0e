"""DFER-CLIP (Zhao & Patras 2023, arXiv 2308.13382): CLIP's frames through a temporal transformer, against learnable prompts.

The names of the parameters are those of the release, so that its checkpoints load as they are: there every tensor of CLIP appears
up to two times, as it does here, where the parts are shared.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.class_texts import class_texts
from modalities.face_networks.parts.base import FaceAnswer, FaceInputs
from modalities.face_networks.parts.clip_face import (
    TEMPERATURE,
    ClipFaceNetwork,
    copy_clip,
    cosines,
    in_pieces,
    tower_depth,
    unit,
)
from modalities.face_networks.parts.clip_tower import (
    SHAPES,
    ClipNetwork,
    ClipShape,
    ends_of,
    frozen,
    read_text,
    tokens_of,
)
from modalities.loading.state_dicts import JsonObject

Position = Literal["end", "middle", "front"]
Pooling = Literal["cls", "mean", "all"]


class TemporalShape(NamedTuple):
    """Sizes of the temporal transformer: frames T, width, layers, heads and their width, hidden width of the MLP."""

    frames: int = 16
    width: int = 512
    layers: int = 1
    heads: int = 8
    head_width: int = 64
    hidden: int = 1024


class _PreNorm(nn.Module):
    """What is inside reads its input normed."""

    def __init__(self, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = inner

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.fn(self.norm(x))
        return answer


class _Residual(nn.Module):
    """The input added to what is inside makes of it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.fn = inner

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x + self.fn(x)
        return answer


class _Attention(nn.Module):
    """Attention whose heads need not add up to the width of its input; no biases before it."""

    def __init__(self, shape: TemporalShape) -> None:
        super().__init__()
        self.heads, inner = shape.heads, shape.heads * shape.head_width
        self.to_qkv = nn.Linear(shape.width, 3 * inner, bias=False)
        alone = shape.heads == 1 and shape.head_width == shape.width
        self.to_out = nn.Identity() if alone else nn.Sequential(nn.Linear(inner, shape.width), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] -> [B, T, width]."""
        count, length, _ = x.shape
        query, key, value = self.to_qkv(x).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        answer: Tensor = self.to_out(mixed.transpose(1, 2).reshape(count, length, -1))
        return answer


class _FeedForward(nn.Module):
    """Two linear layers with the tanh form of GELU between, as released."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        inside = (nn.Linear(width, hidden), nn.GELU("tanh"), nn.Dropout(0.0), nn.Linear(hidden, width), nn.Dropout(0.0))
        self.net = nn.Sequential(*inside)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.net(x)
        return answer


class _Layers(nn.Module):
    """The layers in a row, each attention and feed-forward, every one with its norm and residual."""

    def __init__(self, shape: TemporalShape) -> None:
        super().__init__()
        parts = ((_Attention(shape), _FeedForward(shape.width, shape.hidden)) for _ in range(shape.layers))
        self.layers = nn.ModuleList(nn.ModuleList(_Residual(_PreNorm(shape.width, part)) for part in pair) for pair in parts)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            for part in layer.children():
                x = part(x)
        return x


class TemporalTransformer(nn.Module):
    """A pre-norm transformer over the features of frames; `pooling` says what it answers: a class token, the mean, or all."""

    def __init__(self, shape: TemporalShape, pooling: Pooling = "cls") -> None:
        super().__init__()
        self.pooling = pooling
        extra = int(pooling == "cls")
        if extra:
            self.cls_token = nn.Parameter(torch.randn(1, 1, shape.width))
        self.pos_embedding = nn.Parameter(torch.randn(1, shape.frames + extra, shape.width))
        self.temporal_transformer = _Layers(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, T, width], T at most the shape's frames -> [B, width], with pooling 'all' [B, T, width]."""
        if self.pooling == "cls":
            x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], 1)
        found: Tensor = self.temporal_transformer(x + self.pos_embedding[:, : x.shape[1]].to(x.dtype))
        if self.pooling == "all":
            return found
        return found[:, 0] if self.pooling == "cls" else found.mean(1)


class PromptLearner(nn.Module):
    """Texts with learnable tokens before, amid or behind the words: a set for every class, or one for all."""

    def __init__(
        self, clip: ClipNetwork, texts: Sequence[str], tokens: int = 8, position: Position = "end", specific: bool = True
    ) -> None:
        super().__init__()
        width = clip.shape.text_width
        shape = (len(texts), tokens, width) if specific else (tokens, width)
        self.ctx = nn.Parameter(torch.empty(shape).normal_(std=0.02))
        self.position: Position = position
        self.token_prefix: Tensor
        self.token_suffix: Tensor
        self.tokenized_prompts: Tensor
        self.set_texts(clip, texts)

    @property
    def tokens(self) -> int:
        """Learnable tokens of a prompt."""
        return int(self.ctx.shape[-2])

    def set_texts(self, clip: ClipNetwork, texts: Sequence[str]) -> None:
        """Take the words' embeddings from this CLIP."""
        placeholders = " ".join(["X"] * self.tokens)
        self.set_ids(clip, tokens_of([f"{placeholders} {text}" for text in texts], clip.shape.context))

    def set_ids(self, clip: ClipNetwork, ids: Tensor) -> None:
        """The same from token ids [C, L], placeholders included."""
        device = clip.token_embedding.weight.device
        with torch.no_grad():
            embedded = clip.token_embedding(ids.to(device))
        self.register_buffer("token_prefix", embedded[:, :1].clone())
        self.register_buffer("token_suffix", embedded[:, 1 + self.tokens :].clone())
        self.register_buffer("tokenized_prompts", ids if device.type == "meta" else ids.to(device), persistent=False)
        self.ends = ends_of(ids).tolist()

    def forward(self) -> Tensor:
        """Embedded prompts [C, L, text_width]."""
        count = len(self.token_prefix)
        learned = self.ctx if self.ctx.dim() == 3 else self.ctx.expand(count, -1, -1)
        if self.position == "end":
            return torch.cat([self.token_prefix, learned, self.token_suffix], 1)
        rows = zip(self.token_prefix, learned, self.token_suffix, self.ends, strict=True)
        half = self.tokens // 2 if self.position == "middle" else 0
        return torch.stack([self._around(*row, half) for row in rows])

    def _around(self, prefix: Tensor, learned: Tensor, suffix: Tensor, end: int, before: int) -> Tensor:
        """One prompt: `before` learnable tokens, the words, the other learnable tokens, end and padding."""
        words = end - 1 - self.tokens
        return torch.cat([prefix, learned[:before], suffix[:words], learned[before:], suffix[words:]])


class TextEncoder(nn.Module):
    """CLIP's text tower over embedded prompts, its parts shared with the CLIP they come from."""

    def __init__(self, clip: ClipNetwork) -> None:
        super().__init__()
        self.transformer = clip.transformer
        self.positional_embedding = clip.positional_embedding
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection

    def forward(self, prompts: Tensor, ends: Tensor) -> Tensor:
        """[C, L, text_width] with the indices [C] of the end tokens -> [C, E], not of unit length."""
        return read_text(self, prompts, ends)


class DferClip(ClipFaceNetwork):
    """Frames [B, T, 3, S, S] -> cosines with the classes' prompts over a temperature of 0.01.

    The image tower, the temporal transformer and the learnable tokens are trained; the text tower and CLIP's temperature, which
    is not used, stay. Frames are normalised as CLIP's images; the release leaves them at 0..1, as its checkpoints need.
    """

    def __init__(
        self, texts: Sequence[str], shape: ClipShape = SHAPES["ViT-B-32"], temporal: TemporalShape | None = None, *,
        tokens: int = 8, position: Position = "end", specific: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        clip = ClipNetwork(shape)
        self.prompt_learner = PromptLearner(clip, texts, tokens, position, specific)
        self.text_encoder = TextEncoder(clip)
        self.image_encoder = clip.visual
        self.temporal_net = TemporalTransformer(temporal or TemporalShape(width=shape.embedding))
        self.clip_model_ = clip
        frozen(clip)
        clip.visual.requires_grad_(True)
        self.register_load_state_dict_post_hook(_find_ends)  # type: ignore[no-untyped-call]

    def frame_features(self, pixels: Tensor) -> Tensor:
        """Frames [B, T, 3, S, S] -> embeddings [B, T, E], not of unit length."""
        return in_pieces(self.image_encoder, pixels)

    def embed_texts(self) -> Tensor:
        """Embeddings [C, E] of unit length of the prompts."""
        return unit(self.prompt_features())

    def prompt_features(self) -> Tensor:
        """Embeddings [C, E] of the prompts as projected."""
        prompts = self.prompt_learner()
        found: Tensor = self.text_encoder(prompts, torch.tensor(self.prompt_learner.ends, device=prompts.device))
        return found

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """Logits [B, C] and the clips' embeddings [B, E], of unit length."""
        clips = unit(self.temporal_net(self.frame_features(inputs.pixels)))
        return FaceAnswer(cosines(clips, self.text_embeddings()) / TEMPERATURE, clips)

    def take_clip(self, state: Mapping[str, Tensor]) -> None:
        """CLIP's weights under all their names; the words of the prompts are embedded anew."""
        copy_clip(self.clip_model_, state)
        self.prompt_learner.set_ids(self.clip_model_, self.prompt_learner.tokenized_prompts)
        self._texts = None

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of the release; what the parallel run put before its keys is taken off."""
        return {key.removeprefix("module."): value for key, value in tensors.items()}

    def derived(self) -> frozenset[str]:
        """The second names of shared tensors."""
        only_here = ("token_embedding.weight", "logit_scale")
        return frozenset(key for key in self.state_dict() if key.startswith("clip_model_.") and not key.endswith(only_here))

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Layers of the image tower; temporal transformer and prompts are the last."""
        layer, last = tower_depth(parameter, self.clip_model_.shape)
        return (layer if parameter.startswith("image_encoder.") else last), last


def _find_ends(network: nn.Module, _: object) -> None:
    """Where the prompts of a loaded checkpoint end: its texts may be longer or shorter than those the network was built with."""
    assert isinstance(network, DferClip)
    learner = network.prompt_learner
    last = network.clip_model_.token_embedding.weight[network.clip_model_.shape.vocabulary - 1]
    apart = (learner.token_suffix - last).abs().amax(-1)
    if bool((apart.amin(1) < 1e-5).all()):
        learner.ends = (apart.argmin(1) + 1 + learner.tokens).tolist()


def build(
    labels: Sequence[str] = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    architecture: str = "ViT-B-32", prompts: JsonObject | None = None, shape: JsonObject | None = None,
    temporal: JsonObject | None = None, **others: Any,
) -> DferClip:  # fmt: skip
    """The network for these labels; `prompts` is the content of a prompt file, `shape` and `temporal` change the sizes."""
    sizes = SHAPES[architecture]._replace(**(shape or {}))
    inner = TemporalShape(width=sizes.embedding)._replace(**(temporal or {}))
    return DferClip(class_texts(prompts, labels).positive, sizes, inner, **others)
