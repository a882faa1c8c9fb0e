"""The stage that tells people apart, and the names that users and subtitles give them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import fsspec
import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.media.clip import Clip
from data.media.probe import probe
from data.people import read_names, rows_of
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.tables import read_table, write_table
from flows.clip.runner import recognise_clip
from flows.clip.steps import publish
from flows.clip.threads import in_thread
from flows.clip.words import write_words
from flows.evidence import faces_table, sound_of, there, turns_of, words_of
from flows.exports.source import items, source_at
from flows.exports.write import export_to
from flows.job import Job
from flows.recognition import read_run
from modalities.people.find import NO_FACES, known_people
from modalities.people.turns import Turn
from reports.exports.abaw import COMPOUND, frame_classes
from reports.exports.clip import ClipAnswer, Item, read_clip, tiers_of
from reports.exports.formats import format_named
from reports.exports.run_tables import csv_of
from reports.exports.tables import csv_long, csv_wide, json_whole, segments
from tests.media_makers import make_clip


def a_job(folder: Path, which: str = "main") -> Job:
    """A job whose people are told apart: two voices, of which subtitles name the first."""
    clip, settings = Clip(folder / "clip.mp4", "clip", "content", 9.0), load_settings(overrides={"faces": {"which": which}})
    job = Job(clip, RunFolder(folder), settings)
    job.folder.create()
    found = known_people(NO_FACES, {}, [Turn(0, 4, "1"), Turn(5, 9, "2")])
    write_table(job.folder.people, found.people)
    write_table(job.folder.turns, found.turns)
    cues = pd.DataFrame({"start": [0.0, 5.0], "end": [4.0, 9.0], "text": ["Hello.", "Good day."], "speaker": ["Anna", ""]})
    write_table(job.folder.cues, cues, {"origin": "clip.vtt", "rejected": []})
    return job


def test_names_of_subtitles_and_of_the_user_reach_the_list_and_the_transcript(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    assert publish.inputs(job) == {"names": {}}
    own = publish.name_people(job)
    job.folder.mark_done("publish", "key", 1.0, {"names": own})
    assert read_names(job.folder.people_list) == {1: "Anna"}
    assert "<v Anna>Hello." in job.folder.transcript.read_text()
    assert "<v Person 2>Good day." in job.folder.transcript.read_text()
    assert publish.inputs(job) == {"names": {}}, "what was not edited runs nothing again"

    edited = job.folder.people_list.read_text().replace("\n2,,", "\n2,Bob,")
    job.folder.people_list.write_text(edited)
    assert publish.inputs(job) == {"names": {2: "Bob"}}
    publish.name_people(job)
    assert read_names(job.folder.people_list) == {1: "Anna", 2: "Bob"}
    assert "<v Bob>Good day." in job.folder.transcript.read_text()


def test_without_people_nothing_of_them_stays(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    publish.name_people(job)
    job.folder.mark_failed("people", "It broke.")
    assert publish.name_people(job) == {}
    assert not any(path.exists() for path in (job.folder.people, job.folder.turns, job.folder.people_list))


def test_a_person_who_is_not_in_the_clip_cannot_be_asked_for(tmp_path: Path) -> None:
    job = a_job(tmp_path, which="person=7")
    write_table(job.folder.faces, NO_FACES)
    with pytest.raises(InputError, match=r"no person 7 in clip\.mp4; people\.csv in its run folder"):
        faces_table(job)


def test_words_keep_where_they_are_from(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    write_words(job.folder, pd.DataFrame({"start": [0.0], "end": [1.0], "text": ["Hello."]}))
    assert "NOTE Words: clip.vtt." in job.folder.transcript.read_text()


def told_apart(job: Job, person: int, persons: list[int]) -> Job:
    """The job after the stage that tells people apart: the clip's answer is about `person`, and `persons` have one besides."""
    job.folder.mark_done("people", "key", 1.0, {"person": person, "persons": persons})
    return job


