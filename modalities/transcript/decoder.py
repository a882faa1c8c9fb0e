"""Whisper's decoder for many short steps: the same network, laid out so that a step reads as little memory as it can.

whisper's own spends half of a step on the product with the vocabulary and a third on attention to the sound, whose keys and
values it reads with strides. Here they lie in a row, one copy for every pass over the same sound, and on processors all words
are first compared in whole numbers of eight bits.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from whisper.model import MultiHeadAttention, TextDecoder

if TYPE_CHECKING:
    from whisper import Whisper

CANDIDATES = 64
"""Tokens that are compared exactly: the most likely ones by whole numbers."""
SPECIAL = 1609
"""At least the last tokens of each vocabulary of Whisper's: the end of the text, languages, tasks, and 1501 timestamps."""
PACKED_AT_ONCE = 512
"""Rows of the vocabulary."""
Cache = dict[nn.Module, tuple[Tensor, Tensor]]
"""Keys and values [B, H, T, D] that an attention has already computed."""


class StepDecoder(TextDecoder):  # type: ignore[misc]
    """whisper's decoder; `packed` are whole numbers [V, D] and a scale of each [V]: nearly its vocabulary."""

    packed: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, xa: Tensor, kv_cache: Cache | None = None) -> Tensor:
        """Tokens [B, T] after features [B, S, D] -> logits [B, T, V] in float32.

        In whole numbers the words that nearly nobody says differ a little; the most likely and all that are no words do not.
        """
        states, weight = self.states(x, xa, kv_cache), self.token_embedding.weight
        if self.packed is None:
            exact: Tensor = (states @ weight.T).float()
            return exact
        rows = states.flatten(0, 1).bfloat16()
        logits = torch._weight_int8pack_mm(rows, *self.packed).float().view(*states.shape[:2], -1)
        likely = logits.topk(min(CANDIDATES, logits.shape[-1])).indices
        logits.scatter_(-1, likely, (weight[likely] @ states[..., None]).squeeze(-1))
        logits[..., -SPECIAL:] = states @ weight[-SPECIAL:].T
        return logits

    def states(self, tokens: Tensor, features: Tensor, cache: Cache | None = None) -> Tensor:
        """What is multiplied with the vocabulary [B, T, D]; `cache` gets the keys and values of these tokens too."""
        seen = (cache or {}).get(self.blocks[0].attn)
        begin = seen[0].shape[2] if seen else 0
        states = self.token_embedding(tokens) + self.positional_embedding[begin : begin + tokens.shape[-1]]
        states = states.to(features.dtype)
        for block in self.blocks:
            states = block(states, features, mask=self.mask, kv_cache=cache)
        normed: Tensor = self.ln(states)
        return normed

    def attended(self, features: Tensor) -> Cache:
        """The keys and values of the sound [B, S, D] for every layer: the cache to begin any pass over it with."""
        return {block.cross_attn: block.cross_attn.keys_and_values(features) for block in self.blocks}


class StepAttention(MultiHeadAttention):  # type: ignore[misc]
    """whisper's attention with its scores, which say when a word is said, and keys and values in a row."""

    def forward(
        self, x: Tensor, xa: Tensor | None = None, mask: Tensor | None = None, kv_cache: Cache | None = None
    ) -> tuple[Tensor, Tensor]:
        """States [B, T, D], of the sound or of the tokens before -> answer [B, T, D] and scores [B, H, T, S] in float32."""
        known = kv_cache.get(self) if kv_cache else None
        if xa is not None:
            keys, values = known or self.keys_and_values(xa)
        else:
            keys, values = self.keys_and_values(x)
            if known:
                keys, values = (torch.cat([before, new], 2) for before, new in zip(known, (keys, values), strict=True))
            if kv_cache is not None:
                kv_cache[self] = keys, values
        queries = self.in_heads(self.query(x))
        scores = ((queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)).float()
        if mask is not None and x.shape[1] > 1:
            scores = scores + mask[: x.shape[1], : x.shape[1]]
        answer = scores.softmax(-1).to(values.dtype) @ values
        return self.out(answer.transpose(1, 2).flatten(2)), scores

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, D] -> two of [B, H, T, D / H], each in a row; the sound's are large, so nothing is copied twice."""
        own = states.to(self.key.weight.dtype)
        both = (self.in_heads(linear(own, layer.weight, layer.bias)) for layer in (self.key, self.value))
        keys, values = (part.to(states.dtype, memory_format=torch.contiguous_format).contiguous() for part in both)
        return keys, values

    def in_heads(self, states: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, D / H]."""
        return states.view(*states.shape[:2], int(self.n_head), -1).transpose(1, 2)


class OwnTypeLinear(nn.Linear):
    """A layer that computes in the type of its weights and answers in that of its input; whisper's casts its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D']."""
        return linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)


def use_step_decoder(network: "Whisper") -> None:
    """Let a network decode so; its weights stay as they are."""
    network.decoder.__class__ = StepDecoder
    for module in network.decoder.modules():
        if isinstance(module, MultiHeadAttention):
            module.__class__ = StepAttention
        elif isinstance(module, nn.Linear):
            module.__class__ = OwnTypeLinear


def pack_vocabulary(network: "Whisper") -> None:
    """Keep the vocabulary in whole numbers too: 26 MB more for Whisper base, and a step of two pieces in half the time."""
    decoder = network.decoder
    weight = decoder.token_embedding.weight.detach()
    scales = torch.empty(len(weight))
    packed = torch.empty(weight.shape, dtype=torch.int8)
    for start in range(0, len(weight), PACKED_AT_ONCE):  # what one part needs stays in a processor's cache
        rows = slice(start, start + PACKED_AT_ONCE)
        part = weight[rows].float()
        scales[rows] = part.abs().amax(1).clamp(min=1e-8) / 127
        packed[rows] = (part / scales[rows, None]).round_()
    decoder.packed = packed, scales.bfloat16()
