"""CLIP in plain PyTorch (Radford et al. 2021, arXiv 2103.00020): two towers whose inside is open to adapters and prompts.

The parameters have OpenAI's names, which open_clip's networks share: checkpoints of both load as they are. Towers made through
`modalities.encoders.clip` can be taken over with `clip_of_state(network.state_dict())`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.errors import WeightsError
from modalities.loading.state_dicts import read_state_dict


class ClipShape(NamedTuple):
    """Sizes of both towers; `heads` of the image tower are 64 wide as in every CLIP of OpenAI unless given."""

    embedding: int = 512
    size: int = 224
    patch: int = 16
    width: int = 768
    layers: int = 12
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    context: int = 77
    vocabulary: int = 49408
    heads: int = 0
    quick_gelu: bool = True

    @property
    def vision_heads(self) -> int:
        """Heads of the image tower."""
        return self.heads or self.width // 64


VIT_B_16, VIT_B_32 = ClipShape(), ClipShape(patch=32)
SHAPES = {"ViT-B-16": VIT_B_16, "ViT-B-32": VIT_B_32, "ViT-L-14": ClipShape(768, 224, 14, 1024, 24, 768, 12, 12)}


class Gelu(nn.Module):
    """GELU, or OpenAI's quick form x * sigmoid(1.702 x)."""

    def __init__(self, quick: bool) -> None:
        super().__init__()
        self.quick = quick

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> [...]."""
        return x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x)


class ClipAttention(nn.Module):
    """Self-attention with one matrix for queries, keys and values (the layout of nn.MultiheadAttention)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width).normal_(std=width**-0.5))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """[B, N, width] -> [B, N, width]; causal: no token sees a later one."""
        count, length, width = x.shape
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        answer: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(count, length, width))
        return answer


class ClipMlp(nn.Module):
    """Two linear maps with GELU between, four times as wide inside."""

    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = Gelu(quick)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        answer: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return answer


class ClipBlock(nn.Module):
    """A pre-norm transformer layer: x + attention(LN x), then x + MLP(LN x)."""

    def __init__(self, width: int, heads: int, quick: bool) -> None:
        super().__init__()
        self.attn = ClipAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = ClipMlp(width, quick)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """[B, N, width] -> [B, N, width]."""
        x = x + self.attn(self.ln_1(x), causal)
        answer: Tensor = x + self.mlp(self.ln_2(x))
        return answer


class Transformer(nn.Module):
    """A row of blocks."""

    def __init__(self, width: int, layers: int, heads: int, quick: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ClipBlock(width, heads, quick) for _ in range(layers))

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """[B, N, width] -> [B, N, width]."""
        for block in self.resblocks:
            x = block(x, causal)
        return x


class ImageTower(nn.Module):
    """A vision transformer: patches and a class token -> a vector of the space that CLIP shares with texts."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        width, scale = shape.width, shape.width**-0.5
        self.shape = shape
        self.conv1 = nn.Conv2d(3, width, shape.patch, shape.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width).normal_(std=scale))
        positions = (shape.size // shape.patch) ** 2 + 1
        self.positional_embedding = nn.Parameter(torch.empty(positions, width).normal_(std=scale))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, shape.layers, shape.vision_heads, shape.quick_gelu)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, shape.embedding).normal_(std=scale))

    def tokens(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] -> what the first block reads [B, 1 + patches, width], the class token first."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        answer: Tensor = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding.to(patches.dtype))
        return answer

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens of the last block [..., N, width] -> embeddings [..., E] of the class token."""
        answer: Tensor = self.ln_post(tokens[..., 0, :]) @ self.proj
        return answer

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] -> embeddings [B, E], not of unit length."""
        return self.project(self.transformer(self.tokens(pixels)))

    def layer_classes(self, pixels: Tensor) -> Tensor:
        """LN of the class token after every block [layers, B, width]: what CLIPER's tower returns beside the embedding."""
        x, found = self.tokens(pixels), []
        for block in self.transformer.resblocks:
            x = block(x)
            found.append(self.ln_post(x[:, 0]))
        return torch.stack(found)


