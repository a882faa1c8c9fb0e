"""The transformer of MiniLM, low-rank adapters for it, and the heads that turn its token states into emotions."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, INNER, HEADS, LAYERS, VOCABULARY, POSITIONS = 384, 1536, 12, 6, 30522, 512
NORM_EPSILON = 1e-12
ADAPTED = ("query", "key", "value", "attended", "inner", "outer")
"""The linear maps of a block, all of which may carry an adapter."""


class Block(nn.Module):
    """One post-norm transformer block: self-attention, then a GELU network of width 1536."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.attended = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.attended_norm, self.outer_norm = (nn.LayerNorm(WIDTH, NORM_EPSILON) for _ in range(2))
        self.dropout = nn.Dropout(0.1)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [B, L, 384] -> [B, L, 384]; `mask` [B, 1, 1, L] is True where a token is."""
        batch, length, _ = states.shape
        query, key, value = (
            layer(states).view(batch, length, HEADS, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        # written out, since the fused form spends most of a training step on texts as short as a sentence
        fit = (query @ key.transpose(2, 3) / (WIDTH // HEADS) ** 0.5).masked_fill(~mask, -torch.inf)
        mixed = fit.softmax(3).to(value.dtype) @ value
        mixed = self.attended(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        states = self.attended_norm(states + self.dropout(mixed))
        return cast(Tensor, self.outer_norm(states + self.dropout(self.outer(functional.gelu(self.inner(states))))))


class MiniLM(nn.Module):
    """MiniLM-L6-H384 (Wang et al. 2020, arXiv 2002.10957): a BERT of six blocks; without `drawn` its tables hold nothing yet."""

    def __init__(self, drawn: bool = True) -> None:
        super().__init__()
        self.words, self.positions = (
            nn.Embedding(count, WIDTH, _weight=None if drawn else torch.empty(count, WIDTH)) for count in (VOCABULARY, POSITIONS)
        )
        self.norm = nn.LayerNorm(WIDTH, NORM_EPSILON)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Token numbers [B, L] and their mask [B, L] (True where a token is) -> token states [B, L, 384]."""
        return self.lower(tokens, mask, LAYERS)

    def lower(self, tokens: Tensor, mask: Tensor, blocks: int) -> Tensor:
        """What the first `blocks` blocks make of tokens: states [B, L, 384], to go on from with `upper`."""
        states = self.words(tokens) + self.positions.weight[: tokens.shape[1]]
        states = self.dropout(self.norm(states))
        for block in list(self.blocks)[:blocks]:
            states = block(states, mask[:, None, None, :])
        return cast(Tensor, states)

    def upper(self, states: Tensor, mask: Tensor, blocks: int) -> Tensor:
        """States [B, L, 384] through the last `blocks` blocks."""
        for block in list(self.blocks)[LAYERS - blocks :]:
            states = block(states, mask[:, None, None, :])
        return states


def from_bert_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `MiniLM` from a checkpoint with BERT's names; the one token type joins the positions."""
    names = {
        "attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value",
        "attention.output.dense": "attended", "attention.output.LayerNorm": "attended_norm",
        "intermediate.dense": "inner", "output.dense": "outer", "output.LayerNorm": "outer_norm",
    }  # fmt: skip
    state = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"]
        + tensors["embeddings.token_type_embeddings.weight"][0],
    }
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"embeddings.LayerNorm.{kind}"]
        for number in range(LAYERS):
            for theirs, ours in names.items():
                state[f"blocks.{number}.{ours}.{kind}"] = tensors[f"encoder.layer.{number}.{theirs}.{kind}"]
    return state


class LowRank(nn.Module):
    """A frozen linear map plus a trained update of low rank: W x + b + U D x (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [..., in] -> [..., out]."""
        # one product with the sum is faster on a CPU than two more thin ones
        weight = self.base.weight + (self.up @ self.down).to(self.base.weight.dtype)
        return functional.linear(inputs, weight, self.base.bias)


def add_adapters(network: MiniLM, rank: int, blocks: int = LAYERS) -> None:
    """Freeze `network` and give every linear map of its last `blocks` blocks a trainable low-rank update."""
    network.requires_grad_(False)
    for block in list(network.blocks)[LAYERS - blocks :]:
        for name in ADAPTED:
            setattr(block, name, LowRank(getattr(block, name), rank))


def adapter_state(network: nn.Module) -> dict[str, Tensor]:
    """The updates alone, by name: 'blocks.0.query.down' [rank, in], 'blocks.0.query.up' [out, rank], ..."""
    return {name: value for name, value in network.state_dict().items() if name.endswith((".down", ".up"))}


def joined_adapters(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Two updates of the same network as one, whose ranks add up: U D + V E = [U V] [D; E]."""
    joined = dict(first)
    for name, value in second.items():
        along = 1 if name.endswith(".up") else 0
        joined[name] = torch.cat([first[name], value], along) if name in first else value
    return joined


@torch.no_grad()
def merge_adapters(network: MiniLM, adapters: Mapping[str, Tensor]) -> None:
    """Add the updates U D of `adapter_state` to the weights of a plain `network`, so that they cost nothing at run time."""
    for name in sorted(adapters):
        if name.endswith(".up"):
            layer = network.get_submodule(name.removesuffix(".up"))
            update = adapters[name].float() @ adapters[name.removesuffix(".up") + ".down"].float()
            cast(nn.Linear, layer).weight += update


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, D] of the states [B, L, D] where `mask` [B, L] is True."""
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)
