"""Which corpus a file is of."""

import pytest

from data.corpora.known import corpus_of


@pytest.mark.parametrize(
    ("path", "said", "corpus"),
    [
        ("Actor_01/03-01-06-01-02-01-01.wav", "", "ravdess"),
        ("s3://bucket/02-01-06-01-02-01-24.mp4", "", "ravdess"),
        ("03-01-09-01-02-01-01.wav", "", ""),  # there is no ninth emotion
        ("EB0\\EB0_anger_13.flac", "", "nemo"),
        ("1001_DFA_ANG_XX.flv", "", "crema-d"),
        ("03a01Fa.wav", "", "emo-db"),
        ("dia12_utt3.mp4", "", "meld"),
        ("talk.mp4", "", ""),
        ("talk.mp4", " FER+ ", "ferplus"),
        ("dia12_utt3.mp4", "My_own corpus", "my-own-corpus"),
    ],
)
def test_a_corpus_is_known_by_its_names(path: str, said: str, corpus: str) -> None:
    assert corpus_of(path, said) == corpus
