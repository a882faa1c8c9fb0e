"""Pieces of work in threads: their order, how many at once, and who spreads what they compute."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from modalities.loading import side_by_side as module
from modalities.loading.side_by_side import one_thread_each, read_ahead, side_by_side


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


def test_blocks_of_one_thread_that_overlap_leave_what_was_before() -> None:
    """The second block begins in another thread within the first, finds one thread there, and ends last."""
    before, inside, over = torch.get_num_threads(), threading.Event(), threading.Event()

    def second() -> None:
        with one_thread_each():
            inside.set()
            assert over.wait(60)

    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as threads:
            with one_thread_each():
                other = threads.submit(second)
                assert inside.wait(60)
                assert torch.get_num_threads() == 1
            over.set()
            other.result()
            assert threads.submit(torch.get_num_threads).result() == 3
        with ThreadPoolExecutor(1) as new:
            assert new.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
