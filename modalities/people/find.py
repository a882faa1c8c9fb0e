"""The people of a clip: their faces over cuts, their voices, how long each is seen and heard, and who the main person is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.media.crops import iterate_crops
from data.media.limits import USUAL
from data.media.probe import check_still
from data.people import OTHERS, PEOPLE, TURNS, UNSURE, Known, persons_of_tracks, seconds_of_a_picture
from modalities.faces.crops import Pixels, cut
from modalities.faces.detectors import choose_detector
from modalities.people.identities import ALIKE, MOST, group_tracks, telling_faces, track_embeddings
from modalities.people.lip_sync import LEAST, Floats, lip_sync, loudness
from modalities.people.recognise import Recogniser, diarise, embed_faces
from modalities.people.speaking import OFF_SCREEN, mouth_moves, persons_of_speakers, turn_person
from modalities.people.turns import Embeddings, Turn


@dataclass(frozen=True, eq=False)
class People:
    """Who is in a clip: `people` has a row a person, `turns` a row a turn of speech, as `data.people` has them."""

    people: pd.DataFrame
    turns: pd.DataFrame


CROP = 112
"""Side of a picture's face, pixels."""
NO_FACES = pd.DataFrame({name: pd.Series(dtype=float) for name in (
    "face", "frame", "time_s", "track_id", "x", "y", "width", "height", "score", "sharpness", "mouth")})  # fmt: skip


def find_people(
    model: Recogniser, faces: pd.DataFrame, crops: Path, audio: Path | None, speakers: int | None = None,
    known: Sequence[Known] = (),
) -> People:  # fmt: skip
    """Who is in a clip, from `faces` (rows of `faces.parquet`; may be empty) with their `crops`, and its sound (16 kHz mono WAV).

    `speakers`: how many people speak, where that is known; `known`: names, which become `given`. A clip with one track has one
    face, which nobody needs to recognise unless there are pictures to compare with. InputError for a picture without a face.
    """
    turns = diarise(model, audio, speakers) if audio is not None and audio.is_file() else []
    faces = NO_FACES if faces.empty else faces
    pictures = [one for one in known if one.picture is not None]
    tracks, embeddings = np.unique(faces["track_id"].to_numpy(np.int64)), np.zeros((0, 1024), np.float32)
    if len(tracks) > 1 or (len(tracks) and pictures):
        telling = telling_faces(faces)
        looks = embed_faces(model, iterate_crops(crops, telling["face"].to_numpy(np.int64)))
        tracks, embeddings = track_embeddings(telling, looks)
    persons = group_tracks(faces, tracks, embeddings) if len(embeddings) else {int(track): 1 for track in tracks}
    loud = loudness(audio) if audio is not None and turns and len(faces) else None
    found = known_people(faces, persons, turns, loud=loud)
    names = {one.person: one.name for one in known if one.person is not None}
    if len(embeddings):
        of_track = persons_of_tracks(found.people)
        owners = np.array([of_track.get(int(track), OTHERS) for track in tracks])
        names |= {person: one.name for one in pictures if (person := _pictured(model, one, embeddings, owners)) != OTHERS}
    given = [names.get(int(person), "") for person in found.people["person"]]
    fits = lip_syncs(found, faces, loud) if loud is not None else np.full(len(given), np.nan)
    return People(found.people.assign(given=given, lip_sync=fits), found.turns)


def lip_syncs(found: People, faces: pd.DataFrame, loud: Floats) -> NDArray[np.float64]:
    """How well the mouth of each person fits the sound (its `loudness`), NaN where too little of it is seen in speech."""
    fits = np.full(len(found.people), np.nan)
    rows = zip(found.people["tracks"].to_list(), found.people["seconds_speaking"], found.people["person"], strict=True)
    for place, (tracks, speaking, person) in enumerate(rows):
        if tracks and speaking >= LEAST / 2:
            others = found.turns.loc[found.turns["person"] != person, ["start", "end"]].itertuples(index=False, name=None)
            fits[place] = lip_sync(faces[faces["track_id"].isin(tracks)], list(others), loud)
    return fits


def _pictured(model: Recogniser, known: Known, embeddings: Embeddings, owners: NDArray[np.int64]) -> int:
    """The person whose tracks [T, D] are most like a picture's face; OTHERS when nobody is like it."""
    assert known.picture is not None
    likeness = embeddings @ embed_faces(model, [largest_face(known.picture)[None]])[0]
    means = {int(person): float(likeness[owners == person].mean()) for person in np.unique(owners) if person != OTHERS}
    best = max(means, key=lambda person: means[person], default=OTHERS)
    return best if means.get(best, 0.0) >= ALIKE else OTHERS


def largest_face(picture: Path) -> Pixels:
    """The largest face of a picture, cut out as those of clips; InputError when there is none, MediaError for too many pixels."""
    import cv2

    if picture.is_file():
        check_still(picture, USUAL)
    image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{picture} is not a picture that can be read; give a JPEG or PNG file.")
    rgb: Pixels = np.ascontiguousarray(image[..., ::-1])
    with choose_detector().open() as finder:
        found = sorted(finder.search(rgb), key=lambda one: -one.box[2])
    if not found:
        raise InputError(f"No face is found in {picture}; give a picture in which one looks to the camera.")
    return cut(rgb, found[0].square, CROP)


