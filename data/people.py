"""Who is in a clip, as tables: a row a person, a row a turn of speech; and the names that the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from data.files import write_text

if TYPE_CHECKING:
    import pandas as pd

OTHERS, UNSURE = 0, 0
"""In place of a person: a face of the many that are not told apart, a voice of whom nobody knows whose it is."""
FITS = 0.1
"""Rank correlation of a mouth with the sound from which on they fit: `./dyad benchmark people --lips` has what right and wrong
sounds give."""
PEOPLE: dict[str, str] = {
    "person": "int32", "name": "str", "given": "str", "main": "bool", "first_seen": "float64", "last_seen": "float64",
    "pictures": "int32", "seconds_on_screen": "float64", "seconds_speaking": "float64",
    "lip_sync": "float64", "tracks": "object",
}  # fmt: skip
"""Columns of `people.parquet`: persons count from 1 in order of appearance, those of whom only a voice is known last; `tracks`
lists those of a person's face, `given` is a name from --people; `lip_sync` says how well the mouth fits the sound,
empty where unknown; times are seconds, empty for one who is never seen."""
TURNS: dict[str, str] = {
    "start": "float64", "end": "float64", "speaker": "str", "person": "int32", "on_screen": "bool", "overlap": "bool",
}  # fmt: skip
"""Columns of `turns.parquet`: `speaker` is a voice, `person` whose it is, `on_screen` whether that person's face is seen then."""
WRITTEN = ("person", "name", "main", "first_seen", "last_seen", "pictures", "seconds_on_screen", "seconds_speaking")
"""Columns of `people.csv`."""


def persons_of_tracks(people: pd.DataFrame) -> dict[int, int]:
    """The person of each track of faces."""
    return {
        int(track): int(person)
        for person, tracks in zip(people["person"], people["tracks"].to_list(), strict=True)
        for track in list(tracks)
    }


def with_persons(faces: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """`faces` with `person` (OTHERS where unknown), how that person is `called`, and with `main` in all shots of the person that
    the answer is about, instead of each shot's main track."""
    person = faces["track_id"].map(persons_of_tracks(people)).fillna(OTHERS).astype("int32")
    names = {number: called(int(number), name) for number, name in zip(people["person"], people["name"], strict=True)}
    main = person.isin(people.loc[people["main"], "person"])
    return faces.assign(person=person, called=person.map(names).fillna("others").astype("str"), main=main)


def seconds_of_a_picture(faces: pd.DataFrame) -> float:
    """For how long (s) a picture of `faces` stands: until the next one that was looked at."""
    import numpy as np

    steps = np.diff(np.unique(faces["time_s"].to_numpy(np.float64)))
    return float(np.median(steps)) if len(steps) else 0.2


def rows_of(answers: pd.DataFrame, person: int | None = None) -> pd.DataFrame:
    """The rows of windows.parquet or frames.parquet that are a person's; without, of whom the answer is about: the first."""
    if "person" not in answers or answers.empty:
        return answers
    whose = answers["person"].iloc[0] if person is None else person
    return answers[answers["person"] == whose].reset_index(drop=True)


def with_names(people: pd.DataFrame, names: Mapping[int, str]) -> pd.DataFrame:
    """People with the names given, else with those that they have."""
    known = zip(people["person"], people["name"], strict=True)
    return people.assign(name=[names.get(int(person)) or name for person, name in known])


def called(person: int, name: str = "") -> str:
    """How a person is called where people read: by the name, else by the number."""
    return name or f"Person {person}"


def write_people(path: Path, people: pd.DataFrame) -> None:
    """Write `people.csv`, whose names the user may edit."""
    columns = people[list(WRITTEN)].round({"first_seen": 3, "last_seen": 3})
    write_text(path, columns.to_csv(index=False, lineterminator="\n"))


@dataclass(frozen=True)
class Known:
    """A name, of a person by number, or of whoever a picture shows."""

    name: str
    person: int | None = None
    picture: Path | None = None


def read_known(path: Path) -> list[Known]:
    """Who is who, from a table with the columns `person` (a number) or `picture` (a file, relative to the table), and `name`.

    Rows without a name are left out. InputError for another file, with line and column, and for a picture that is not there.
    """
    from data.given_tables import read_given_table

    table = read_given_table(path, "table of people")
    if not table.errors and not len(table):  # people.csv of a run where nobody is seen or heard
        return []
    table = table.checked()
    if "person" not in table and "picture" not in table:
        raise InputError(f"{path} does not say who is who; it needs the columns person (a number) or picture (a file), and name.")
    named = table.kept((table.text("name") != "").to_numpy(bool))
    persons = named.numbers("person").tolist() if "person" in table else [float("nan")] * len(named)
    pictures = named.text("picture").tolist() if "picture" in table else [""] * len(named)
    found = [
        Known(name, int(person) if person == person else None, path.parent / picture if picture else None)
        for name, person, picture in zip(named.text("name"), persons, pictures, strict=True)
    ]
    for known in found:
        if known.person is None and known.picture is None:
            raise InputError(f"{path} does not say who {known.name} is; give a person (a number of people.csv) or a picture.")
        if known.picture is not None and not known.picture.is_file():
            raise InputError(f"{path}: there is no picture {known.picture}.")
    return found


def read_same_people(path: Path) -> dict[str, dict[int, str]]:
    """Which persons of several clips are one, from `same_people.csv`: by run folder and person what stands in `same_person`.

    Whoever has the same there is one. Nobody where there is no file; InputError for another file, with line and column.
    """
    from data.given_tables import read_given_table

    if not path.is_file():
        return {}
    table, found = read_given_table(path, "table of who is one over clips"), dict[str, dict[int, str]]()
    if not table.errors and not len(table):  # nobody is seen or heard in any clip
        return {}
    table = table.checked()
    persons = table.numbers("person", missing="give the person's number in the people.csv of the clip")
    for number, clip, person in zip(table.text("same_person"), table.text("clip_id"), persons, strict=True):
        if number:
            found.setdefault(clip, {})[int(person)] = number
    return found


def read_names(path: Path) -> dict[int, str]:
    """The names by person of `people.csv`; InputError for another file."""
    return {known.person: known.name for known in read_known(path) if known.person is not None}


def read_people(path: Path) -> pd.DataFrame | None:
    """The people of a run, None where nobody looked for them."""
    from data.tables import read_table

    return read_table(path) if path.is_file() else None
