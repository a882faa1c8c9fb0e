"""Names of speakers that subtitles give, and speakers of words that the voices give."""

from collections import defaultdict

import numpy as np
import pandas as pd

from data.people import UNSURE, called

MOST_OF_IT = 0.6
"""The share of a person's named speech that must have one name."""


def names_in_subtitles(turns: pd.DataFrame, cues: pd.DataFrame) -> dict[int, str]:
    """The name of each person, from the speakers that cues (start, end, speaker; s) name; none where they do not agree."""
    if "speaker" not in cues:
        return {}
    named = cues.dropna(subset=["start", "end"])
    seconds: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for start, end, name in zip(named["start"], named["end"], named["speaker"], strict=True):
        for person, shared in _shared(turns, float(start), float(end)).items():
            if person != UNSURE and isinstance(name, str) and name:
                seconds[person][name] += shared
    best = {person: max(said, key=lambda name: said[name]) for person, said in seconds.items()}
    return {person: name for person, name in best.items() if seconds[person][name] >= MOST_OF_IT * sum(seconds[person].values())}


def persons_of_cues(cues: pd.DataFrame, turns: pd.DataFrame) -> pd.Series:
    """The person of each cue (start, end, s): whom its `speaker` names where the turns know that name, else whose turns fill most
    of it; UNSURE where nobody's do."""
    called = {name: person for person, name in names_in_subtitles(turns, cues).items()}
    given = cues["speaker"].tolist() if "speaker" in cues else [""] * len(cues)
    found = []
    for start, end, name in zip(cues["start"], cues["end"], given, strict=True):
        said = {} if np.isnan(start) or np.isnan(end) else _shared(turns, float(start), float(end))
        found.append(called.get(name) or max(said, key=lambda one: said[one], default=UNSURE))
    return pd.Series(found, cues.index, dtype="int64")


def with_speakers(cues: pd.DataFrame, turns: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Cues with the person who speaks most of each; what subtitles say of it, and a cue of nobody known, stay as they are."""
    names = {int(person): called(int(person), name) for person, name in zip(people["person"], people["name"], strict=True)}
    given = cues["speaker"].tolist() if "speaker" in cues else [""] * len(cues)
    persons = persons_of_cues(cues, turns)
    told = zip(given, persons, strict=True)
    return cues.assign(speaker=[name if isinstance(name, str) and name else names.get(person, "") for name, person in told])


def _shared(turns: pd.DataFrame, start: float, end: float) -> dict[int, float]:
    """Seconds that each person speaks between two times."""
    shared: dict[int, float] = defaultdict(float)
    lengths = np.minimum(turns["end"], end) - np.maximum(turns["start"], start)
    for person, length in zip(turns["person"], lengths, strict=True):
        if length > 0:
            shared[int(person)] += float(length)
    return shared
