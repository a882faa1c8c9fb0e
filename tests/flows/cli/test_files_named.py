"""Files and folders as they are named on the command line."""

import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import InputError
from data.manifest.manifest import manifest_of_folder, read_manifest
from flows.cli.options import local_path
from flows.files import media_files
from tests.conftest import ROOT

Dyad = Callable[..., tuple[int, str, str]]


def test_a_folder_gives_all_its_media_and_names_the_rest(tmp_path: Path) -> None:
    for name in ("a.aiff", "b.WMA", "c.m2ts", "d.wav", "._d.wav", ".hidden.mp4", "notes.docx", "d.srt", "scores.csv"):
        (tmp_path / name).touch()
    for name in ("more/e.mp4", ".hidden/f.mp4", "papers/a.docx"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    said: list[str] = []
    assert [file.name for file in media_files([tmp_path], said.append)] == ["a.aiff", "b.WMA", "c.m2ts", "d.wav"]
    assert said == [
        f"{tmp_path}: 1 file left out, which by their endings are no media: notes.docx.",
        f"{tmp_path}: what lies in folders in it (more) is left out; 'dyad batch' takes that too.",
    ]
    shutil.rmtree(tmp_path / "more")
    (tmp_path / "papers/a.docx").unlink()
    manifest = manifest_of_folder(tmp_path)
    assert manifest.table["path"].tolist() == ["a.aiff", "b.WMA", "c.m2ts", "d.wav"]
    assert manifest.notes == tuple(said[:1])
    for name in ("a.aiff", "b.WMA", "c.m2ts", "d.wav"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="holds no media files.*notes.docx"):
        media_files([tmp_path])


@pytest.mark.parametrize(("here", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_or_not(tmp_path: Path, here: str, there: str) -> None:
    stored, named = (unicodedata.normalize(form, "café.mp4") for form in (there, here))
    (tmp_path / stored).touch()
    assert media_files([tmp_path / named]) == [tmp_path / stored]
    (tmp_path / "m.csv").write_text(f"path\n{named}\n", encoding="utf-8")
    (row,) = read_manifest(tmp_path / "m.csv").rows()
    assert (row.path, row.problem) == (str(tmp_path / stored), "")


def test_addresses_keep_their_slashes() -> None:
    with pytest.raises(InputError, match="s3://bucket/talk.mp4 is an address"):
        local_path("s3://bucket/talk.mp4")
    assert local_path("file:///tmp/a b.mp4") == Path("/tmp/a b.mp4")
    assert local_path("talk.mp4") == Path("talk.mp4")


@pytest.mark.parametrize("words", [("score", "text"), ("batch",), ("run", "clip.mp4", "-o", "runs", "--scores")])
def test_a_table_without_rows_is_an_error_and_no_wrong_use(dyad: Dyad, tmp_path: Path, words: tuple[str, ...]) -> None:
    table = tmp_path / "empty.csv"
    table.write_text("path,text,start,end\n")
    named = f"voice={table}" if "--scores" in words else str(table)
    code, _, err = dyad(*words, named, *([] if "--scores" in words else ["-o", tmp_path / "o"]))
    assert code == 1
    assert "has no rows" in " ".join(err.split())


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--transcript", ("t.srt", "no cues"), "holds no words"),
        ("--descriptions", ("d.csv", "start,end,text\n4,2,a room\n"), "line 2: the end is not after the start"),
        ("--scores", ("s.csv", "start,end,joy\n0,1,1\n"), "has no column for neutral"),
    ],
)
def test_given_files_are_checked_before_anything_starts_whatever_the_locale(
    tmp_path: Path, option: str, content: tuple[str, str], said: str
) -> None:
    given = tmp_path / f"Müller 日本 {content[0]}"
    given.write_text(content[1])
    named = f"voice={given}" if option == "--scores" else str(given)
    command = [sys.executable, "-m", "flows", "run", "clip.mp4", "-o", str(tmp_path / "runs"), option, named]
    done = subprocess.run(
        command, capture_output=True, cwd=ROOT, env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr.decode("utf-8")
    assert not (tmp_path / "runs").exists()