def test_each_person_has_the_words_and_the_sound_of_their_own_turns(tmp_path: Path) -> None:
    job = told_apart(a_job(tmp_path), 1, [2])
    job.folder.mark_done("decode", "key", 1.0, {"audio": "audio.wav"})
    soundfile.write(job.folder.work / "audio.wav", np.full(9 * 16_000, 0.5, np.float32), 16_000)
    main, other = job.everyone()
    cues = read_table(job.folder.cues)
    assert words_of(main, cues)["text"].tolist() == ["Hello."]
    assert words_of(other, cues)["text"].tolist() == ["Good day."]

    def heard(one: Job) -> list[bool]:
        sound = sound_of(one)
        assert sound is not None
        samples, rate = soundfile.read(sound)
        return [bool(samples[round(second * rate)] > 0.4) for second in (2.0, 4.5, 7.0)]

    assert heard(main) == [True, True, False], "what is nobody's turn stays with whom the clip's answer is about"
    assert heard(other) == [False, False, True]
    assert there(other).tolist() == [end > 5 for _, end in job.windows]


def test_one_person_is_answered_as_everybody(copied_run: RunFolder) -> None:
    """What the modalities get of a clip of one person is all that there is, as if nobody had told persons apart."""
    answer = read_run(copied_run.root)
    job = Job(probe(sample_clip()), copied_run, load_settings())
    assert (job.whose, job.about, job.everyone()) == (1, None, [job])
    assert not copied_run.of_persons.exists()
    shown = answer.person(1)
    pd.testing.assert_frame_equal(shown.windows, answer.windows)
    pd.testing.assert_frame_equal(shown.frames, answer.frames)
    pd.testing.assert_frame_equal(shown.timeline, answer.timeline)
    cues, turns = read_table(copied_run.cues), read_table(copied_run.turns)
    pd.testing.assert_frame_equal(words_of(job, cues), cues)
    told = turns_of(job)
    assert told is not None
    pd.testing.assert_frame_equal(told, turns)
    assert sound_of(job) == job.work_file("audio")
    apart = faces_table(job)
    copied_run.mark_failed("people", "It broke.")
    pd.testing.assert_frame_equal(faces_table(job), apart.drop(columns=["person", "called"]))


def test_two_faces_have_two_answers(tmp_path: Path, result_of: Callable[[RunFolder], dict[str, Any]]) -> None:
    """A face beside itself a little later: whoever stands beside somebody is somebody else."""
    clip = two_faces(tmp_path / "two.mp4", seconds=5.0)
    job = Job(probe(clip), RunFolder(tmp_path / "run"), load_settings(overrides={"transcript": {"words": "off"}}))
    recognise_clip(job, in_thread)
    answer = read_run(job.folder.root)
    assert answer.people["person"].tolist() == [1, 2]
    main = int(answer.people.loc[answer.people["main"], "person"].iloc[0])
    other = 3 - main
    tracks = answer.people.set_index("person")["tracks"]
    for person, folder in ((main, job.folder), (other, job.folder.of_person(other))):
        seen = read_table(folder.evidence("static_face"))
        assert set(seen["track_id"]) <= set(tracks[person]), f"person {person} is judged by their own face"
        shown = answer.person(person)
        assert shown.windows["present"].any()
        assert len(shown.timeline)
        assert len(shown.frames)
        np.testing.assert_allclose(shown.windows[list(BASIC_EMOTIONS)].to_numpy()[0].sum(), 1.0, atol=1e-3)
    first, second = (answer.person(one).windows["happiness"].to_numpy() for one in (1, 2))
    assert not np.allclose(first, second, atol=1e-4)
    assert answer.windows["start"].is_unique, "the clip's own answer is about one person"
    assert answer.frames["frame"].is_unique
    assert result_of(job.folder)["people"][other - 1]["answer"]["modalities"]["static_face"]["state"] == "present"
    assert f"Person {main}: " in answer.sentence
    assert f"Person {other} " in answer.sentence
    assert f"Person {other}: expression" in tiers_of(read_clip(job.folder))

    of_everybody_in_exports(job, main, other)

    job.folder.people_list.write_text(job.folder.people_list.read_text().replace(f"\n{other},,", f"\n{other},Ada,"))
    job.folder.log.unlink()
    recognise_clip(job, in_thread)
    assert "Ada: expression" in tiers_of(read_clip(job.folder))
    done = [line.split()[4] for line in job.folder.log.read_text().splitlines() if " done in " in line]
    assert done == ["publish"], "a name is written anew, and nothing is recognised again"


