"""Persons of several clips of a data set, linked where that is asked for."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.settings import load_settings
from data.dataset_files import SAME_PEOPLE
from data.manifest.manifest import ManifestRow
from data.run_folder import RunFolder
from data.tables import read_table, write_table
from flows.batch import same_people
from flows.batch.same_people import COLUMNS, link_people
from flows.retention import DAY, prune_folders


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
    assert link_people(tmp_path, clips, settings, keep=False) == 1
    table = pd.read_csv(tmp_path / SAME_PEOPLE)
    assert tuple(table.columns) == COLUMNS
    assert table[["same_person", "name", "clip_id", "person"]].to_numpy().tolist() == [[1, "Ada", "a", 1], [1, "Ada", "b", 1]]
    assert not any(file.exists() for file in kept)

    assert link_people(tmp_path, clips, settings, keep=True) == 1
    assert all(file.exists() for file in kept)
    with np.load(kept[0]) as stored:
        np.testing.assert_allclose(np.linalg.norm(stored["looks"], axis=1), 1.0, atol=1e-4)
    with monkeypatch.context() as patch:
        patch.setattr(same_people, "embed_pictures", lambda *_: pytest.fail("what was kept is not looked at anew"))
        assert link_people(tmp_path, clips, settings, keep=True) == 1
    kept[0].write_bytes(kept[0].read_bytes()[:-9])
    assert link_people(tmp_path, clips, settings, keep=True) == 1, "what is damaged is made anew"

    old = time.time() - 31 * DAY
    for path in [*(tmp_path / "a").rglob("*"), tmp_path / "a"]:
        os.utime(path, (old, old), follow_symlinks=False)
    assert prune_folders.fn(tmp_path, 30, 5, False).removed == 0
    assert [file.exists() for file in kept] == [False, True], "of an old folder that stays they go"
    link_people(tmp_path, clips, settings, keep=False)
    assert not kept[1].exists()


def test_what_cannot_be_is_said(dyad: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, said = dyad("batch", tmp_path, "--keep-embeddings", "-o", tmp_path / "runs")
    assert (code, "Only --same-people compares faces" in said) == (2, True)
