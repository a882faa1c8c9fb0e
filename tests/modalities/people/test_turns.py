"""Who speaks when, from embeddings whose speakers are known."""

import numpy as np
import pytest

from modalities.people.turns import Turn, group_voices, joined, turns_of


def voices(rng: np.random.Generator, speakers: list[int], noise: float = 0.02) -> np.ndarray:
    """Embeddings near one direction for each speaker; the directions are at right angles."""
    found = np.eye(8, dtype=np.float32)[speakers] + noise * rng.standard_normal((len(speakers), 8)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_voices_are_grouped_in_the_order_of_appearance(rng: np.random.Generator) -> None:
    spoken = [3, 3, 3, 3, 1, 1, 1, 1, 3, 3, 0, 0, 0, 0]
    assert group_voices(voices(rng, spoken)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, 2, 2, 2]


def test_a_stray_window_is_no_speaker(rng: np.random.Generator) -> None:
    spoken = [0] * 6 + [5] + [1] * 6
    assert sorted(set(group_voices(voices(rng, spoken)).tolist())) == [0, 1]
    assert sorted(set(group_voices(voices(rng, spoken), speakers=2).tolist())) == [0, 1]


def test_the_number_of_speakers_may_be_given(rng: np.random.Generator) -> None:
    near = voices(rng, [0] * 5 + [1] * 5) + np.float32(1)  # so alike that nobody would part them
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    assert set(group_voices(near).tolist()) == {0}
    assert group_voices(near, speakers=2).tolist() == [0] * 5 + [1] * 5


def test_many_windows_are_grouped_in_bounded_memory(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalities.people.turns.MOST", 10)
    spoken = [0] * 20 + [1] * 21
    assert group_voices(voices(rng, spoken)).tolist() == [0] * 20 + [1] * 21


def test_a_turn_changes_where_the_voice_does(rng: np.random.Generator) -> None:
    starts = np.arange(0, 8.5, 0.4)
    windows = np.stack([starts, starts + 1.6], 1)
    spoken = [0 if start + 0.8 < 5.0 else 1 for start in starts]
    groups = np.array(spoken)
    first, second = turns_of(np.array([[0.0, windows[-1, 1]]]), windows, voices(rng, spoken), groups)
    assert (first.speaker, second.speaker) == ("1", "2")
    assert first.end == second.start == pytest.approx(5.0, abs=0.3)


def test_short_pauses_do_not_end_a_turn() -> None:
    said = [Turn(0, 1, "1"), Turn(1.3, 2, "1"), Turn(3, 4, "1"), Turn(4, 5, "2")]
    assert joined(said) == [Turn(0, 2, "1"), Turn(3, 4, "1"), Turn(4, 5, "2")]


def test_silence_has_no_turns() -> None:
    assert turns_of(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 8), np.float32), np.zeros(0, np.int64)) == []
