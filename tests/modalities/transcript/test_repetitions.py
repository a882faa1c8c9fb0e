"""What a recogniser stuck in a loop says is cut to two."""

import pandas as pd
import pytest

from modalities.transcript.repetitions import clean, clean_words, without_repetitions


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("I am happy.", "I am happy."),
        ("No, no, no, no, no!", "No, no,"),
        ("thank you so much thank you so much thank you so much bye", "thank you so much thank you so much bye"),
        ("nooooooooooooooo way", "noo way"),
        ("hahahahahahahaha", "haha"),
        ("bookkeeper committee", "bookkeeper committee"),
        ("call 1000000000000", "call 1000000000000"),
        ("... ... ... ...", "... ..."),
        ("  ", ""),
    ],
)
def test_repetitions_are_cut_to_two(said: str, kept: str) -> None:
    assert without_repetitions(said) == kept
    assert without_repetitions(kept) == kept


def test_a_sentence_that_many_rows_repeat_stays_twice() -> None:
    rows = [(float(i), i + 1.0, text, "en") for i, text in enumerate(["Hello."] + ["Thank you."] * 5 + ["", "Hello."])]
    table = clean(pd.DataFrame(rows, columns=["start", "end", "text", "language"]))
    assert table["text"].to_list() == ["Hello.", "Thank you.", "Thank you.", "Hello."]
    assert table["start"].to_list() == [0.0, 1.0, 2.0, 7.0]


def said(*texts: str) -> list[dict[str, object]]:
    return [{"word": text, "start": float(place), "end": place + 1.0} for place, text in enumerate(texts)]


def test_words_that_are_left_keep_their_times() -> None:
    kept = clean_words(said(" No,", " no", " no!", " noooooooooooooo", " way"))
    assert kept == [
        {"word": " No,", "start": 0.0, "end": 1.0},
        {"word": " no", "start": 1.0, "end": 2.0},
        {"word": " noo", "start": 3.0, "end": 4.0},
        {"word": " way", "start": 4.0, "end": 5.0},
    ]


def test_text_and_words_of_a_row_say_the_same() -> None:
    rows = pd.DataFrame({
        "start": [0.0, 5.0, 9.0], "end": [5.0, 9.0, 10.0], "text": [" Go go go go", "哈哈哈哈好", " so so so so"],
        "language": ["en", "zh", "en"], "words": [said(" Go", " go", " go", " go"), said(*"哈哈哈哈好"), []],
    })  # fmt: skip
    table = clean(rows)
    assert table["text"].to_list() == ["Go go", "哈哈好", "so so"]
    assert [[word["start"] for word in words] for words in table["words"]] == [[0.0, 1.0], [0.0, 1.0, 4.0], []]
