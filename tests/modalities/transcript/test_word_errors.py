"""The word error rate: what counts as a word, the fewest errors, and the interval."""

import random

import pytest

from modalities.transcript.word_errors import plain_words, word_error_rate, word_errors


def test_case_and_punctuation_are_no_errors() -> None:
    assert plain_words(" “Don\u2019t go — there!”, he said… ") == ["don't", "go", "there", "he", "said"]
    assert plain_words("'tis the STRASSE_2 straße") == ["tis", "the", "strasse", "2", "strasse"]
    assert plain_words("...") == []


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("", "a b", 2), ("a b c", "a x c", 1), ("a b c", "a c", 1), ("b c", "a b c", 1),
     ("a b c d", "b c d a", 2), ("the cat sat", "cat the sat", 2)],
)  # fmt: skip
def test_errors_are_the_fewest_words_to_change(said: str, heard: str, errors: int) -> None:
    assert word_errors(said.split(), heard.split()) == errors


def test_errors_are_those_of_the_plain_recursion() -> None:
    def plainly(one: list[str], other: list[str]) -> int:
        if not one or not other:
            return len(one) + len(other)
        swapped = plainly(one[1:], other[1:]) + (one[0] != other[0])
        return min(swapped, plainly(one[1:], other) + 1, plainly(one, other[1:]) + 1)

    chance = random.Random(0)
    for _ in range(30):
        one, other = ([chance.choice("abc") for _ in range(chance.randint(0, 6))] for _ in range(2))
        assert word_errors(one, other) == plainly(one, other)


def test_the_interval_draws_speakers_together() -> None:
    errors, words = [0] * 50 + [5] * 50, [10] * 100
    apart = word_error_rate(errors, words, list(map(str, range(100))))
    together = word_error_rate(errors, words, ["a"] * 50 + ["b"] * 50)
    assert (apart.rate, apart.errors, apart.words) == (0.25, 250, 1000)
    assert apart.low == pytest.approx(0.25 - 1.96 * 0.025, abs=0.01)
    assert (together.low, together.high) == (0.0, 0.5)
