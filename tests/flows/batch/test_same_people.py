"""Persons of several clips of a data set, linked where that is asked for."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from configs.settings import load_settings
from data.dataset_files import SAME_PEOPLE
from data.manifest.manifest import ManifestRow
from data.people import PEOPLE, TURNS
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.tables import read_table, write_table
from flows.batch import same_people
from flows.batch.same_people import COLUMNS, link_people
from flows.retention import DAY, prune_folders
from modalities.speech.detect import SAMPLE_RATE, read_audio


@pytest.fixture
def clips(sample_run: RunFolder, tmp_path: Path) -> list[tuple[ManifestRow, RunFolder]]:
    """Two clips of the same person, who has a name in one of them."""
    folders = []
    for number, name in enumerate(("a", "b")):
        folder = RunFolder(Path(shutil.copytree(sample_run.root, tmp_path / name)))
        write_table(folder.people, read_table(folder.people).assign(name=["", "Ada"][number]))
        folders.append((ManifestRow(number, name, f"{name}.mp4"), folder))
    return folders


def test_a_person_of_two_clips_is_one_and_what_tells_it_is_kept_only_where_asked(
    clips: list[tuple[ManifestRow, RunFolder]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, kept = load_settings(), [folder.face_looks for _, folder in clips]
    assert link_people(tmp_path, clips, settings, keep=False).different == 1
    table = pd.read_csv(tmp_path / SAME_PEOPLE)
    assert tuple(table.columns) == COLUMNS
    assert table[["same_person", "name", "clip_id", "person"]].to_numpy().tolist() == [[1, "Ada", "a", 1], [1, "Ada", "b", 1]]
    assert not any(file.exists() for file in kept)

    assert link_people(tmp_path, clips, settings, keep=True).different == 1
    assert all(file.exists() for file in kept)
    with np.load(kept[0]) as stored:
        np.testing.assert_allclose(np.linalg.norm(stored["looks"], axis=1), 1.0, atol=1e-4)
    with monkeypatch.context() as patch:
        patch.setattr(same_people, "embed_pictures", lambda *_: pytest.fail("what was kept is not looked at anew"))
        assert link_people(tmp_path, clips, settings, keep=True).different == 1
    kept[0].write_bytes(kept[0].read_bytes()[:-9])
    assert link_people(tmp_path, clips, settings, keep=True).different == 1, "what is damaged is made anew"

    old = time.time() - 31 * DAY
    for path in [*(tmp_path / "a").rglob("*"), tmp_path / "a"]:
        os.utime(path, (old, old), follow_symlinks=False)
    assert prune_folders.fn(tmp_path, 30, 5, False).removed == 0
    assert [file.exists() for file in kept] == [False, True], "of an old folder that stays they go"
    voice = heard_clip(ManifestRow(3, "c", str(sample_clip())), tmp_path / "c", 1.0)
    assert link_people(tmp_path, [*clips, voice], settings, keep=False).different == 2, "a face and a voice are two"
    assert not kept[1].exists()


def test_a_clip_whose_tables_are_damaged_is_left_out_with_a_note(
    clips: list[tuple[ManifestRow, RunFolder]], tmp_path: Path
) -> None:
    pictures = clips[0][1].face_pictures
    pictures.write_bytes(pictures.read_bytes()[:-9])
    linked = link_people(tmp_path, clips, load_settings(), keep=False)
    assert (linked.different, len(linked.notes)) == (1, 1)
    assert "Who is seen in a is not looked for" in linked.notes[0]
    assert pd.read_csv(tmp_path / SAME_PEOPLE)["clip_id"].tolist() == ["b"]


def test_who_is_only_heard_is_known_by_the_voice_and_an_edited_table_stays(tmp_path: Path) -> None:
    wave, settings, table = read_audio(sample_clip()), load_settings(), tmp_path / SAME_PEOPLE
    lower = np.interp(np.arange(0, len(wave) - 1, 0.7), np.arange(len(wave)), wave)
    begins, two = len(wave) / SAMPLE_RATE, tmp_path / "two.wav"
    soundfile.write(two, np.concatenate([wave, lower]), SAMPLE_RATE)
    rows = [
        heard_clip(ManifestRow(1, "a", str(two), end=begins), tmp_path / "a", 1.0),
        heard_clip(ManifestRow(2, "b", str(two), start=begins), tmp_path / "b", 1 / 0.7),
        heard_clip(ManifestRow(3, "c", str(sample_clip())), tmp_path / "c", 1.0),
        heard_clip(ManifestRow(4, "d", str(tmp_path / "gone.wav")), tmp_path / "d", 1.0),
    ]
    linked = link_people(tmp_path, rows, settings, keep=False)
    assert linked.different == 2
    assert [note for note in linked.notes if "in d is not looked for" in note and "gone.wav" in note] == list(linked.notes) != []
    assert pd.read_csv(table)[["same_person", "clip_id", "by"]].to_numpy().tolist() == [
        [1, "a", "voice"], [1, "c", "voice"], [2, "b", "voice"]
    ]  # fmt: skip
    assert not list(tmp_path.rglob("*.npz")), "what a voice is known by is never written"
    table.write_text(table.read_text().replace("2,,b", "1,,b"))
    linked = link_people(tmp_path, rows, settings, keep=False)
    assert (linked.different, "was edited and stays" in linked.notes[0], "1,,b" in table.read_text()) == (1, True, True)
    table.unlink()
    assert link_people(tmp_path, rows, settings, keep=False).different == 2
    assert link_people(tmp_path, rows[:1], settings, keep=False).different == 1, "a table as it was written is written anew"


def heard_clip(row: ManifestRow, root: Path, slower: float) -> tuple[ManifestRow, RunFolder]:
    """A clip in which one person speaks, as the sample clip does at its speed, and nobody is seen."""
    folder = RunFolder(root)
    folder.create()
    turns = [(0.23, 4.13), (4.32, 7.68), (8.26, 11.8)]
    spoken = pd.DataFrame([(start * slower, end * slower, "1", 1, False, False) for start, end in turns], columns=list(TURNS))
    write_table(folder.turns, spoken.astype(TURNS))
    person = dict.fromkeys(PEOPLE, 0) | {"person": 1, "name": "", "given": "", "seconds_speaking": 10.8 * slower, "tracks": []}
    write_table(folder.people, pd.DataFrame([person]).astype(PEOPLE))
    return row, folder


def test_what_cannot_be_is_said(dyad: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, said = dyad("batch", tmp_path, "--keep-embeddings", "-o", tmp_path / "runs")
    assert (code, "Only --same-people compares faces" in said) == (2, True)
