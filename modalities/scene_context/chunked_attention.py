"""Attention within chunks of a packed sequence, as the image towers of Qwen-VL use it: all chunks of a length at once.

Without FlashAttention transformers attends to each chunk in a call of its own: for one window of a clip about 70 calls a layer,
which keep a GPU waiting. Here the chunks of each length (a few lengths in all) are one batch of scaled dot-product attention.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "chunks_as_flash"
"""Name of the attention in transformers, which hands over the chunks' bounds only to names that hold 'flash'."""


@dataclass(frozen=True)
class Chunks:
    """The indices [S] of a packed sequence with chunks of one length together, where each went [S], count and length by group."""

    order: Tensor
    back: Tensor
    groups: tuple[tuple[int, int], ...]


def use_chunked_attention(tower: Any) -> None:
    """Let an image tower of transformers attend to all chunks of a length at once; results are the same but for rounding."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _chunked_attention)
    tower.config._attn_implementation = NAME


def chunks_of(bounds: Tensor) -> Chunks:
    """The chunks between `bounds` [C + 1] (0 ... S), grouped by length."""
    known: Chunks | None = getattr(bounds, "chunks", None)
    if known is not None:  # all layers of a pass are given the same tensor, and reading it makes the device wait
        return known
    edges = bounds.tolist()
    starts: dict[int, list[int]] = {}
    for start, end in zip(edges, edges[1:], strict=False):
        starts.setdefault(end - start, []).append(start)
    order = torch.cat([(torch.tensor(first)[:, None] + torch.arange(length)).flatten() for length, first in starts.items()])
    groups = tuple((len(first), length) for length, first in starts.items())
    made = Chunks(order.to(bounds.device), torch.argsort(order).to(bounds.device), groups)
    bounds.chunks = made  # type: ignore[attr-defined]
    return made


def attend(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float | None = None) -> Tensor:
    """Attention [H, S, D] of queries, keys and values [H, S, D] within the chunks of the sequence that `bounds` [C + 1] cut."""
    chunks = chunks_of(bounds)
    parts = [part[:, chunks.order] for part in (query, key, value)]
    done, start = [], 0
    for count, length in chunks.groups:
        queries, keys, values = (
            part[:, start : start + count * length].reshape(len(part), count, length, -1).transpose(0, 1) for part in parts
        )
        done.append(scaled_dot_product_attention(queries, keys, values, scale=scale).transpose(0, 1).flatten(1, 2))
        start += count * length
    return torch.cat(done, 1)[:, chunks.back]


def _chunked_attention(
    module: object, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *,
    cu_seq_lens_q: Tensor, scaling: float | None = None, **_: object,
) -> tuple[Tensor, None]:  # fmt: skip
    """In transformers' form: [1, H, S, D] to [1, S, H, D], and no attention weights."""
    return attend(query[0], key[0], value[0], cu_seq_lens_q, scaling).transpose(0, 1)[None], None
