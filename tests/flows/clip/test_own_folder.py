"""What is asked of a clip in another way has a folder of its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import Settings, load_settings
from data.errors import InputError
from data.media.clip import Clip
from data.run_folder import RunFolder
from flows.clip.known import FOLDER, INDEX
from flows.clip.own_folder import SetRow, in_own_folder
from flows.job import Brought, Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A clip in a folder of its own; nothing of it is read."""
    (tmp_path / "a").mkdir()
    clip = Clip(tmp_path / "a" / "talk.mp4", "talk-0123abcd", "0123abcd" * 8, 8.0)
    return Job(clip, RunFolder(tmp_path / "runs" / clip.clip_id), Settings())


def words(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "talk.srt").write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n")
    return folder / "talk.srt"


def test_the_same_question_has_the_same_folder(job: Job) -> None:
    first = in_own_folder(job)
    assert first.folder.root.name == "talk-0123abcd"
    assert in_own_folder(job).folder.root == first.folder.root
    on_gpu = job.settings.model_copy(update={"device": "cuda:0", "profile": "another"})
    assert in_own_folder(replace(job, settings=on_gpu)).folder.root == first.folder.root


def test_nothing_is_written_behind_a_planted_link(job: Job, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    job.folder.root.parent.mkdir()
    job.folder.root.symlink_to(tmp_path / "victim")
    for fresh in (False, True):
        with pytest.raises(InputError, match="is a link, and Dyad writes nothing behind it"):
            in_own_folder(job, name=job.folder.root.name if fresh else "", fresh=fresh)
    assert not list((tmp_path / "victim").iterdir())


def test_other_words_beside_the_same_content_have_another_folder(job: Job, tmp_path: Path) -> None:
    words(tmp_path / "a", "glad")
    words(tmp_path / "b", "sad")
    second = replace(job, clip=replace(job.clip, path=tmp_path / "b" / "talk.mp4"))
    folders = [in_own_folder(one).folder.root.name for one in (job, second, job, second)]
    assert folders[0] == folders[2] == "talk-0123abcd"
    assert folders[1] == folders[3] != folders[0]
    assert folders[1].startswith("talk-0123abcd-")
    assert in_own_folder(second).clip.clip_id == folders[1]


@pytest.mark.parametrize("other", ["settings", "brought"])
def test_other_settings_and_given_files_have_another_folder(job: Job, tmp_path: Path, other: str) -> None:
    in_own_folder(job)
    changed = {
        "settings": replace(job, settings=load_settings(overrides={"windows": {"length": 2.0}})),
        "brought": replace(job, brought=Brought(transcript=words(tmp_path / "b", "sad"))),
    }
    assert in_own_folder(changed[other]).folder.root.name != "talk-0123abcd"


def test_what_both_have_in_common_is_taken_along(job: Job) -> None:
    first = in_own_folder(job).folder
    first.mark_done("voice", "key", 1.0)
    first.scores("voice").write_text("scores")
    first.result.write_text("{}")
    again = in_own_folder(replace(job, settings=load_settings(overrides={"windows": {"length": 2.0}}))).folder
    assert again.is_done("voice", "key")
    assert again.scores("voice").read_text() == "scores"
    assert not again.result.exists()
    assert first.asked.read_text() != again.asked.read_text()
    again.forget()
    assert first.is_done("voice", "key")
    assert again.asked.exists()


def test_a_name_is_the_folders(job: Job) -> None:
    named = in_own_folder(job, "mine")
    assert (named.folder.root.name, named.clip.clip_id) == ("mine", "mine")
    other = replace(job, settings=load_settings(overrides={"windows": {"length": 2.0}}))
    with pytest.raises(InputError, match="mine holds an answer to something else"):
        in_own_folder(other, "mine")
    assert in_own_folder(other, "mine", fresh=True).folder.root.name == "mine"
    for bad in ("a/b", "..", ".hidden"):
        with pytest.raises(InputError, match="without slashes"):
            in_own_folder(job, bad)


def test_the_clips_of_a_data_set_have_a_folder_each_and_are_known_to_a_run(job: Job) -> None:
    row = SetRow("a/talk-0123456789ab", "/set/a/talk.mp4", speaker="Ann")
    copy = SetRow("b/talk-ba9876543210", "/set/b/talk.mp4")
    moved = row._replace(path="/elsewhere/a/talk.mp4")
    first, second = in_own_folder(job, row=row).folder, in_own_folder(job, row=copy).folder
    assert first.root == job.folder.root != second.root
    assert [in_own_folder(job, row=one).folder.root for one in (moved, copy)] == [first.root, second.root]
    shares = {"static_face": {"neutral": 0.5}}
    references = first.root.parent / FOLDER
    references.mkdir()
    (references / INDEX).write_text(json.dumps({"references": {}, "shares": shares}))
    estimated = load_settings(overrides={"static_face": {"priors": "estimated"}})
    alone = replace(job, clip=replace(job.clip, clip_id="other-0123abcd"), folder=RunFolder(first.root.parent / "other"))
    assert in_own_folder(replace(alone, settings=estimated)).shares == {}
    assert in_own_folder(replace(alone, settings=estimated), "mine", row=row).shares == shares
    assert in_own_folder(replace(alone, settings=estimated), "mine").shares == shares, "as the data set knows it"
