"""Emotion of texts by a classifier of transformers (RoBERTa, BERT, DistilBERT, DeBERTa, XLM-R, ...) or by RAS's text network.

The same classifier reads the words of a transcript and descriptions of a scene. A text longer than the network takes is cut
into equal pieces, whose probabilities are averaged with their numbers of tokens as weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import BATCH
from data.scores import Scores
from data.windows import Windows
from modalities.encoders.sentence_encoder import plain_text
from modalities.label_maps import to_basic
from modalities.loading.batching import Batches, in_batches
from modalities.text.models import TextClassifier
from modalities.text.words import ABSENT_REASON, REMEDY, seems_english, text_scores, window_texts

if TYPE_CHECKING:
    from torch import Tensor

Answer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Probabilities of a model's own labels [L] and the feature [D] of one piece."""
FOREIGN_REASON = "The words do not seem to be English, and the settings show the text model nothing else."
FOREIGN_REMEDY = (
    "Give an English transcript with --transcript FILE, or name a model that reads this language with text.model and set "
    "text.english_only to false."
)


def score_texts(
    model: TextClassifier, texts: Sequence[str], *, batches: Batches = in_batches, batch: int = BATCH
) -> NDArray[np.float32]:
    """Probabilities [B, 7] of texts of any length; NaN rows where a text has no words, or means none of the seven."""
    return score_rows(model, texts, batches, batch)[0]


def recognise(
    model: TextClassifier,
    transcript: pd.DataFrame,
    windows: Windows,
    *,
    english_only: bool = False,
    batches: Batches = in_batches,
    batch: int = BATCH,
) -> Scores:
    """Score the words of each window [N, 2] (s), joined by time as in `embedded.py`; windows without words are absent.

    With `english_only`, for a model that has learned nothing else, a transcript that is not English is absent as a whole.
    """
    texts = window_texts(transcript, windows)
    if not any(texts):
        return Scores.absent("text", windows, ABSENT_REASON, REMEDY, model.source)
    if english_only and not seems_english(transcript):
        return Scores.absent("text", windows, FOREIGN_REASON, FOREIGN_REMEDY, model.source)
    return text_scores(windows, texts, *score_rows(model, texts, batches, batch), model.source)


def answer_pieces(model: TextClassifier, pieces: list[list[int]]) -> list[Answer]:
    """Probabilities [L] of the model's own labels and the feature [D], float32, of each piece (token numbers, ends included)."""
    import torch

    longest = max(len(piece) for piece in pieces)
    tokens = torch.tensor([piece + [model.padding] * (longest - len(piece)) for piece in pieces])
    mask = (torch.arange(longest) < torch.tensor([[len(piece)] for piece in pieces])).long()
    with torch.inference_mode():
        logits, features = _forward(model, tokens.to(model.device), mask.to(model.device))
        chances = logits.float().sigmoid() if model.multilabel else logits.float().softmax(1)
    return list(zip(chances.cpu().numpy(), features.float().cpu().numpy(), strict=True))


def _forward(model: TextClassifier, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B, L] and features [B, D]."""
    if model.pooling == "mean":
        logits, features = model.network(tokens, mask)
        return logits, features
    answer = model.network(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
    return answer.logits, answer.hidden_states[-1][:, 0]


def score_rows(
    model: TextClassifier, texts: Sequence[str], batches: Batches, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities [B, 7] and features [B, D]; short pieces are answered together, so that little is padded."""
    pieces, owner, weight = pieces_of(model, texts)
    order = np.argsort([len(piece) for piece in pieces], kind="stable")
    answers = list(batches(answer_pieces, model, (pieces[index] for index in order), batch))
    chances = np.zeros((len(texts), len(model.matrix)))
    features = np.zeros((len(texts), answers[0][1].shape[0] if answers else 1))
    for index, (chance, feature) in zip(order, answers, strict=True):
        chances[owner[index]] += weight[index] * chance
        features[owner[index]] += weight[index] * feature
    features[~np.isin(np.arange(len(texts)), owner)] = np.nan
    return to_basic(chances, model.matrix), features.astype(np.float32)


def pieces_of(model: TextClassifier, texts: Sequence[str]) -> tuple[list[list[int]], list[int], list[float]]:
    """Token numbers of each piece, the text it belongs to, and its share of that text; texts without words have none."""
    pieces: list[list[int]] = []
    owner: list[int] = []
    weight: list[float] = []
    told = [number for number, text in enumerate(texts) if any(mark.isalnum() for mark in plain_text(text))]
    for number, coded in zip(told, model.tokenizer.encode_batch([texts[number] for number in told]), strict=True):
        added = np.array(coded.special_tokens_mask, bool)
        inside = np.flatnonzero(~added)
        first, last = (coded.ids[: inside[0]], coded.ids[inside[-1] + 1 :]) if len(inside) else (coded.ids, [])
        room = model.longest - len(first) - len(last)
        for part in np.array_split(inside, max(-(-len(inside) // room), 1)):
            pieces.append([*first, *(coded.ids[index] for index in part), *last])
            owner.append(number)
            weight.append(len(part) / max(len(inside), 1))
    return pieces, owner, weight
