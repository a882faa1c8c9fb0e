"""Emotion of a scene that somebody (a vision-language model, or a person) described: which words, and what they mean together.

Two linear classifiers add their logits: one over words and pairs of words, one over the mean of the sentences' embeddings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import WeightsError
from data.media.descriptions import AUTHOR_COLUMNS
from data.scores import Scores, Source
from data.windows import Windows
from modalities.encoders.sentence_encoder import SentenceEncoder, is_readable, load_encoder, plain_text, pooled_states
from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint

WEIGHTS = WEIGHTS_FOLDER / "scene_context.safetensors"
ABSENT_REASON = "No descriptions of the scene were given."
REMEDY = (
    "Give descriptions with --descriptions FILE.csv, or name a vision-language model: here or behind a server (docs/models.md)."
)
WORD = re.compile(r"[^\W_]{2,}")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
LONGEST_SENTENCE = 1000
"""Characters of a piece that is embedded at once."""


@dataclass(frozen=True)
class SceneContext:
    """Column of each n-gram, its inverse document frequency [V], the two classifiers' weights, and calibration."""

    columns: dict[str, int]
    rarity: NDArray[np.float32]
    word_weights: NDArray[np.float32]
    word_bias: NDArray[np.float32]
    meaning_weights: NDArray[np.float32]
    meaning_bias: NDArray[np.float32]
    temperature: float
    centroids: NDArray[np.float32]
    encoder: SentenceEncoder
    source: Source


def load(path: Path | None = None, device: str = "cpu") -> SceneContext:
    """Load the shipped weights or those at `path`; WeightsError when they are missing, damaged or of another modality."""
    checkpoint = load_checkpoint(path or WEIGHTS)
    settings = checkpoint.settings
    if settings.get("modality") != "scene_context":
        raise WeightsError(
            f"{path or WEIGHTS} does not hold weights of the scene context; give a file that 'dyad train scene-text' wrote."
        )
    parts = {name: value.float().numpy() for name, value in (checkpoint.tensors | checkpoint.network()).items()}
    source = Source(
        "embedded", "words and MiniLM-L6 sentence embeddings", checkpoint.revision,
        "words and pairs of words, weighted by rarity; mean of the sentences' embeddings",
    )  # fmt: skip
    return SceneContext(
        columns={gram: column for column, gram in enumerate(settings["grams"])},
        rarity=parts["rarity"],
        word_weights=parts["words.weight"],
        word_bias=parts["words.bias"],
        meaning_weights=parts["meaning.weight"],
        meaning_bias=parts["meaning.bias"],
        temperature=float(settings["temperature"]),
        centroids=parts["centroids"],
        encoder=load_encoder(device=device),
        source=source,
    )


def score_texts(model: SceneContext, texts: Sequence[str]) -> NDArray[np.float32]:
    """Probabilities [B, 7] of descriptions of any length; NaN rows where a description has no words."""
    return _answer(model, texts)[0]


