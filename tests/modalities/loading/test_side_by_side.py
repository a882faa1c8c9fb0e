"""Pieces of work in threads: their order, how many at once, and who spreads what they compute."""

import threading
from collections.abc import Iterator

import pytest
import torch

from modalities.loading import side_by_side as module
from modalities.loading.side_by_side import read_ahead, side_by_side


def test_on_a_processor_as_many_pieces_as_cores_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece ends only once the second has begun, and each computes in one thread."""
    monkeypatch.setattr(module, "cores_here", lambda: 2)
    begun, before = threading.Event(), torch.get_num_threads()

    def work(piece: int) -> tuple[int, int]:
        if piece == 1:
            begun.set()
        assert piece or begun.wait(60)
        return piece, torch.get_num_threads()

    torch.set_num_threads(2)
    try:
        assert list(side_by_side(work, range(5))) == [(piece, 1) for piece in range(5)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_on_other_devices_one_by_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores_here", lambda: 2)
    assert set(side_by_side(lambda piece: threading.get_ident(), range(5), "cuda:0")) == {threading.get_ident()}


def test_an_error_is_raised_where_its_piece_would_come_and_few_more_are_taken() -> None:
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def work(piece: int) -> int:
        if piece == 2:
            raise ValueError("the third")
        return piece

    found = read_ahead(work, pieces(), 2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(found)
    assert len(taken) <= 4
