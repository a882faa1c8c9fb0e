"""Whose face a voice belongs to: whose mouth moves while it is heard."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.people import UNSURE
from modalities.people.turns import Turn

MOVING, STILL = 0.03, 0.02
"""Mean change of the mouth's opening from one look to the next (5 a second), in distances between the eyes: from MOVING on a
mouth speaks, up to STILL it does not. In the real clips six who speak have 0.045 to 0.11, four silent ones 0.013 to 0.021."""
CLEARLY = 1.5
"""By how many times a mouth moves more than any other that is seen, to be the one that speaks."""
LONGEST_STEP = 0.5
"""Seconds from one look at a mouth to the next beyond which nothing is known of what it did between."""
SHORTEST = 0.6
"""Seconds that a mouth must be seen in a turn to say anything of it."""
PART = 1.2
"""Seconds of a turn that are judged at once."""
MAJORITY, VOTES = 0.6, 1.0
"""The share of a voice's seconds that must speak for one answer, and how many of them there must be."""

OFF_SCREEN = -1
"""In place of a person: somebody who is not seen."""


@dataclass(frozen=True)
class Moves:
    """How much each person's mouth moves: at `times` [M] (s) by `change` [M] since the last look `step` [M] seconds before."""

    times: NDArray[np.float64]
    change: NDArray[np.float64]
    step: NDArray[np.float64]


def mouth_moves(faces: pd.DataFrame) -> dict[int, Moves]:
    """The moves of each person's mouth, from faces with `person`, `time_s` and `mouth` (NaN where unknown)."""
    found: dict[int, Moves] = {}
    for person in sorted({int(number) for number in faces["person"] if number > 0}):
        ordered = faces[faces["person"] == person].dropna(subset=["mouth"]).sort_values("time_s")
        times, opening = ordered["time_s"].to_numpy(np.float64), ordered["mouth"].to_numpy(np.float64)
        step = np.diff(times)
        near = (step > 0) & (step <= LONGEST_STEP)
        found[person] = Moves(((times[1:] + times[:-1]) / 2)[near], np.abs(np.diff(opening))[near], step[near])
    return found


def seen_speaking(turn: Turn, moves: Mapping[int, Moves]) -> tuple[int, float]:
    """Who speaks in a turn, by the mouths seen in it, and for how many seconds of it they were seen.

    A person; OFF_SCREEN when all mouths that are seen are still; UNSURE when none is seen long enough or no answer is clear.
    """
    activity: dict[int, float] = {}
    seconds: dict[int, float] = {}
    for person, moved in moves.items():
        inside = (moved.times >= turn.start) & (moved.times <= turn.end)
        seen = float(moved.step[inside].sum())
        if seen >= min(SHORTEST, 0.6 * (turn.end - turn.start)) and inside.any():
            activity[person], seconds[person] = float(moved.change[inside].mean()), seen
    if not activity:
        return UNSURE, 0.0
    first, *others = sorted(activity, key=lambda person: -activity[person])
    if activity[first] <= STILL:
        return OFF_SCREEN, max(seconds.values())
    if activity[first] >= MOVING and all(activity[first] >= CLEARLY * activity[other] for other in others):
        return first, seconds[first]
    return UNSURE, 0.0


def persons_of_speakers(turns: Sequence[Turn], faces: pd.DataFrame) -> dict[str, int]:
    """The person of each speaker; OFF_SCREEN for one who is not seen, UNSURE where the clip does not tell.

    All turns of a voice vote with their seconds. Several voices may be one person's: who shouts sounds like another. A single
    person who is seen while a single voice is heard is taken for it where no mouth is known (another detector than MediaPipe).
    """
    moves, votes = mouth_moves(faces), defaultdict[str, dict[int, float]](lambda: defaultdict(float))
    for turn in turns:
        for part in _parts(turn):
            who, seconds = seen_speaking(part, moves)
            if who != UNSURE:
                votes[turn.speaker][who] += seconds
    found = {speaker: _elected(votes[speaker]) for speaker in dict.fromkeys(turn.speaker for turn in turns)}
    persons = [int(person) for person in faces["person"].unique() if person > 0]
    if len(persons) == len(found) == 1 and faces["mouth"].isna().all():
        found = dict.fromkeys(found, persons[0])
    if not persons:
        return dict.fromkeys(found, OFF_SCREEN)
    return found


def _parts(turn: Turn) -> list[Turn]:
    """A turn in equal parts of about PART seconds, since pictures cut to who listens."""
    edges = np.linspace(turn.start, turn.end, max(round((turn.end - turn.start) / PART), 1) + 1)
    return [Turn(float(start), float(end), turn.speaker) for start, end in zip(edges, edges[1:], strict=False)]


def _elected(votes: Mapping[int, float]) -> int:
    total = sum(votes.values())
    if total < VOTES:
        return UNSURE
    best = max(votes, key=lambda who: votes[who])
    return best if votes[best] >= MAJORITY * total else UNSURE


def turn_person(turn: Turn, of_speaker: int, moves: Mapping[int, Moves]) -> int:
    """The person of one turn: its voice's, unless that person is silent or the voice unknown, and another clearly speaks."""
    who, _ = seen_speaking(turn, moves)
    if who > 0 and who != of_speaker and (of_speaker == UNSURE or _is_still(turn, moves.get(of_speaker))):
        return who
    return of_speaker


def _is_still(turn: Turn, moved: Moves | None) -> bool:
    if moved is None:
        return False
    inside = (moved.times >= turn.start) & (moved.times <= turn.end)
    return bool(inside.any() and moved.step[inside].sum() >= SHORTEST and moved.change[inside].mean() <= STILL)
