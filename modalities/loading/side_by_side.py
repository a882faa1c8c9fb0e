"""Pieces of work in threads: read ahead while a network computes, or as many at once as the processor has cores."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

Piece = TypeVar("Piece")
Done = TypeVar("Done")


def read_ahead(load: Callable[[Piece], Done], pieces: Iterable[Piece], workers: int = 4) -> Iterator[Done]:
    """What `load` gives for each of the pieces in their order, some of them ahead of time in threads."""
    waiting = iter(pieces)
    with ThreadPoolExecutor(workers) as threads:
        ahead = [threads.submit(copy_context().run, load, piece) for piece in islice(waiting, workers)]
        try:
            while ahead:
                yield ahead.pop(0).result()
                ahead += [threads.submit(copy_context().run, load, piece) for piece in islice(waiting, 1)]
        finally:
            for future in ahead:
                future.cancel()


def side_by_side(work: Callable[[Piece], Done], pieces: Iterable[Piece], device: str = "cpu") -> Iterator[Done]:
    """What `work` makes of each of the pieces in their order: on a processor one a core at once, on other devices one by one.

    Each thread computes alone: a small network gains less from threads of torch's own than from another piece beside it.
    """
    cores = cores_here() if device == "cpu" else 1
    if cores == 1:
        yield from map(work, pieces)
        return
    with one_thread_each():
        yield from read_ahead(work, pieces, cores)


_guard, _inside, _before = threading.Lock(), 0, 0


@contextmanager
def one_thread_each(device: str = "cpu") -> Iterator[None]:
    """Inside the block no computation of torch's on processors, in any thread of this process, is spread over threads.

    Those of a small network wait for each other, busily, more than they compute: where something else wants the cores, a minute's
    faces took 20 times as long. Blocks may overlap: the last one to end brings back what was before the first.
    """
    import torch

    global _inside, _before
    if device != "cpu":
        yield
        return
    own = torch.get_num_threads()
    with _guard:
        _before = _before if _inside else own
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _guard:
            _inside -= 1
            torch.set_num_threads(own if _inside else _before)


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
