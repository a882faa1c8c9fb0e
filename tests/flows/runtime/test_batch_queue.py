"""Queues of batches: filled across clips, in order, errors kept apart, smaller where memory lacks."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import torch

from flows.runtime import batch_queue, stop
from flows.runtime.batch_queue import BatchQueue, larger
from flows.runtime.errors import Interrupted
from modalities.loading.batching import in_batches


@dataclass
class Network:
    """Squares numbers; notes each batch, refuses 13, holds at most `memory` items."""

    memory: int = 1000
    seconds: float = 0.0
    batches: list[int] = field(default_factory=list)
    refused: int = 0


def squares(network: Network, items: list[int]) -> list[int]:
    if len(items) > network.memory:
        network.refused += 1
        raise torch.OutOfMemoryError("out of memory")
    if 13 in items:
        raise ValueError("13 cannot be read")
    time.sleep(network.seconds)
    network.batches.append(len(items))
    return [item * item for item in items]


@pytest.mark.parametrize("count", [0, 1, 8, 50])
def test_one_clip_gets_full_batches_and_answers_in_order(count: int) -> None:
    network = Network()
    assert list(BatchQueue("test").batches(squares, network, range(20, 20 + count), 8)) == [n * n for n in range(20, 20 + count)]
    assert network.batches == [8] * (count // 8) + [count % 8] * (count % 8 > 0)


def test_clips_share_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_queue, "PATIENCE", 600.0)  # a clip may be slow to give its items
    queue, network, together = BatchQueue("test"), Network(), threading.Barrier(6)

    def clip(number: int) -> list[int]:
        def items() -> Iterator[int]:
            together.wait()
            yield from range(100 * number, 100 * number + 4)

        return list(queue.batches(squares, network, items(), 8))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(clip, range(1, 7)))
    assert answers == [[n * n for n in range(100 * clip, 100 * clip + 4)] for clip in range(1, 7)]
    assert network.batches == [8, 8, 8], "24 items of six clips"


def test_a_bad_item_fails_its_own_clip_only() -> None:
    queue, network, together = BatchQueue("test"), Network(), threading.Barrier(2)

    def clip(first: int) -> list[int]:
        def items() -> Iterator[int]:
            together.wait()
            yield from range(first, first + 4)

        return list(queue.batches(squares, network, items(), 8))

    with ThreadPoolExecutor(2) as pool:
        good, bad = pool.submit(clip, 20), pool.submit(clip, 11)
    assert good.result() == [400, 441, 484, 529]
    with pytest.raises(ValueError, match="13"):
        bad.result()


def test_too_little_memory_halves_the_batch_and_loses_nothing() -> None:
    network = Network(memory=3)
    assert list(BatchQueue("test").batches(squares, network, range(20, 36), 8)) == [n * n for n in range(20, 36)]
    assert set(network.batches) == {2}


@pytest.mark.parametrize(
    ("size", "most", "bytes_per_item", "free", "expected"),
    [
        (32, 128, 1e6, 10**10, 64),  # room enough: twice as many
        (96, 128, 1e6, 10**10, 128),  # as many as allowed
        (32, 128, 1e9, 40 * 10**9, 32),  # no room for more; what fitted still fits
        (32, 128, 0.0, 10**10, 64),
    ],
)
def test_batches_grow_as_far_as_memory_allows(
    size: int, most: int, bytes_per_item: float, free: int, expected: int
) -> None:
    assert larger(size, most, bytes_per_item, free) == expected


@pytest.mark.slow
def test_what_did_not_fit_once_is_not_tried_again() -> None:
    network = Network(memory=3)
    list(BatchQueue("test").batches(squares, network, range(20, 60), 8))
    assert network.refused == 3, "eight, and its two halves"
    alone = Network(memory=3)
    list(in_batches(squares, alone, range(20, 60), 8))
    assert alone.refused == 3


def test_the_next_items_are_prepared_while_the_network_runs() -> None:
    """The first batch ends only when the next one has been prepared."""
    prepared, met = threading.Event(), list[bool]()

    def items() -> Iterator[int]:
        for number in range(8):
            if number == 3:
                prepared.set()
            yield number

    def work(model: None, items: list[int]) -> list[int]:
        met.append(prepared.wait(30))
        return items

    assert list(BatchQueue("test").batches(work, None, items(), 2)) == list(range(8))
    assert met == [True] * 4


def test_who_stops_listening_leaves_nothing_behind() -> None:
    queue, network = BatchQueue("test"), Network()
    answers = queue.batches(squares, network, range(20, 1000), 4)
    assert next(answers) == 400
    answers.close()  # type: ignore[attr-defined]
    ran = sum(network.batches)
    assert list(queue.batches(squares, network, [2, 3], 4)) == [4, 9]
    assert ran <= 3 * 4


def test_a_request_to_stop_ends_the_waiting() -> None:
    queue, network = BatchQueue("test"), Network(seconds=1.0)
    stop.requested.set()
    try:
        with pytest.raises(Interrupted):
            list(queue.batches(squares, network, range(20, 40), 4))
    finally:
        stop.requested.clear()
