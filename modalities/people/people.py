"""The people of a clip: their faces over cuts, their voices, how long each is seen and heard, and who the main person is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.people import OTHERS, PEOPLE, TURNS
from modalities.people.identities import MOST
from modalities.people.speaking import OFF_SCREEN, mouth_moves, persons_of_speakers, turn_person
from modalities.people.turns import Turn


@dataclass(frozen=True, eq=False)
class People:
    """Who is in a clip: `people` has a row a person, `turns` a row a turn of speech, as `data.people` has them."""

    people: pd.DataFrame
    turns: pd.DataFrame


def known_people(faces: pd.DataFrame, persons: Mapping[int, int], turns: Sequence[Turn], most: int = MOST) -> People:
    """The people of a clip from `faces` (rows of `faces.parquet`), the person of each track, and who speaks when.

    A voice without a face is a person too. The main person is the one whose faces cover most of the picture, summed over all
    pictures (area x score, as the main track of a shot); where no face is seen, who speaks longest. Persons keep the order in
    which they appear.
    """
    shown = faces.assign(person=faces["track_id"].map(persons).fillna(OTHERS).astype(int))
    kept = _longest(shown, most)
    shown["person"] = shown["person"].map(kept).fillna(OTHERS).astype(int)
    of_speaker = persons_of_speakers(turns, shown)
    unseen = {speaker: len(kept) + number for number, speaker in enumerate(
        (speaker for speaker, person in of_speaker.items() if person == OFF_SCREEN), 1)}  # fmt: skip
    spoken = _spoken(turns, of_speaker | unseen, shown)
    step = _seconds_of_a_picture(shown)
    rows = [_row(person, shown[shown["person"] == person], spoken, step) for person in (*kept.values(), *unseen.values())]
    people = pd.DataFrame(rows, columns=list(PEOPLE)).astype(PEOPLE)
    people["main"] = people["person"] == _main(shown, spoken)
    return People(people, spoken)


def _longest(shown: pd.DataFrame, most: int) -> dict[int, int]:
    """New numbers, in the old order, for the `most` persons that are seen longest."""
    pictures = shown[shown["person"] > 0].groupby("person")["frame"].nunique()
    kept = sorted(pictures.sort_values(ascending=False, kind="stable").index[:most].astype(int).tolist())
    return {person: number for number, person in enumerate(kept, 1)}


def _spoken(turns: Sequence[Turn], of_speaker: Mapping[str, int], shown: pd.DataFrame) -> pd.DataFrame:
    moves = mouth_moves(shown)
    persons = {int(person) for person in shown["person"]}
    seen = {person: shown.loc[shown["person"] == person, "time_s"].to_numpy(np.float64) for person in persons}
    named = [(turn, turn_person(turn, of_speaker[turn.speaker], moves)) for turn in turns]
    kept: list[dict[str, object]] = []
    for turn, person in named:
        there = seen.get(person, np.zeros(0)) if person > 0 else np.zeros(0)
        visible = bool(((there >= turn.start) & (there <= turn.end)).any())
        overlap = any(other is not turn and other.start < turn.end - 1e-6 and other.end > turn.start + 1e-6 for other in turns)
        kept.append({"start": turn.start, "end": turn.end, "speaker": turn.speaker, "person": person, "on_screen": visible,
                     "overlap": overlap})  # fmt: skip
    return pd.DataFrame(kept, columns=list(TURNS)).astype(TURNS)


def _seconds_of_a_picture(shown: pd.DataFrame) -> float:
    steps = np.diff(np.unique(shown["time_s"].to_numpy(np.float64)))
    return float(np.median(steps)) if len(steps) else 0.2


def _row(person: int, faces: pd.DataFrame, spoken: pd.DataFrame, step: float) -> dict[str, object]:
    speaking = spoken[spoken["person"] == person]
    pictures = int(faces["frame"].nunique())
    return {
        "person": person, "name": "", "main": False,
        "first_seen": faces["time_s"].min() if pictures else np.nan, "last_seen": faces["time_s"].max() if pictures else np.nan,
        "pictures": pictures, "seconds_on_screen": round(pictures * step, 3),
        "seconds_speaking": round(float((speaking["end"] - speaking["start"]).sum()), 3),
        "tracks": sorted(int(track) for track in faces["track_id"].unique()),
    }  # fmt: skip


def _main(shown: pd.DataFrame, spoken: pd.DataFrame) -> int:
    faces, voices = shown[shown["person"] > 0], spoken[spoken["person"] > 0]
    weights = (faces["width"] * faces["height"] * faces["score"]).groupby(faces["person"]).sum()
    if weights.empty:
        weights = (voices["end"] - voices["start"]).groupby(voices["person"]).sum()
    return int(weights.index[int(weights.to_numpy().argmax())]) if len(weights) else OTHERS
