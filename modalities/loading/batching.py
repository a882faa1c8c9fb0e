"""Items in batches: how every large network is fed, by one clip alone or by several clips together.

A modality hands over its items and the function that answers a list of them; who calls it decides what runs them: the plain
`in_batches` here, or a queue that fills its batches from all clips under way. Answers come back in the order of the items.
"""

import ctypes
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Protocol, TypeVar

Model = TypeVar("Model")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batches(Protocol):
    """Runs `work(model, some_items) -> one answer an item` over all items, in batches of at most `size`.

    `work` must be a function of a module, not a closure: the same work with the same model shares batches across clips.
    """

    def __call__(
        self, work: Callable[[Model, list[Item]], Sequence[Answer]], model: Model, items: Iterable[Item], size: int
    ) -> Iterator[Answer]:
        """Answers in the order of the items, which are taken only as they are needed."""
        ...


def in_batches(
    work: Callable[[Model, list[Item]], Sequence[Answer]], model: Model, items: Iterable[Item], size: int
) -> Iterator[Answer]:
    """Answers to the items of one clip; items are taken only as they are needed, so memory stays flat."""
    stream = iter(items)
    fits = [size]
    while batch := list(islice(stream, fits[-1])):
        yield from answer_batch(work, model, batch, fits.append)


def answer_batch(
    work: Callable[[Model, list[Item]], Sequence[Answer]],
    model: Model,
    batch: list[Item],
    halved: Callable[[int], None] = lambda size: None,
) -> list[Answer]:
    """Answers to one batch. When the device's memory is too small, its halves one after the other, down to single items.

    `halved` is told each size that is tried instead. The error of memory is raised only when a single item does not fit.
    """
    try:
        return list(work(model, batch))
    except Exception as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    free_memory()  # outside the handler: the error's traceback holds the tensors of the failed try
    middle = (len(batch) + 1) // 2
    halved(middle)
    return answer_batch(work, model, batch[:middle], halved) + answer_batch(work, model, batch[middle:], halved)


def is_out_of_memory(error: BaseException) -> bool:
    """True for the errors by which torch, on any device, and Python say that memory is too small."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)


def free_memory() -> None:
    """Give what torch keeps in reserve back to the device, and what the C library does to the system."""
    import torch

    gc.collect()
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


LARGE = 4 * 2**20
"""Bytes of a block that is given back to the system as soon as it is free."""
HEAPS = 2
"""Heaps of the C library that all threads share: what one thread has freed, others can have."""
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8


@cache
def spare_memory() -> None:
    """Have the C library give large blocks back at once and keep few heaps, in this process from now on: 70 to 180 MB less for
    a clip.

    By itself glibc learns from blocks that come and go to keep those of up to 32 MB, in a heap of each thread's own.
    """
    if choose := getattr(ctypes.CDLL(None), "mallopt", None):  # other C libraries have none and need none
        choose(_MMAP_THRESHOLD, LARGE)
        choose(_ARENA_MAX, HEAPS)


def give_back_tables() -> None:
    """Give back what reading tables took beside them, ten times what they hold: Arrow keeps it for the next table."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()
    trim_memory()


def trim_memory() -> None:
    """Give freed memory back to the system: glibc keeps what large batches took, in holes that the next one does not fit into."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none and need none
    if trim is not None:
        trim(0)
