"""Persons of several clips of a data set linked by their faces and voices, where that is asked for: `dyad batch --same-people`.

Faces are compared by the small pictures that run folders keep for their pages; who is only heard by the voice, for which the
clip's file is read again. What they are recognised by lives in memory only, unless that of faces is to be kept.
"""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from configs.settings import Settings
from data.csv_files import CsvWriter
from data.dataset_files import SAME_PEOPLE
from data.errors import DyadError, MediaError
from data.files import atomic_path, digest, write_text
from data.given_files import fetched
from data.manifest.manifest import ManifestRow
from data.media.decode import DecodeOptions, decode
from data.media.probe import probe
from data.npz_files import read_arrays
from data.people import persons_of_tracks, read_people, read_same_people
from data.run_folder import RunFolder
from data.tables import read_table
from flows.clip.known import FOLDER
from flows.clip.steps.decode import limits_of
from flows.runtime.errors import known_sentence
from flows.runtime.loaded_models import device_named, loaded
from modalities.people.recognise import WEIGHTS, Recogniser, load
from modalities.people.same import LEAST_SPEECH, embed_pictures, embed_voice, same_persons
from modalities.people.turns import Embeddings

COLUMNS = ("same_person", "name", "clip_id", "person", "main", "seconds_on_screen", "seconds_speaking", "by")
WRITTEN = "same_people"
"""In the folder of references: the digest of the table as it was written here last."""
HARDLY_ANY = DecodeOptions(0.01, 16)
"""Of the pictures, where only the sound is wanted."""


@dataclass(frozen=True, eq=False)
class Met:
    """A person of a clip whose face or voice is known: the number there, what is told of them, and how they look or sound [D]."""

    clip_id: str
    person: int
    name: str
    told: tuple[bool, float, float]
    by: Literal["face", "voice"]
    known: Embeddings


class Linked(NamedTuple):
    """How many different persons the clips have, and sentences about what could not be linked."""

    different: int
    notes: tuple[str, ...] = ()


def link_people(output: Path, clips: Iterable[tuple[ManifestRow, RunFolder]], settings: Settings, keep: bool) -> Linked:
    """Write same_people.csv: which persons of which clips are one.

    A table that somebody has edited since stays as it is. `keep`: what faces are recognised by stays in the run folders, so that
    the next time nothing is looked at anew; else what an earlier time has kept goes.
    """
    table, written = output / SAME_PEOPLE, output / FOLDER / WRITTEN
    if table.is_file() and not (written.is_file() and written.read_text(encoding="utf-8") == digest(table)):
        there = {number for of_clip in read_same_people(table).values() for number in of_clip.values()}
        return Linked(len(there), (f"{table} was edited and stays as it is; remove it to have all persons linked anew.",))
    model = loaded(settings, ("people", WEIGHTS), lambda: load(WEIGHTS, device_named(settings.device)))
    seen, heard, notes = list[Met](), list[Met](), list[str]()
    for path, of_file in groupby(clips, key=lambda pair: pair[0].path):
        with ExitStack() as stack:
            sound = functools.cache(functools.partial(_sound, path, settings, stack))
            for row, folder in of_file:
                seen += _all(_seen(folder, model, keep), "seen", folder, notes)
                heard += _all(_heard(folder, row.start or 0.0, sound, model), "heard", folder, notes)
    by_face = _numbers(seen)
    numbers = by_face + [max(by_face, default=0) + number for number in _numbers(heard)]
    _write(table, list(zip(numbers, seen + heard, strict=True)))
    written.parent.mkdir(exist_ok=True)
    write_text(written, digest(table))
    return Linked(len(set(numbers)), tuple(notes))


def _all(met: Iterator[Met], how: str, folder: RunFolder, notes: list[str]) -> list[Met]:
    """All of them; nobody, and a note, where a file is damaged or the sound cannot be had."""
    try:
        return list(met)
    except (DyadError, OSError, ValueError) as error:
        why = known_sentence(error) or f"Its folder or file cannot be read ({error}); run the clip again with --fresh."
        notes.append(f"Who is {how} in {folder.root.name} is not looked for in other clips. {why}")
        return []


def _numbers(met: list[Met]) -> list[int]:
    """The number of each person, from 1; two who are one have the same."""
    known = np.stack([one.known for one in met]) if met else np.zeros((0, 1), np.float32)
    return list(map(int, same_persons([one.clip_id for one in met], known)))


def _write(table: Path, rows: list[tuple[int, Met]]) -> None:
    """Write the table, with the name that each person has most often."""
    names = {number: Counter[str]() for number, _ in rows}
    for number, one in rows:
        names[number].update([one.name] if one.name else [])
    stream = StringIO()
    writer = CsvWriter(stream)
    writer.add(COLUMNS)
    for number, one in sorted(rows, key=lambda row: row[0]):
        name = max(names[number], key=names[number].__getitem__, default="")
        writer.add([number, name, one.clip_id, one.person, *one.told, one.by])
    write_text(table, stream.getvalue())


def _seen(folder: RunFolder, model: Recogniser, keep: bool) -> Iterator[Met]:
    """The persons of a clip of whom there are pictures."""
    people = read_people(folder.people)
    if people is None or not folder.face_pictures.is_file():
        folder.face_looks.unlink(missing_ok=True)
        return
    looks = _looks(folder, persons_of_tracks(people), model, keep)
    yield from _met(folder, looks, "face")


def _heard(folder: RunFolder, start: float, sound: Callable[[], Path], model: Recogniser) -> Iterator[Met]:
    """The persons of a clip who are heard for long enough and never seen; the clip begins at `start` (s) of the file's sound.

    MediaError, OSError where the sound cannot be had.
    """
    people = read_people(folder.people)
    if people is None:
        return
    unseen = people.loc[(people["pictures"] == 0) & (people["seconds_speaking"] >= LEAST_SPEECH), "person"]
    turns, voices = read_table(folder.turns), dict[int, Embeddings]()
    for person in unseen.astype(int):
        spoken = turns.loc[(turns["person"] == person) & ~turns["overlap"], ["start", "end"]]
        if len(spoken):
            voices[person] = embed_voice(model, sound(), spoken.to_numpy(np.float64) + start)
    yield from _met(folder, voices, "voice")


def _met(folder: RunFolder, known: Mapping[int, Embeddings], by: Literal["face", "voice"]) -> Iterator[Met]:
    """What is told of the persons of a clip whose face or voice is known."""
    people = read_people(folder.people)
    for row in [] if people is None else people.to_dict("records"):
        person = int(row["person"])
        if person in known:
            told = bool(row["main"]), float(row["seconds_on_screen"]), float(row["seconds_speaking"])
            yield Met(folder.root.name, person, str(row["name"]), told, by, known[person])


def _sound(path: str, settings: Settings, stack: ExitStack) -> Path:
    """The sound of a file as 16 kHz mono WAV, there until the stack is closed; MediaError where there is none."""
    file = stack.enter_context(fetched(path))
    aside = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    limits = limits_of(settings)
    audio = decode(probe(file, limits, settings.decode.audio_track), aside, HARDLY_ANY, limits=limits).audio
    if audio is None:
        raise MediaError(f"{path} has no sound any more; run the clip again.")
    return audio


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