class ClipNetwork(nn.Module):
    """Both towers; `visual` reads images, the rest reads texts."""

    def __init__(self, shape: ClipShape = VIT_B_16) -> None:
        super().__init__()
        self.shape = shape
        self.visual = ImageTower(shape)
        self.transformer = Transformer(shape.text_width, shape.text_layers, shape.text_heads, shape.quick_gelu)
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(shape.context, shape.text_width).normal_(std=0.01))
        self.ln_final = nn.LayerNorm(shape.text_width)
        self.text_projection = nn.Parameter(torch.empty(shape.text_width, shape.embedding).normal_(std=shape.text_width**-0.5))
        self.logit_scale = nn.Parameter(torch.tensor(2.6592600))  # log(1 / 0.07)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def read(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """Embedded texts [P, L, text_width] with the indices [P] of their end tokens -> embeddings [P, E], not of unit length."""
        return read_text(self, embedded, ends)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids [P, L] -> embeddings [P, E], not of unit length."""
        return self.read(self.token_embedding(ids), ends_of(ids))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] -> embeddings [B, E], not of unit length."""
        answer: Tensor = self.visual(pixels)
        return answer


class TextTower(Protocol):
    """What reads texts in a CLIP, whole or taken out of it."""

    transformer: Transformer
    positional_embedding: nn.Parameter
    ln_final: nn.LayerNorm
    text_projection: nn.Parameter


def read_text(tower: TextTower, embedded: Tensor, ends: Tensor) -> Tensor:
    """Embedded texts [P, L, text_width] with the indices [P] of their end tokens -> embeddings [P, E], not of unit length."""
    x = tower.transformer(embedded + tower.positional_embedding[: embedded.shape[1]].to(embedded.dtype), causal=True)
    answer: Tensor = tower.ln_final(x)[torch.arange(len(x), device=x.device), ends] @ tower.text_projection
    return answer


def ends_of(ids: Tensor) -> Tensor:
    """Index [P] of the end token, the largest number of the vocabulary, in each row of ids [P, L]."""
    return ids.argmax(-1)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """open_clip's tokenizer, which has no types."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def tokens_of(texts: Sequence[str], context: int = 77) -> Tensor:
    """CLIP's token ids int64 [P, context] of texts, start and end token included, zeros behind; longer texts are cut off."""
    with torch.device("cpu"):  # also where a network is built without memory
        ids: Tensor = _tokenizer()(list(texts), context_length=context)
    return ids


def caption_tokens(texts: Sequence[str], context: int = 77) -> Tensor:
    """`tokens_of` for what is said of clips: the row of an empty text has no token at all, which is no caption."""
    return tokens_of(texts, context) * torch.tensor([[bool(text)] for text in texts])


# ---- checkpoints -----------------------------------------------------------------------------------------------------------


def shape_of(state: Mapping[str, Tensor], *, quick_gelu: bool = True, heads: int = 0) -> ClipShape:
    """Sizes as the tensors of a CLIP state dict tell them; what they do not tell (the kind of GELU, odd heads) is given.

    WeightsError when the names are not OpenAI's.
    """
    try:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        patches = state["visual.positional_embedding"].shape[0] - 1
        context, text_width = state["positional_embedding"].shape
        embedding = state["text_projection"].shape[1]
        vocabulary = state["token_embedding.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"These are not the weights of a CLIP with a vision transformer under OpenAI's names ({error}); use a ViT of OpenAI "
            "or open_clip."
        ) from error
    layers, text_layers = (_count_layers(state, prefix) for prefix in ("visual.transformer.", "transformer."))
    size = round(patches**0.5) * patch
    return ClipShape(
        embedding, size, patch, width, layers, text_width, text_width // 64, text_layers, context, vocabulary, heads, quick_gelu
    )  # fmt: skip


def _count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return len([key for key in state if key.startswith(f"{prefix}resblocks.") and key.endswith(".ln_1.weight")])


def clip_of_state(state: Mapping[str, Tensor], shape: ClipShape | None = None) -> ClipNetwork:
    """A CLIP in evaluation mode with these weights (any dtype; kept in float32); WeightsError when they do not fit the shape.

    Without a shape it is read off the tensors, with OpenAI's quick GELU: give it for weights of open_clip that use the plain one.
    """
    clip = ClipNetwork(shape or shape_of(state))
    ours = {key: value for key, value in state.items() if key in clip.state_dict()}
    try:
        clip.load_state_dict({key: value.float() for key, value in ours.items()})
    except RuntimeError as error:
        raise WeightsError(f"These weights do not fit {clip.shape}: {str(error).splitlines()[-1].strip()}") from error
    return clip.eval()


def read_clip(path: Path, shape: ClipShape | None = None) -> ClipNetwork:
    """The CLIP in a file of weights alone (.safetensors, or .pt read as weights only); WeightsError for any other file."""
    return clip_of_state(read_state_dict(path), shape)


def frozen(module: nn.Module) -> nn.Module:
    """The same module, no parameter of it to be trained."""
    return module.requires_grad_(False)
