"""How many words of a transcript are wrong: the word error rate, with its interval."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.bootstrap import drawn_sums, middle


class WordErrorRate(NamedTuple):
    """Errors of `words` reference words, and the middle 95 % of the rate (errors a reference word)."""

    errors: int
    words: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Errors a reference word."""
        return self.errors / self.words


def plain_words(text: str) -> list[str]:
    """The words of a text as they are compared: small letters, no punctuation but apostrophes inside words, NFKC."""
    known = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", known)


def word_errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to insert, leave out or replace that turn what is heard into the reference (Levenshtein)."""
    numbers = {word: number for number, word in enumerate({*reference, *heard})}
    said = np.array([numbers[word] for word in heard], np.int64)
    steps = np.arange(len(said) + 1)
    row = steps
    for place, word in enumerate(reference, 1):
        replaced = np.concatenate([[place], np.minimum(row[1:] + 1, row[:-1] + (said != numbers[word]))])
        row = np.minimum.accumulate(replaced - steps) + steps  # words inserted one after the other
    return int(row[-1])


def word_error_rate(errors: Sequence[int], words: Sequence[int], groups: Sequence[str]) -> WordErrorRate:
    """The rate of B files together, which have words; the interval draws groups (speakers) anew."""
    drawn = drawn_sums(np.stack([errors, words], 1), groups)
    wrong, all_words = drawn[:, 0], np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
    return WordErrorRate(sum(errors), sum(words), *middle(wrong / all_words))
