"""What is not loaded or computed because nobody needs it: numba, random weights, the same faces twice."""

import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from modalities.faces.tracks import _least
from modalities.loading.spared import without_numba
from modalities.loading.unfilled import unfilled
from modalities.static_face.described import KEPT, once
from modalities.static_face.embedded import FaceAnswers
from modalities.static_face.network import StaticFaceNetwork, StaticFaceShape


def test_numba_stands_for_itself_again_after_whisper_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numba", "whisper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with without_numba():
        assert sys.modules["numba"].jit(nopython=True)(len) is len
    assert "numba" not in sys.modules
    own = ModuleType("numba")
    monkeypatch.setitem(sys.modules, "numba", own)
    with without_numba():
        assert sys.modules["numba"] is own
    assert sys.modules["numba"] is own


def test_layers_draw_no_random_weights_where_a_checkpoint_gives_them() -> None:
    before = torch.get_rng_state()
    with unfilled():
        empty = nn.ModuleList([nn.Linear(8, 8), nn.Conv1d(8, 8, 3), nn.Embedding(8, 8)])
    assert torch.equal(torch.get_rng_state(), before)
    full = nn.ModuleList([nn.Linear(8, 8), nn.Conv1d(8, 8, 3), nn.Embedding(8, 8)])
    assert not torch.equal(torch.get_rng_state(), before)
    empty.load_state_dict(full.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(empty.parameters(), full.parameters(), strict=True))


def test_the_same_faces_are_described_once_by_whichever_thread_asks_first(tmp_path: Path) -> None:
    network, crops, begun, asked = _network(), tmp_path / "crops.npy", threading.Event(), list[str]()
    crops.write_bytes(b"one")

    def describe(name: str) -> FaceAnswers:
        asked.append(name)
        begun.set()
        return FaceAnswers(np.zeros((1, 8), np.float32), np.zeros((1, 2), np.float32))

    def ask(name: str, row: int = 0) -> FaceAnswers:
        return once(network, crops, np.array([row]), lambda: describe(name))

    def slowly() -> FaceAnswers:
        begun.set()
        waiting.wait(10)
        return describe("first")

    waiting, found = threading.Event(), list[FaceAnswers]()
    first = threading.Thread(target=lambda: found.append(once(network, crops, np.array([0]), slowly)))
    first.start()
    begun.wait(10)
    second = threading.Thread(target=lambda: found.append(ask("second")))
    second.start()
    waiting.set()
    first.join(10)
    second.join(10)
    assert asked == ["first"]
    assert found[0] is found[1]
    ask("another row", 1)
    crops.write_bytes(b"another file")
    ask("another file")
    once(_network(), crops, np.array([0]), lambda: describe("another network"))
    for row in range(2, 2 + KEPT):
        ask("more", row)
    ask("forgotten")
    assert asked == ["first", "another row", "another file", "another network", *["more"] * KEPT, "forgotten"]


def test_an_error_in_describing_faces_is_not_kept(tmp_path: Path) -> None:
    network, crops = _network(), tmp_path / "crops.npy"
    crops.write_bytes(b"one")
    with pytest.raises(MemoryError):
        once(network, crops, np.array([0]), lambda: (_ for _ in ()).throw(MemoryError()))
    answers = FaceAnswers(np.zeros((1, 8), np.float32), np.zeros((1, 2), np.float32))
    assert once(network, crops, np.array([0]), lambda: answers) is answers


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 4)])
def test_pairs_of_faces_and_tracks_are_those_of_the_hungarian_method(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        costs = draw.integers(0, 4, shape).astype(float)  # with ties
        assert [part.tolist() for part in _least(costs)] == [part.tolist() for part in linear_sum_assignment(costs)]


def _network() -> StaticFaceNetwork:
    return StaticFaceNetwork(StaticFaceShape(stem=2, widths=(2,), strides=(1,), features=2))
