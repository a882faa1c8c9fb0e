"""Whose face a voice belongs to: whose mouth moves while it is heard, and where several do, whose moves as the voice does."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.people import UNSURE
from modalities.people.lip_sync import LONGEST_STEP, Floats, lip_sync
from modalities.people.turns import Turn

MOVING, STILL = 0.03, 0.02
"""Mean change of the mouth's opening from one look to the next (5 a second), in distances between the eyes: from MOVING on a
mouth speaks, up to STILL it does not. In the real clips six who speak have 0.045 to 0.11, four silent ones 0.013 to 0.021."""
CLEARLY = 1.5
"""By how many times a mouth moves more than any other that is seen, none of which is MOVING, to be the one that speaks."""
SHORTEST = 0.6
"""Seconds that a mouth must be seen in a turn to say anything of it."""
PART = 1.2
"""Seconds of a turn that are judged at once."""
MAJORITY, VOTES = 0.6, 1.0
"""The share of a voice's seconds that must speak for one answer, and how many of them there must be."""
AGREES, BETTER, SECONDS = 0.5, 0.45, 4.0
"""Where several mouths move, by how much the one that speaks must fit the voice, and by how much more than any other, over the
root of the SECONDS or more that it is seen. By chance, mouths fit a strange sound by 0 +- 0.38 over that root."""

OFF_SCREEN, SEVERAL = -1, -2
"""In place of a person: somebody who is not seen; and one of several whose mouths move."""


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

    A person; OFF_SCREEN when all mouths that are seen are still; SEVERAL when more than one moves; UNSURE when none is seen long
    enough or no answer is clear.
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
    if any(activity[other] >= MOVING for other in others):
        return SEVERAL, seconds[first]
    if activity[first] >= MOVING and all(activity[first] >= CLEARLY * activity[other] for other in others):
        return first, seconds[first]
    return UNSURE, 0.0


def persons_of_speakers(turns: Sequence[Turn], faces: pd.DataFrame, loud: Floats | None = None) -> dict[str, int]:
    """The person of each speaker; OFF_SCREEN for one who is not seen, UNSURE where the clip does not tell.

    All turns of a voice vote with their seconds; where most of them show several mouths that move, the one that fits the sound
    speaks (`loud`: its `loudness`). Several voices may be one person's: who shouts sounds like another. A single
    person who is seen while a single voice is heard is taken for it where no mouth is known (another detector than MediaPipe),
    and where the votes are divided, as of a mouth that hardly opens, unless it is still on the whole.
    """
    moves, votes = mouth_moves(faces), defaultdict[str, dict[int, float]](lambda: defaultdict(float))
    for turn in turns:
        for part in _parts(turn):
            who, seconds = seen_speaking(part, moves)
            if who != UNSURE:
                votes[turn.speaker][who] += seconds
    found = {speaker: _elected(votes[speaker]) for speaker in dict.fromkeys(turn.speaker for turn in turns)}
    persons = [int(person) for person in faces["person"].unique() if person > 0]
    if len(persons) == len(found) == 1 and (faces["mouth"].isna().all() or _may_speak(persons[0], found, turns, moves)):
        found = dict.fromkeys(found, persons[0])
    if not persons:
        return dict.fromkeys(found, OFF_SCREEN)
    for speaker in (speaker for speaker, who in found.items() if who == SEVERAL):
        found[speaker] = _fitting([turn for turn in turns if turn.speaker == speaker], faces, moves, loud)
    return found


def _may_speak(person: int, found: Mapping[str, int], turns: Sequence[Turn], moves: Mapping[int, Moves]) -> bool:
    """Whether it is not known of the only voice whose it is, and the mouth of the only person is not still on the whole."""
    if set(found.values()) != {UNSURE} or person not in moves:
        return False
    inside = _within(moves[person].times, turns)
    return bool(inside.any() and moves[person].change[inside].mean() > STILL)


def _fitting(turns: Sequence[Turn], faces: pd.DataFrame, moves: Mapping[int, Moves], loud: Floats | None) -> int:
    """Of the persons whose mouths move in turns of one voice the one whose mouth goes with it; UNSURE when none clearly does."""
    if loud is None:
        return UNSURE
    heard = faces[_within(faces["time_s"].to_numpy(np.float64), turns)]
    fits: dict[int, float] = {}
    seconds: dict[int, float] = {}
    for person, moved in moves.items():
        inside = _within(moved.times, turns)
        seconds[person] = float(moved.step[inside].sum())
        if seconds[person] >= SECONDS and moved.change[inside].mean() >= STILL:
            fits[person] = lip_sync(heard[heard["person"] == person], (), loud, SECONDS)
    known = {person: fit for person, fit in fits.items() if not np.isnan(fit)}
    first, *others = sorted(known, key=lambda person: -known[person]) or [UNSURE]
    least = np.array([AGREES, BETTER]) / np.sqrt(seconds.get(first, SECONDS))
    agrees = first != UNSURE and known[first] >= least[0]
    return first if agrees and all(known[first] - known[other] >= least[1] for other in others) else UNSURE


def _within(times: NDArray[np.float64], turns: Sequence[Turn]) -> NDArray[np.bool_]:
    """Which times lie in turns."""
    found = np.zeros(len(times), bool)
    for turn in turns:
        found |= (times >= turn.start) & (times <= turn.end)
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
    if votes[best] >= MAJORITY * total:
        return best
    return SEVERAL if votes.get(SEVERAL, 0.0) > (1 - MAJORITY) * total else UNSURE


def turn_person(turn: Turn, of_speaker: int, faces: pd.DataFrame, moves: Mapping[int, Moves], loud: Floats | None) -> int:
    """The person of one turn: its voice's, unless that person is silent or the voice unknown, and another clearly speaks."""
    who, _ = seen_speaking(turn, moves)
    if who == SEVERAL and of_speaker == UNSURE:  # two voices taken for one fit nobody, yet a turn may
        who = _fitting([turn], faces, moves, loud)
    if who > 0 and who != of_speaker and (of_speaker == UNSURE or _is_still(turn, moves.get(of_speaker))):
        return who
    return of_speaker


def _is_still(turn: Turn, moved: Moves | None) -> bool:
    if moved is None:
        return False
    inside = (moved.times >= turn.start) & (moved.times <= turn.end)
    return bool(inside.any() and moved.step[inside].sum() >= SHORTEST and moved.change[inside].mean() <= STILL)
