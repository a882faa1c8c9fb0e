"""Which corpus a file is of."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.corpora.known import corpus_of, corpus_of_file, hashes_of


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
        ("FER2013Test/fer0032298.png", "", "ferplus"),
        ("talk.mp4", "", ""),
        ("talk.mp4", " FER+ ", "ferplus"),
        ("dia12_utt3.mp4", "My_own corpus", "my-own-corpus"),
    ],
)
def test_a_corpus_is_known_by_its_names(path: str, said: str, corpus: str) -> None:
    assert corpus_of(path, said) == corpus


def test_a_picture_of_the_training_is_known_by_its_pixels_whatever_it_is_called(tmp_path: Path, shared: Path) -> None:
    train, held_out = (np.load(shared / f"datasets/face/ferplus_{name}.npz")["images"] for name in ("train", "valid"))
    assert corpus_of_file(saved(tmp_path / "mine.png", train[7])) == "ferplus"
    assert corpus_of_file(saved(tmp_path / "colour.bmp", np.stack([train[20_000]] * 3, 2))) == "ferplus"
    assert corpus_of_file(saved(tmp_path / "mine.webp", train[7]), "My own") == "my-own"
    changed = train[7].copy()
    changed[3, 3] ^= 1
    assert corpus_of_file(saved(tmp_path / "other.png", changed)) == ""
    new = held_out[~np.isin(hashes_of(held_out), hashes_of(train))]
    assert not any(corpus_of_file(saved(tmp_path / "held.png", image)) for image in new[:200])


def test_a_file_that_is_no_picture_is_of_no_corpus(tmp_path: Path) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    for name, content in (("text", b"no picture"), ("empty", b""), ("huge", huge)):
        (tmp_path / f"{name}.png").write_bytes(content)
    for name in ("text", "empty", "huge", "absent", "long" * 99):
        assert corpus_of_file(str(tmp_path / f"{name}.png")) == ""


def saved(file: Path, image: np.ndarray) -> str:
    cv2.imwrite(str(file), image, [cv2.IMWRITE_WEBP_QUALITY, 101])
    return str(file)
