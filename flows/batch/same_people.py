"""Persons of several clips of a data set linked by their faces, where that is asked for: `dyad batch --same-people`.

Faces are compared by the small pictures that run folders keep for their pages. What they are recognised by lives in memory
only, unless it is to be kept.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.csv_files import CsvWriter
from data.dataset_files import SAME_PEOPLE
from data.files import atomic_path, digest, write_text
from data.manifest.manifest import ManifestRow
from data.npz_files import read_arrays
from data.people import persons_of_tracks, read_people
from data.run_folder import RunFolder
from data.tables import read_table
from flows.runtime.loaded_models import device_named, loaded
from modalities.people.recognise import WEIGHTS, Recogniser, load
from modalities.people.same import embed_pictures, same_persons
from modalities.people.turns import Embeddings

COLUMNS = ("same_person", "name", "clip_id", "person", "main", "seconds_on_screen", "seconds_speaking")


@dataclass(frozen=True, eq=False)
class Seen:
    """A person of a clip whose face is known: the number there, what is told of them, how they look [D]."""

    clip_id: str
    person: int
    name: str
    told: tuple[bool, float, float]
    look: Embeddings


def link_people(output: Path, clips: Iterable[tuple[ManifestRow, RunFolder]], settings: Settings, keep: bool) -> int:
    """Write same_people.csv: which persons of which clips are one; returns how many different ones there are.

    `keep`: what faces are recognised by stays in the run folders, so that the next time nothing is looked at anew; else what an
    earlier time has kept goes.
    """
    model = loaded(settings, ("people", WEIGHTS), lambda: load(WEIGHTS, device_named(settings.device)))
    seen = [one for _, folder in clips for one in _seen(folder, model, keep)]
    looks = np.stack([one.look for one in seen]) if seen else np.zeros((0, 1), np.float32)
    numbers = same_persons([one.clip_id for one in seen], looks).tolist()
    names = {number: Counter[str]() for number in numbers}
    for number, one in zip(numbers, seen, strict=True):
        names[number].update([one.name] if one.name else [])
    stream = StringIO()
    writer = CsvWriter(stream)
    writer.add(COLUMNS)
    for number, one in sorted(zip(numbers, seen, strict=True), key=lambda pair: pair[0]):
        writer.add([number, max(names[number], key=names[number].__getitem__, default=""), one.clip_id, one.person, *one.told])
    write_text(output / SAME_PEOPLE, stream.getvalue())
    return len(names)


def _seen(folder: RunFolder, model: Recogniser, keep: bool) -> Iterator[Seen]:
    """The persons of a clip of whom there are pictures."""
    people = read_people(folder.people)
    if people is None or not folder.face_pictures.is_file():
        folder.face_looks.unlink(missing_ok=True)
        return
    looks = _looks(folder, persons_of_tracks(people), model, keep)
    for row in people.to_dict("records"):
        person = int(row["person"])
        if person in looks:
            told = bool(row["main"]), float(row["seconds_on_screen"]), float(row["seconds_speaking"])
            yield Seen(folder.root.name, person, str(row["name"]), told, looks[person])


def _looks(folder: RunFolder, of_track: dict[int, int], model: Recogniser, keep: bool) -> dict[int, Embeddings]:
    """How each person looks; as it was kept, where that is of the same pictures, persons and weights."""
    made_of = f"{digest(folder.face_pictures)} {model.revision} {sorted(of_track.items())}"
    kept = _read(folder.face_looks, made_of)
    if kept is None:
        pictures = read_table(folder.face_pictures)
        persons = pictures["track_id"].map(of_track).fillna(0).astype(int)
        shown = {int(person): pictures.loc[persons == person, "jpeg"].tolist() for person in persons.unique() if person}
        kept = {person: embed_pictures(model, jpegs) for person, jpegs in shown.items()}
    if keep:
        with atomic_path(folder.face_looks) as aside, aside.open("wb") as stream:
            looks = np.array(list(kept.values()), np.float32)
            np.savez(stream, made_of=made_of, persons=np.array(list(kept), np.int64), looks=looks)
    else:
        folder.face_looks.unlink(missing_ok=True)
    return kept


def _read(file: Path, made_of: str) -> dict[int, Embeddings] | None:
    """What was kept; None where that is of something else, is not there, or is damaged."""
    try:
        stored = read_arrays(file, "made_of", "persons", "looks")
        kept = dict(zip(stored["persons"].tolist(), stored["looks"], strict=True))
    except (OSError, ValueError):
        return None
    return kept if str(stored["made_of"]) == made_of else None