def _answer(model: SceneContext, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities [B, 7] and features [B, 384]."""
    features = embed(model.encoder, texts)
    logits = features @ model.meaning_weights.T + model.meaning_bias + model.word_bias
    for row, text in enumerate(texts):
        columns, values = word_features(text, model.columns, model.rarity)
        logits[row] += values @ model.word_weights[:, columns].T
    logits /= model.temperature
    grown = np.exp(logits - logits.max(1, initial=-np.inf, keepdims=True))
    return (grown / grown.sum(1, keepdims=True)).astype(np.float32), features


def grams_of(text: object) -> list[str]:
    """Words of two letters or more in lower case, then the pairs of neighbours."""
    words = WORD.findall(plain_text(text).lower())
    return words + [f"{first} {second}" for first, second in zip(words, words[1:], strict=False)]


def word_features(
    text: object, columns: dict[str, int], rarity: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The columns that occur in a text and their values: (1 + ln count) x inverse document frequency, of unit length."""
    counts = Counter(columns[gram] for gram in grams_of(text) if gram in columns)
    found = np.array(sorted(counts), np.int64)
    values = (1 + np.log(np.array([counts[column] for column in found], np.float32))) * rarity[found]
    return found, values / max(float(np.linalg.norm(values)), 1e-12)


def sentences_of(text: object) -> list[str]:
    """The sentences of a text, none of one that is not in Latin letters; a sentence is cut after 1000 characters."""
    found = SENTENCE_END.split(plain_text(text)) if is_readable(text) else []
    return [
        sentence[start : start + LONGEST_SENTENCE]
        for sentence in found
        for start in range(0, len(sentence), LONGEST_SENTENCE)
        if WORD.search(sentence[start : start + LONGEST_SENTENCE])
    ]


def embed(encoder: SentenceEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean over a text's sentences of their mean token states [B, 384]; NaN rows for texts without words."""
    pieces = [sentences_of(text) for text in texts]
    distinct = sorted({sentence for sentences in pieces for sentence in sentences})
    row_of = {sentence: row for row, sentence in enumerate(distinct)}
    states = pooled_states(encoder, distinct)
    return np.array(
        [
            states[[row_of[sentence] for sentence in sentences]].mean(0) if sentences else np.full(states.shape[1], np.nan)
            for sentences in pieces
        ],
        np.float32,
    ).reshape(len(texts), states.shape[1])


def recognise(model: SceneContext, descriptions: pd.DataFrame, windows: Windows) -> Scores:
    """Score the descriptions (columns `start`, `end` (s), `text`, perhaps `author` or `source`) of each window [N, 2] (s).

    A window's probabilities (and features) are the mean of the descriptions that overlap it, weighted by the overlap; where
    there is a column `window`, of its own alone. Windows without one are absent.
    """
    described = descriptions.reset_index(drop=True)
    if described.empty:
        return Scores.absent("scene_context", windows, ABSENT_REASON, REMEDY, model.source)
    scores, features = _answer(model, described["text"].tolist())
    return scores_of_windows(described, scores, features, windows, model.source)


def scores_of_windows(
    described: pd.DataFrame,
    scores: NDArray[np.float32],
    features: NDArray[np.float32],
    windows: Windows,
    source: Source,
) -> Scores:
    """The windows' scores from those of the descriptions, [R, 7] and [R, D] for R rows: means, weighted by the overlap.

    Where there is a column `window` a row counts in that window alone; rows that are NaN count nowhere.
    """
    overlap = overlaps(described, windows) * ~np.isnan(scores[:, 0])
    if "window" in described:
        overlap *= described["window"].to_numpy() == np.arange(len(windows))[:, None]
    present = overlap.sum(1) > 0
    if not present.any():
        return Scores.absent("scene_context", windows, ABSENT_REASON, REMEDY, source)
    with np.errstate(invalid="ignore"):
        share = overlap / overlap.sum(1, keepdims=True)
    return Scores(
        "scene_context", windows, (share @ np.nan_to_num(scores)).astype(np.float32), present, source,
        features=(share @ np.nan_to_num(features)).astype(np.float32), evidence=_evidence(described, overlap),
    )  # fmt: skip


def overlaps(table: pd.DataFrame, windows: Windows) -> NDArray[np.float64]:
    """Seconds that each row of `table` (`start`, `end`) shares with each window: [N, rows]."""
    if table.empty:
        return np.zeros((len(windows), 0))
    starts, ends = table["start"].to_numpy(np.float64), table["end"].to_numpy(np.float64)
    shared: NDArray[np.float64] = np.minimum(ends, windows[:, 1:]) - np.maximum(starts, windows[:, :1])
    return shared.clip(min=0.0)


def _evidence(described: pd.DataFrame, overlap: NDArray[np.float64]) -> pd.DataFrame:
    """One row a window and description that counts in it: its text, and who wrote it where that is known."""
    window, row = np.nonzero(overlap)
    columns = ["text", *(name for name in AUTHOR_COLUMNS if name in described)]
    return pd.concat([pd.Series(window, name="window"), described.loc[row, columns].reset_index(drop=True)], axis=1)