def of_everybody_in_exports(job: Job, main: int, other: int) -> None:
    """Tables, segments and the challenge's file have the answers of everybody, and of one person where that is asked."""
    source, windows = source_at(job.folder.root), read_table(job.folder.windows)

    def exported(name: str, person: str = "") -> list[Item]:
        return list(items(source_at(job.folder.root, person), format_named(name)))

    wide = pd.read_csv(io.StringIO("".join(csv_wide(exported("csv")))))
    assert wide["person"].tolist() == windows["person"].tolist(), "whom the clip's answer is about comes first"
    names = [*BASIC_EMOTIONS, "sureness", "contribution_static_face", "quality_static_face"]
    np.testing.assert_allclose(wide[names], windows[names], atol=1e-6)
    long = pd.read_csv(io.StringIO("".join(csv_long(exported("csv-long")))))
    own = long[(long["person"] == other) & (long["source"] == "static_face") & (long["window"] == 0)]
    scores = read_table(job.folder.of_person(other).scores("static_face"))
    np.testing.assert_allclose(own["probability"], scores[list(BASIC_EMOTIONS)].iloc[0], atol=1e-5)
    rows = [line.split(" ") for line in segments(exported("rttm"))]
    assert {row[6] for row in rows} == {f"Person_{main}", f"Person_{other}"}
    (whole,) = json.loads("".join(json_whole(exported("json"))))["clips"]
    assert len(whole["people"][other - 1]["answer"]["windows"]) == (windows["person"] == other).sum()

    tracks = read_table(job.folder.people)["tracks"][other - 1].tolist()
    for name, column, wanted in (("frames", "person", [other]), ("people", "person", [other]), ("faces", "track_id", tracks)):
        shown = pd.read_csv(io.StringIO("".join(csv_of(name)(exported(f"csv-{name}", str(other))))))
        assert set(shown[column]) == set(wanted), "of this person alone"

    fsspec.filesystem("memory").put(str(job.folder.root), "/two/run", recursive=True)
    for name in ("csv-long", "csv-faces", "abaw"):
        texts = [job.folder.root.with_name(f"{place}.{name}") for place in ("here", "there")]
        for place, text in zip((job.folder.root, "memory://two/run"), texts, strict=True):
            export_to(source_at(place, str(other)), name, str(text))
        assert texts[0].read_bytes() == texts[1].read_bytes() != b"", "from an address, too"

    (alone,) = exported("abaw", f"person {other}")
    assert isinstance(alone, ClipAnswer)
    frames = read_table(job.folder.frames)
    classes = frame_classes(alone)
    shares = rows_of(frames, other)[list(COMPOUND.classes)].to_numpy().argmax(1)
    assert list(classes.index)[: len(shares)] == shares.tolist()
    assert len(classes.index) == frames["frame"].nunique(), "a class for every frame, also where nothing is known of the person"
    with pytest.raises(InputError, match="no answer about 'Zoe' in two.*Person 1, Person 2"):
        exported("abaw", "Zoe")
    assert list(items(source))[0].others == (), "who reads result.json alone reads nobody else's tables"  # type: ignore[union-attr]


def two_faces(path: Path, seconds: float) -> Path:
    """The sample's face on the left, and on the right as it is a second later, smaller."""
    with av.open(str(sample_clip())) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate or 25)
    small = [cv2.resize(frame, None, fx=0.75, fy=0.75) for frame in frames]
    height, width = frames[0].shape[0] // 2 * 2, frames[0].shape[1]

    def picture(time_s: float) -> NDArray[np.uint8]:
        at, later = (min(round(moment * rate), len(frames) - 1) for moment in (time_s, time_s + 2))
        first, second = frames[at], small[later]
        shown = np.zeros((height, width * 2, 3), np.uint8)
        shown[:, :width], shown[: second.shape[0], width : width + second.shape[1]] = first[:height], second
        return shown

    return make_clip(path, seconds=seconds, fps=5, size=(width * 2, height), picture=picture, sound=None)