def known_people(
    faces: pd.DataFrame, persons: Mapping[int, int], turns: Sequence[Turn], most: int = MOST, loud: Floats | None = None
) -> People:
    """The people of a clip from `faces` (rows of `faces.parquet`), the person of each track, who speaks when, and how loud it is.

    A voice without a face is a person too. The main person is the one whose faces cover most of the picture, summed over all
    pictures (area x score, as the main track of a shot); where no face is seen, who speaks longest. Persons keep the order in
    which they appear.
    """
    shown = faces.assign(person=faces["track_id"].map(persons).fillna(OTHERS).astype(int))
    kept = _longest(shown, most)
    shown["person"] = shown["person"].map(kept).fillna(OTHERS).astype(int)
    of_speaker = persons_of_speakers(turns, shown, loud)
    off_screen = [speaker for speaker, person in of_speaker.items() if person == OFF_SCREEN]
    heard = _longest_heard(turns, off_screen, most)
    unseen = {speaker: len(kept) + number for number, speaker in enumerate(heard, 1)}
    spoken = _spoken(turns, of_speaker | dict.fromkeys(off_screen, UNSURE) | unseen, shown, loud)
    step = seconds_of_a_picture(shown)
    rows = [_row(person, shown[shown["person"] == person], spoken, step) for person in (*kept.values(), *unseen.values())]
    people = pd.DataFrame(rows, columns=list(PEOPLE)).astype(PEOPLE)
    people["main"] = people["person"] == _main(shown, spoken)
    return People(people, spoken)


def _longest(shown: pd.DataFrame, most: int) -> dict[int, int]:
    """New numbers, in the old order, for the `most` persons that are seen longest."""
    pictures = shown[shown["person"] > 0].groupby("person")["frame"].nunique()
    kept = sorted(pictures.sort_values(ascending=False, kind="stable").index[:most].astype(int).tolist())
    return {person: number for number, person in enumerate(kept, 1)}


def _longest_heard(turns: Sequence[Turn], speakers: Sequence[str], most: int) -> list[str]:
    """Of so many speakers the `most` that are heard longest, in their order."""
    seconds = {speaker: sum(turn.end - turn.start for turn in turns if turn.speaker == speaker) for speaker in speakers}
    kept = sorted(speakers, key=lambda speaker: -seconds[speaker])[:most]
    return [speaker for speaker in speakers if speaker in kept]


def _spoken(turns: Sequence[Turn], of_speaker: Mapping[str, int], shown: pd.DataFrame, loud: Floats | None) -> pd.DataFrame:
    moves = mouth_moves(shown)
    persons = {int(person) for person in shown["person"]}
    seen = {person: shown.loc[shown["person"] == person, "time_s"].to_numpy(np.float64) for person in persons}
    named = [(turn, turn_person(turn, of_speaker[turn.speaker], shown, moves, loud)) for turn in turns]
    kept: list[dict[str, object]] = []
    for turn, person in named:
        there = seen.get(person, np.zeros(0)) if person > 0 else np.zeros(0)
        visible = bool(((there >= turn.start) & (there <= turn.end)).any())
        overlap = any(other is not turn and other.start < turn.end - 1e-6 and other.end > turn.start + 1e-6 for other in turns)
        kept.append({"start": turn.start, "end": turn.end, "speaker": turn.speaker, "person": person, "on_screen": visible,
                     "overlap": overlap})  # fmt: skip
    return pd.DataFrame(kept, columns=list(TURNS)).astype(TURNS)


def _row(person: int, faces: pd.DataFrame, spoken: pd.DataFrame, step: float) -> dict[str, object]:
    speaking = spoken[spoken["person"] == person]
    pictures = int(faces["frame"].nunique())
    return {
        "person": person, "name": "", "given": "", "main": False,
        "first_seen": faces["time_s"].min() if pictures else np.nan, "last_seen": faces["time_s"].max() if pictures else np.nan,
        "pictures": pictures, "seconds_on_screen": round(pictures * step, 3),
        "seconds_speaking": round(float((speaking["end"] - speaking["start"]).sum()), 3),
        "lip_sync": np.nan, "tracks": sorted(int(track) for track in faces["track_id"].unique()),
    }  # fmt: skip


def _main(shown: pd.DataFrame, spoken: pd.DataFrame) -> int:
    faces, voices = shown[shown["person"] > 0], spoken[spoken["person"] > 0]
    weights = (faces["width"] * faces["height"] * faces["score"]).groupby(faces["person"]).sum()
    if weights.empty:
        weights = (voices["end"] - voices["start"]).groupby(voices["person"]).sum()
    return int(weights.index[int(weights.to_numpy().argmax())]) if len(weights) else OTHERS
