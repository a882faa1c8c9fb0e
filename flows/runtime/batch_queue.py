"""Queues of batches: on each device one thread runs the large networks, a batch at a time, filled from all clips under way.

Tasks prepare their items (decode, resize, spectrograms) in threads of their own and hand them to the queue; while it computes,
the next items are being prepared. A batch runs when it is full, or when nobody who feeds the same network has more to give.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TypeVar, cast

from flows.runtime import stop
from flows.runtime.device_lock import DeviceTurn
from flows.runtime.model_cache import free_bytes
from modalities.loading.batching import answer_batch

Model = TypeVar("Model")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Work = Callable[[object, list[object]], Sequence[object]]
PATIENCE = 2.0
"""Seconds that an item waits for its batch to fill."""
AHEAD = 2
"""Batches that a clip may have prepared before it waits for their answers."""
GROWTH = 4
"""A batch on a GPU grows to so many times the size asked for, as far as memory allows."""
ROOM = 0.7
"""Share of a GPU's free memory that a batch may fill."""


@dataclass(frozen=True)
class _Asked:
    """One item of a clip: `owner` tells clips apart."""

    item: object
    owner: object
    since: float
    answer: "Future[object]" = field(default_factory=Future)


@dataclass
class _NetworkQueue:
    """What waits for one network: the items, and how many clips are still preparing some."""

    work: Work
    model: object
    size: int
    asked: deque[_Asked] = field(default_factory=deque)
    feeders: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        self.most = GROWTH * self.size

    def halved(self, size: int) -> None:
        """No batch is larger from now on: that much did not fit."""
        self.size = self.most = min(size, self.size)

    def is_ready(self, now: float) -> bool:
        """Whether a batch should run: full, or nobody adds to it, or somebody has waited long enough."""
        if not self.asked:
            return False
        return len(self.asked) >= self.size or not self.feeders or now - self.asked[0].since > PATIENCE

    def take(self) -> list[_Asked]:
        """The next batch, in the order of asking."""
        return [self.asked.popleft() for _ in range(min(self.size, len(self.asked)))]


class BatchQueue:
    """The batches of one device, run one after the other by a thread of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._queues: dict[Hashable, _NetworkQueue] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def batches(
        self, work: Callable[[Model, list[Item]], Sequence[Answer]], model: Model, items: Iterable[Item], size: int
    ) -> Iterator[Answer]:
        """Answers in the order of the items (`modalities.loading.batching.Batches`); ends early when the user asks to stop."""
        queue = self._enter(cast(Work, work), model, size)
        waiting, feeding = deque[_Asked](), True
        stream, owner = iter(items), object()
        try:
            while feeding or waiting:
                while feeding and len(waiting) < AHEAD * queue.size:
                    feeding = self._feed(queue, stream, owner, waiting)
                if waiting:
                    yield cast(Answer, _awaited(waiting.popleft().answer))
        finally:
            self._leave(queue, owner, feeding)

    def _enter(self, work: Work, model: object, size: int) -> _NetworkQueue:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"queue {self.name}", daemon=True)
                self._thread.start()
            queue = self._queues.setdefault((work, id(model)), _NetworkQueue(work, model, size))
            queue.feeders += 1
            return queue

    def _feed(self, queue: _NetworkQueue, stream: Iterator[object], owner: object, waiting: deque[_Asked]) -> bool:
        """Ask about the next item; False, and one feeder less, when there is none."""
        try:
            asked = _Asked(next(stream), owner, time.monotonic())
        except StopIteration:
            with self._changed:
                queue.feeders -= 1
                self._changed.notify_all()
            return False
        waiting.append(asked)
        with self._changed:
            queue.asked.append(asked)
            self._changed.notify_all()
        return True

    def _leave(self, queue: _NetworkQueue, owner: object, feeding: bool) -> None:
        """Withdraw what nobody waits for any more (an error, or a request to stop)."""
        with self._changed:
            queue.feeders -= feeding
            queue.asked = deque(asked for asked in queue.asked if asked.owner is not owner)
            self._changed.notify_all()

    def _run(self) -> None:
        turn = DeviceTurn(self.name)
        while True:
            with self._changed:
                queue = self._next(turn)
                batch = queue.take()
            turn.take()
            full, before = len(batch) == queue.size, _memory_used(self.name, reset=True)
            _answer(queue, batch)
            if full and before is not None:
                taken = (_memory_used(self.name) or before) - before
                queue.size = larger(queue.size, queue.most, taken / len(batch), free_bytes(self.name))
            del queue, batch  # while it waits, the thread must not keep the last network in memory

    def _next(self, turn: DeviceTurn) -> _NetworkQueue:
        """The queue whose first item has waited longest, of those that are ready; until there is one, leaves the device."""
        while True:
            now = time.monotonic()
            for key in [key for key, queue in self._queues.items() if not queue.asked and not queue.feeders]:
                del self._queues[key]  # nobody uses this network now; the queue must not keep it in memory
            ready = [queue for queue in self._queues.values() if queue.is_ready(now)]
            if ready:
                return min(ready, key=lambda queue: queue.asked[0].since)
            turn.leave()
            self._changed.wait(0.1 if any(queue.asked for queue in self._queues.values()) else None)


def _answer(queue: _NetworkQueue, batch: list[_Asked]) -> None:
    """Run a batch; when it fails, once more for each clip alone, so that a bad item fails no other clip."""
    try:
        answers = answer_batch(queue.work, queue.model, [asked.item for asked in batch], queue.halved)
        for asked, answer in zip(batch, answers, strict=True):
            asked.answer.set_result(answer)
    except Exception as error:
        owners = {id(asked.owner) for asked in batch}
        for owner in owners if len(owners) > 1 else ():
            _answer(queue, [asked for asked in batch if id(asked.owner) == owner])
        if len(owners) == 1:
            for asked in batch:
                asked.answer.set_exception(error)


def larger(size: int, most: int, bytes_per_item: float, free: int) -> int:
    """The size of the next batch: up to twice the last one, at most `most`, and no more than fits into the free memory."""
    fits = int(ROOM * free / max(bytes_per_item, 1.0))
    return max(size, min(2 * size, most, fits))


def _memory_used(device: str, reset: bool = False) -> int | None:
    """Bytes that torch has taken on a GPU at most since the last reset; None elsewhere, where batches do not grow, and where it
    cannot be asked."""
    import torch

    if not device.startswith("cuda"):
        return None
    try:
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.max_memory_allocated(device))
    except RuntimeError:  # a GPU that has failed: the batch says so, and those who wait must not wait for ever
        return None


def _awaited(answer: "Future[object]") -> object:
    while not wait([answer], timeout=0.2).done:
        stop.check()
    return answer.result()


_device_queues: dict[str, BatchQueue] = {}
_guard = threading.Lock()


def batch_queue(device: str) -> BatchQueue:
    """The one queue of a device."""
    with _guard:
        return _device_queues.setdefault(device, BatchQueue(device))
