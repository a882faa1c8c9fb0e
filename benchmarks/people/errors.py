"""How far an answer about who speaks is from the truth."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from modalities.people.turns import Turn

COLLAR, STEP = 0.25, 0.01
"""Seconds around each true beginning and end that are not scored, as usual (NIST), and of the grid on which time is counted."""


class SpeakerErrors(NamedTuple):
    """Seconds of speech that nobody was said to speak, of silence that somebody was, of a wrong speaker, and of all speech."""

    missed: float
    false_alarm: float
    confused: float
    total: float

    @property
    def rate(self) -> float:
        """The diarisation error rate."""
        return (self.missed + self.false_alarm + self.confused) / max(self.total, STEP)


def speaker_errors(truth: Sequence[Turn], answer: Sequence[Turn]) -> SpeakerErrors:
    """The errors of an answer whose speakers are matched with the true ones as well as can be; overlaps count."""
    length = round(max(turn.end for turn in (*truth, *answer)) / STEP) + 1
    spoken, said, scored = _grid(truth, length), _grid(answer, length), np.ones(length, bool)
    for edge in (edge for turn in truth for edge in (turn.start, turn.end)):
        scored[max(round((edge - COLLAR) / STEP), 0) : round((edge + COLLAR) / STEP)] = False
    spoken, said = spoken[scored].astype(float), said[scored].astype(float)
    shared = spoken.T @ said
    right = float(shared[linear_sum_assignment(shared, maximize=True)].sum())
    many, few = spoken.sum(1), said.sum(1)
    missed, false_alarm = np.clip(many - few, 0, None).sum(), np.clip(few - many, 0, None).sum()
    confused = np.minimum(many, few).sum() - right
    return SpeakerErrors(*(float(steps) * STEP for steps in (missed, false_alarm, confused, many.sum())))


def _grid(turns: Sequence[Turn], length: int) -> NDArray[np.bool_]:
    """Who speaks at each step [T, K]."""
    names = sorted({turn.speaker for turn in turns})
    grid = np.zeros((length, max(len(names), 1)), bool)
    for turn in turns:
        grid[round(turn.start / STEP) : round(turn.end / STEP), names.index(turn.speaker)] = True
    return grid


def added(errors: Sequence[SpeakerErrors]) -> SpeakerErrors:
    """The errors of several recordings together."""
    return SpeakerErrors(*np.sum(np.array(errors), axis=0).tolist())
