"""The corpora of text as tokens and our seven emotions: GoEmotions with Ekman's labels, MELD's dialogues, ISEAR's reports."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS, basic_emotion
from data.errors import InputError
from data.given_tables import read_given_table
from modalities.encoders.sentence_encoder import PIECE_TOKENS, load_tokenizer, plain_text
from modalities.text.embedded import earlier_lines


@dataclass(frozen=True)
class TextExamples:
    """Tokens of each text, its emotions [N, 7] (0 or 1), its corpus, whether it is held out for validation, its dialogue.

    `dialogue` is -1 for what nobody answers: comments and reports.
    """

    tokens: list[list[int]]
    labels: NDArray[np.float32]
    corpus: NDArray[np.str_]
    held: NDArray[np.bool_]
    dialogue: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> "TextExamples":
        """The chosen rows."""
        rows = np.flatnonzero(chosen)
        columns = (self.labels, self.corpus, self.held, self.dialogue)
        return TextExamples([self.tokens[row] for row in rows], *(column[rows] for column in columns))  # type: ignore[arg-type]

    def earlier(self) -> NDArray[np.int64]:
        """For each text the indices of the three said before it in its dialogue, the last first; -1 for none [N, 3]."""
        alone = -1 - np.arange(len(self.dialogue))
        return earlier_lines(np.where(self.dialogue < 0, alone, self.dialogue).tolist())


def read_corpora(folder: Path, split: str, limit: int | None = None) -> TextExamples:
    """GoEmotions-Ekman and MELD of one split ('train' or 'dev'); ISEAR's five matching emotions join 'train'."""
    go, meld = _read_csv(folder / f"goemotions_ekman_{split}.csv", limit), _read_csv(folder / f"meld_{split}.csv", limit)
    parts = [
        ("goemotions", go["text"], go["labels"], go["id"]),
        ("meld", meld["Utterance"], meld["Emotion"], meld["Dialogue_ID"]),
    ]
    if split == "train":
        isear = _read_csv(folder / "isear.csv", limit)
        isear = isear[isear["label"].isin(EMOTION_WORDS)]
        parts.append(("isear", isear["text"], isear["label"], isear["text"]))
    texts = [plain_text(text) for _, column, _, _ in parts for text in column]
    tokens = [encoding.ids[:PIECE_TOKENS] for encoding in load_tokenizer().encode_batch(texts)]
    labels = np.array([label_vector(words) for _, _, column, _ in parts for words in column], np.float32)
    corpus = np.repeat([name for name, *_ in parts], [len(column) for _, column, _, _ in parts])
    held = np.array([is_held_out(key) for *_, keys in parts for key in keys])
    dialogue = np.full(len(tokens), -1)
    dialogue[corpus == "meld"] = meld["Dialogue_ID"].astype(int)
    return TextExamples(tokens, labels, corpus, held, dialogue)


def _read_csv(path: Path, limit: int | None) -> pd.DataFrame:
    """The first rows of a corpus file, its empty texts kept; InputError when it is missing."""
    if not path.is_file():
        raise InputError(f"The corpus file {path} is missing; give the folder that holds text/ with --data.")
    return read_given_table(path, "corpus file").checked().rows.iloc[:limit]


def label_vector(words: str) -> list[float]:
    """'joy|neutral' -> 1 for each emotion named, in the order of `BASIC_EMOTIONS`."""
    named = {basic_emotion(word) for word in words.split("|")}
    return [float(emotion in named) for emotion in BASIC_EMOTIONS]


def is_held_out(key: object) -> bool:
    """Whether a comment, dialogue or report belongs to the tenth that is kept for validation; the same on every machine."""
    return int(hashlib.sha256(str(key).encode()).hexdigest()[:8], 16) % 10 == 0
