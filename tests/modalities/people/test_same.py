"""The same persons in several clips."""

import numpy as np
import pytest

from data.errors import MediaError
from modalities.people import same
from modalities.people.recognise import WEIGHTS, load
from modalities.people.same import embed_pictures, same_persons
from modalities.people.turns import Embeddings


def looks_of(*persons: int, seed: int = 0) -> Embeddings:
    """Looks of persons, who look a little different each time."""
    rng = np.random.default_rng(seed)
    faces = rng.standard_normal((20, 128))
    seen = faces[list(persons)] + 0.3 * rng.standard_normal((len(persons), 128))
    return np.asarray(seen / np.linalg.norm(seen, axis=1, keepdims=True), np.float32)


def test_persons_are_linked_over_clips_and_never_within_one() -> None:
    looks = looks_of(0, 1, 0, 2, 0, 0)
    assert same_persons(["a", "a", "b", "b", "c", "c"], looks).tolist()[:4] == [1, 2, 1, 3]
    twins = same_persons(["a", "a", "b", "b", "c", "c"], looks).tolist()[4:]
    assert 1 in twins, "one of two alike is who was in the other clips"
    assert twins[0] != twins[1]
    assert same_persons([], np.zeros((0, 1), np.float32)).tolist() == []


def test_persons_of_many_clips_are_linked_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    persons = [0, 1, 2, 1, 0, 3, 2, 4, 0]
    clips, looks = [str(number) for number in range(9)], looks_of(*persons)
    whole = same_persons(clips, looks).tolist()
    assert whole == [1, 2, 3, 2, 1, 4, 3, 5, 1]
    monkeypatch.setattr(same, "MOST", 3)
    assert same_persons(clips, looks).tolist() == whole
    assert same_persons(["a"] * 9, looks).tolist() == list(range(1, 10))


def test_a_picture_that_cannot_be_decoded_is_a_sentence() -> None:
    for picture in (b"no picture", b""):
        with pytest.raises(MediaError, match="cannot be decoded; remove"):
            embed_pictures(load(WEIGHTS, "cpu"), [picture])
