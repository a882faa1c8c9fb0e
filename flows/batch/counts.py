"""How far a data set's run is: the counts, told to whoever listens (the terminal, Prefect's progress artifact)."""

import time
from dataclasses import dataclass, field

from flows.batch.journal import Ended
from flows.runtime.events import Listeners


@dataclass
class Counts:
    """Clips by how they ended; `skipped` are those of them that had ended so before. `over`: no more will end in this run; `of`:
    what of the clips is counted."""

    total: int = 0
    done: int = 0
    degraded: int = 0
    failed: int = 0
    rejected: int = 0
    skipped: int = 0
    over: bool = False
    of: str = "clips"
    began: float = field(default_factory=time.monotonic)
    first: float | None = None

    def add(self, state: Ended, skipped: bool = False) -> None:
        """Count a clip that ended."""
        setattr(self, state, getattr(self, state) + 1)
        self.skipped += skipped
        if not skipped and self.first is None:
            self.first = time.monotonic()

    @property
    def ended(self) -> int:
        """Clips of which nothing is left to do."""
        return self.done + self.degraded + self.failed + self.rejected

    @property
    def ran(self) -> int:
        """Clips that this run has worked on."""
        return self.ended - self.skipped - self.rejected

    @property
    def rate(self) -> float:
        """Clips a second that this run works off."""
        return self.ran / max(time.monotonic() - self.began, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds until the end at this rate; None while it is not known."""
        return (self.total - self.ended) / self.rate if self.ran else None

    @property
    def share(self) -> float:
        """Share of the clips that have ended, 0..1."""
        return self.ended / self.total if self.total else 1.0

    def sentence(self) -> str:
        """'120 of 500 clips: 110 done, 5 degraded, 5 failed (20 of them before); 2.5 a second, 2 min 32 s left'."""
        states = [(self.done, "done"), (self.degraded, "degraded"), (self.failed, "failed"), (self.rejected, "rejected")]
        parts = ", ".join(f"{count} {name}" for count, name in states if count) or "none ended yet"
        before = f" ({self.skipped} of them before)" if self.skipped else ""
        rate = f"{self.rate:.1f} a second" if self.rate >= 1 else f"{self.rate * 60:.1f} a minute"
        speed = f"; {rate}, {duration(self.left)} left" if self.left and self.ended < self.total else ""
        return f"{self.ended} of {self.total} {self.of}: {parts}{before}{speed}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: '2 h 5 min', '3 min 10 s', '8 s'."""
    whole = round(seconds or 0)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


_listeners: Listeners[Counts] = Listeners()
tell, watching = _listeners.tell, _listeners.listening
