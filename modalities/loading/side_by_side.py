"""Pieces of work in threads: read ahead while a network computes, or as many at once as the processor has cores."""

import os
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


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Inside the block no computation of torch's, in any thread of this process, is spread over threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
