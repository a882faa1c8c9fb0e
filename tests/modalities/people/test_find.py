"""The people of a clip, from tables of faces and turns whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import InputError, MediaError
from data.people import called, persons_of_tracks, read_known, read_names, with_names, with_persons, write_people
from modalities.people.find import NO_FACES, known_people, largest_face
from modalities.people.identities import MOST, group_tracks, telling_faces
from modalities.people.lip_sync import LAG, STEP
from modalities.people.names import names_in_subtitles, with_speakers
from modalities.people.turns import Turn
from tests.faults import bombs


def track(number: int, start: float, end: float, *, moving: bool = False, left: float = 0.0, width: float = 80.0) -> pd.DataFrame:
    """A face that is looked at five times a second, with its mouth shut or speaking."""
    times = np.arange(start, end, 0.2)
    mouth = 0.1 + (0.08 * (np.arange(len(times)) % 2) if moving else 0.0)
    return pd.DataFrame({
        "frame": np.round(times * 5).astype(int), "time_s": times, "track_id": number, "x": left, "y": 0.0, "width": width,
        "height": width, "score": 0.9, "sharpness": 0.01, "mouth": mouth,
    })  # fmt: skip


def faces_of(*tracks: pd.DataFrame) -> pd.DataFrame:
    table = pd.concat(tracks, ignore_index=True)
    return table.assign(face=np.arange(len(table)))


def test_a_person_is_known_again_after_a_cut_and_two_in_a_picture_are_two() -> None:
    faces = faces_of(track(0, 0, 2), track(1, 2, 4), track(2, 4, 6), track(3, 4, 6, left=200))
    looks = np.eye(4, dtype=np.float32)[[0, 1, 0, 0]]  # the fourth looks like the first, but the third one stands beside it
    looks[3] = looks[3] * 0.9 + np.eye(4, dtype=np.float32)[3] * 0.4359
    assert group_tracks(faces, np.arange(4), looks) == {0: 1, 1: 2, 2: 1, 3: 3}


def test_faces_too_small_to_be_told_are_not_joined() -> None:
    for far, near, persons in ((20, 20, [1, 2]), (20, 120, [1, 2]), (24, 120, [1, 1])):
        faces = faces_of(track(0, 0, 2, width=far), track(1, 2, 4, width=near))
        assert list(group_tracks(faces, np.arange(2), np.eye(2, dtype=np.float32)[[0, 0]]).values()) == persons


def test_a_few_faces_of_each_track_are_looked_at_spread_over_its_time() -> None:
    chosen = telling_faces(faces_of(track(0, 0, 10), track(1, 10, 10.5)))
    assert chosen["track_id"].value_counts().to_dict() == {0: 6, 1: 3}
    assert chosen.loc[chosen["track_id"] == 0, "time_s"].is_monotonic_increasing
    assert float(chosen["time_s"].max()) > 9


def test_who_moves_the_mouth_speaks_and_the_largest_is_the_main_person() -> None:
    faces = faces_of(track(0, 0, 8, width=120), track(1, 0, 8, moving=True, left=300))
    found = known_people(faces, {0: 1, 1: 2}, [Turn(1, 5, "1")])
    assert found.turns["person"].tolist() == [2]
    assert found.turns["on_screen"].tolist() == [True]
    assert found.people["seconds_speaking"].tolist() == [0, 4]
    assert found.people["seconds_on_screen"].tolist() == [8, 8]
    assert found.people.loc[found.people["main"], "person"].tolist() == [1]


def test_a_voice_while_all_mouths_are_still_is_somebody_off_screen() -> None:
    found = known_people(faces_of(track(0, 0, 8)), {0: 1}, [Turn(1, 5, "1")])
    assert found.people["person"].tolist() == [1, 2]
    assert found.people["pictures"].tolist() == [40, 0]
    assert found.turns["person"].tolist() == [2]
    assert not found.turns["on_screen"].any()
    assert found.people.loc[found.people["main"], "person"].tolist() == [1]


@pytest.mark.parametrize(("between", "person"), [(0.027, 1), (0.021, 0)])
def test_the_only_one_who_is_seen_speaks_where_the_mouth_hardly_opens_unless_it_is_still_on_the_whole(
    between: float, person: int
) -> None:
    """A part of the turn in which the mouth speaks, one in which it is shut, and between them nothing clear."""
    faces = faces_of(track(0, 0, 4.8))
    opening = np.select([faces["time_s"] < 1.2, faces["time_s"] < 3.6], [0.032, between], 0.0)
    faces["mouth"] += opening * (faces["frame"] % 2)
    assert known_people(faces, {0: 1}, [Turn(0, 4.8, "1")]).turns["person"].tolist() == [person]


def test_nobody_is_said_to_speak_where_two_mouths_move() -> None:
    faces = faces_of(track(0, 0, 8, moving=True), track(1, 0, 8, moving=True, left=300))
    assert known_people(faces, {0: 1, 1: 2}, [Turn(1, 5, "1")]).turns["person"].tolist() == [0]


def test_of_two_mouths_that_move_the_one_that_goes_with_the_voice_speaks() -> None:
    """However much more the other one moves; and with the sound of neither, or of a band, nobody is said to."""
    rng, times = np.random.default_rng(1), np.arange(0, 10, 0.2)
    spoken, chewed = (np.clip(rng.uniform(-0.1, 0.2, len(times)), 0, None) for _ in range(2))
    strange = np.clip(0.15 - chewed, 0, None)
    faces = faces_of(track(0, 0, 10), track(1, 0, 10, left=300)).assign(mouth=np.concatenate([spoken, 2 * chewed]))
    steps = (np.arange(round(10 / STEP)) * STEP + LAG + 0.1) / 0.2
    for sound, person in ((spoken, 1), (strange, 0), (spoken + 1.0, 0)):
        loud = sound[np.minimum(steps.astype(int), len(times) - 1)] ** 2
        assert known_people(faces, {0: 1, 1: 2}, [Turn(1, 9, "1")], loud=loud).turns["person"].tolist() == [person]


def test_a_turn_of_a_wrong_voice_goes_to_whose_mouth_moves() -> None:
    faces = faces_of(
        track(0, 0, 8, moving=True), track(1, 0, 8, left=300), track(2, 8, 12), track(3, 8, 12, moving=True, left=300)
    )
    turns = [Turn(0.5, 4, "1"), Turn(5, 7.5, "1"), Turn(9, 11, "1")]
    assert known_people(faces, {0: 1, 1: 2, 2: 1, 3: 2}, turns).turns["person"].tolist() == [1, 1, 2]


def test_voices_alone_are_persons_too() -> None:
    found = known_people(NO_FACES, {}, [Turn(0, 2, "1"), Turn(3, 9, "2"), Turn(8, 10, "1")])
    assert found.people["person"].tolist() == [1, 2]
    assert found.people.loc[found.people["main"], "person"].tolist() == [2]
    assert found.people["first_seen"].isna().all()
    assert found.turns["overlap"].tolist() == [False, True, True]


def test_nobody_is_there() -> None:
    found = known_people(NO_FACES, {}, [])
    assert found.people.empty
    assert found.turns.empty


def test_a_crowd_is_bounded() -> None:
    """200 faces in one picture: those seen longest are persons, all others are others; and so are too many voices."""
    longest = list(range(0, 200, 9))[:MOST]
    faces = faces_of(*(track(number, 0, 2 if number in longest else 1, left=90.0 * number) for number in range(200)))
    looks = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    persons = group_tracks(faces, np.arange(200), looks)
    assert sorted(persons.values()) == list(range(1, 201))
    found = known_people(faces, persons, [])
    assert persons_of_tracks(found.people) == {number: place for place, number in enumerate(longest, 1)}
    assert with_persons(faces, found.people)["person"].value_counts().to_dict() == {0: 180 * 5, **dict.fromkeys(range(1, 21), 10)}
    turns = [Turn(number, number + (0.9 if number % 3 == 1 else 0.5), str(number)) for number in range(60)]
    heard = known_people(NO_FACES, {}, turns)
    assert len(heard.people) == MOST
    assert heard.turns.loc[heard.turns["person"] > 0, "start"].tolist() == list(range(1, 60, 3)), "the longest are persons"


def test_twins_and_a_picture_on_the_wall_are_persons_of_their_own_over_cuts() -> None:
    """Two faces that look alike to the last digit are two while one picture shows both, and who comes back is one of them; a
    picture on a wall never moves its mouth, so that nobody takes it for who speaks."""
    faces = faces_of(track(0, 0, 4, moving=True), track(1, 0, 4, left=300), track(2, 4, 6))
    looks = np.eye(2, dtype=np.float32)[[0, 0, 0]]
    persons = group_tracks(faces, np.arange(3), looks)
    assert persons[0] != persons[1]
    assert persons[2] in (persons[0], persons[1])
    found = known_people(faces, persons, [Turn(0.5, 3.5, "1")])
    assert found.turns["person"].tolist() == [persons[0]]


def test_a_mask_hides_the_mouth_and_then_nobody_knows_who_speaks() -> None:
    """Where a mouth is not seen nothing is said of it; an unmasked one that is still does not take the voice."""
    masked = track(0, 0, 8).assign(mouth=np.nan)
    found = known_people(faces_of(masked, track(1, 0, 8, left=300)), {0: 1, 1: 2}, [Turn(1, 5, "1")])
    assert 2 not in found.turns["person"].tolist()
    alone = known_people(faces_of(masked), {0: 1}, [Turn(1, 5, "1")])
    assert alone.turns["person"].tolist() == [1], "a single face and a single voice are one person's"


def test_one_frame_is_enough_for_persons() -> None:
    faces = faces_of(track(0, 0, 0.1), track(1, 0, 0.1, left=300, width=120))
    found = known_people(faces, {0: 1, 1: 2}, [])
    assert found.people["pictures"].tolist() == [1, 1]
    assert found.people["seconds_on_screen"].tolist() == [0.2, 0.2]
    assert found.people.loc[found.people["main"], "person"].tolist() == [2]


def test_one_main_person_over_all_cuts() -> None:
    faces = faces_of(track(0, 0, 4, width=100), track(1, 4, 6, width=110), track(2, 6, 8, width=100))
    people = known_people(faces, {0: 1, 1: 2, 2: 1}, []).people
    assert with_persons(faces.assign(main=True), people).groupby("track_id")["main"].first().tolist() == [True, False, True]


def test_names_come_from_subtitles_and_from_the_user(tmp_path: Path) -> None:
    turns = pd.DataFrame({"start": [0.0, 5.0], "end": [4.0, 9.0], "person": [1, 2]})
    cues = pd.DataFrame({
        "start": [0.0, 5.0, 8.0], "end": [4.0, 7.0, 9.0], "text": ["a", "b", "c"], "speaker": ["Anna", "Bob", ""],
    })  # fmt: skip
    assert names_in_subtitles(turns, cues) == {1: "Anna", 2: "Bob"}
    people = with_names(known_people(NO_FACES, {}, [Turn(0, 4, "1"), Turn(5, 9, "2")]).people, {1: "Anna", 2: "Bob"})
    assert with_speakers(cues, turns, people)["speaker"].tolist() == ["Anna", "Bob", "Bob"]
    assert called(3) == "Person 3"
    write_people(tmp_path / "people.csv", people)
    assert read_names(tmp_path / "people.csv") == {1: "Anna", 2: "Bob"}


@pytest.mark.parametrize(("content", "said"), [
    ("who,what\n1,2\n", "does not say who is who"),
    ("person,name\nfirst,Anna\n", "'first' in the column 'person' is not a number"),
    ("person,name\n,Anna\n", "does not say who Anna is"), ("picture,name\nanna.jpg,Anna\n", "there is no picture"),
])  # fmt: skip
def test_a_wrong_list_of_names_is_told(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        read_known(path)


def test_pictures_that_name_somebody_are_neither_huge_nor_damaged(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"huge\.png"):
        largest_face(bombs.png(tmp_path / "huge.png", 20_000, 20_000))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png is not a picture"):
        largest_face(tmp_path / "text.png")
