"""What a stage spends: time on the clock, time of the processor, and time in which it loads models."""

import contextlib
import contextvars
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Spent:
    """Seconds of one stage, of the thread that it runs in: on the clock, of the processor, and both while it loads models."""

    clock: float = 0.0
    cpu: float = 0.0
    loading: float = 0.0
    loading_cpu: float = 0.0

    @property
    def computing(self) -> float:
        """Seconds of the processor besides loading."""
        return max(self.cpu - self.loading_cpu, 0.0)

    @property
    def waiting(self) -> float:
        """Seconds in which it neither loads nor computes: for a core, a lock, the disk, or threads that libraries have."""
        return max(self.clock - self.loading - self.computing, 0.0)


_spending: contextvars.ContextVar[Spent | None] = contextvars.ContextVar("spending", default=None)


@contextlib.contextmanager
def spending() -> Iterator[Spent]:
    """What the block spends, complete when it has ended, also by an error."""
    spent = Spent()
    token = _spending.set(spent)
    clock, cpu = time.perf_counter(), time.thread_time()
    try:
        yield spent
    finally:
        _spending.reset(token)
        spent.clock, spent.cpu = time.perf_counter() - clock, time.thread_time() - cpu


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Count the block as loading of the stage that it runs in; a model that loads others counts once."""
    spent, clock, cpu = _spending.get(), time.perf_counter(), time.thread_time()
    token = _spending.set(None)
    try:
        yield
    finally:
        _spending.reset(token)
        if spent is not None:
            spent.loading += time.perf_counter() - clock
            spent.loading_cpu += time.thread_time() - cpu
