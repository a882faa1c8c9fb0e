"""What a speech recogniser stuck in a loop says again and again, cut to the first times."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

LONGEST_RUN = 50
"""Words of the longest sequence whose repetitions are found."""


def clean(table: pd.DataFrame, keep: int = 2) -> pd.DataFrame:
    """Remove repetitions inside each text, empty texts, and rows that repeat the one before more than `keep` times.

    A column `words` (a list of `{"word", "start", "end"}` a row, see `modalities.transcript.whisper`) loses the same words.
    """
    table = _with_clean_words(table, keep) if "words" in table else _with_clean_texts(table, keep)
    table = table[table["text"] != ""]
    same = table["text"].str.casefold()
    position = same.groupby((same != same.shift()).cumsum()).cumcount()
    return table[position < keep].reset_index(drop=True)


def _with_clean_texts(table: pd.DataFrame, keep: int) -> pd.DataFrame:
    return table.assign(text=table["text"].map(lambda text: without_repetitions(text, keep)).astype("str"))


def _with_clean_words(table: pd.DataFrame, keep: int) -> pd.DataFrame:
    """A text with words is put together again from those that are left; the times of these stay."""
    texts, lists = [], []
    for text, words in zip(table["text"], table["words"], strict=True):
        kept = clean_words(words, keep)
        texts.append("".join(word["word"] for word in kept).strip() if kept else without_repetitions(text, keep))
        lists.append(kept)
    return table.assign(text=pd.Series(texts, index=table.index, dtype="str"), words=pd.Series(lists, table.index, object))


def clean_words(words: Sequence[Mapping[str, Any]], keep: int = 2) -> list[dict[str, Any]]:
    """Words `{"word", "start", "end"}`, the space before a word in its text, without what is said again and again."""
    kept = kept_words([str(word["word"]).strip() for word in words], keep)
    spaces = [str(word["word"])[:1].isspace() for word in words]
    return [{**words[place], "word": (" " if spaces[place] else "") + word} for place, word in kept]


def without_repetitions(text: str, keep: int = 2, longest: int = LONGEST_RUN) -> str:
    """Text with at most `keep` of whatever a recogniser stuck in a loop repeats.

    First letters and syllables inside words of more than 10 characters ("nooooooooooo"; digits stay), then sequences
    of 1 to `longest` words, compared without case and punctuation.
    """
    return " ".join(word for _, word in kept_words(text.split(), keep, longest))


def kept_words(words: Sequence[str], keep: int = 2, longest: int = LONGEST_RUN) -> list[tuple[int, str]]:
    """The words that `without_repetitions` leaves, each with its place among the given ones."""
    repeated = re.compile(rf"([^\s\d]{{1,25}}?)\1{{{keep},}}")
    shortened = [repeated.sub(lambda hit: hit[1] * keep, word) if len(word) > 10 else word for word in words]
    places = list(range(len(words)))
    for length in range(1, min(longest, len(words) // 2) + 1):
        places = _without_loops(shortened, places, length, keep)
    return [(place, shortened[place]) for place in places]


def _without_loops(words: Sequence[str], places: Sequence[int], length: int, keep: int) -> list[int]:
    """Drop each run of `length` words that says for the (keep + 1)-th time in a row what the run before it says."""
    kept: list[int] = []
    bare: list[str] = []
    for place in places:
        kept.append(place)
        bare.append(re.sub(r"\W", "", words[place]).casefold() or words[place])
        run = bare[-length:]
        if len(bare) >= length * (keep + 1) and bare[-length * (keep + 1) :] == run * (keep + 1):
            del kept[-length:], bare[-length:]
    return kept
