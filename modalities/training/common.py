"""What every training shares: progress, and where it is reported."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One finished step (usually an epoch) of a training: its number of `total`, and figures such as loss and validation UAR."""

    step: int
    total: int
    figures: dict[str, float]


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
