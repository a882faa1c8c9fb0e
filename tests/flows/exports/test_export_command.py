"""`dyad export` and `--export` on runs and on a data set, as users type them."""

import io
import json
import os
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import openpyxl
import pandas as pd
import pytest

from data.errors import InputError
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.exports.source import items, source_at
from reports.exports.abaw import HEADER
from reports.exports.clip import ClipAnswer
from reports.exports.formats import FORMATS, format_named, formats_named
from tests.media_makers import make_clip

ROOT = Path(__file__).resolve().parents[3]
Dyad = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data_set(sample_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `dyad batch` leaves of a clip that is done, one that failed and one whose answer was removed since."""
    folder = tmp_path_factory.mktemp("set")
    for name in ("b é", "a"):
        shutil.copytree(sample_run.root, folder / name)
        result = json.loads(sample_run.result.read_text(encoding="utf-8"))
        result["clip"] |= {"clip_id": name, "path": f"films/{name}.mp4"}
        RunFolder(folder / name).result.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    rows = [
        "clip_id,state,reason,path,start,end,split,label,top,emotion,duration,seconds",
        "b é,done,,films/1.mp4,,,train,sadly_angry,,,,",
        'bad,failed,"It holds ""text"", not video.",films/2.mp4,3,4.5,test,,,,,', "gone,degraded,,films/3.mp4,,,,,,,,",
        "a,done,,films/4.mp4,,,test,,,,,", "late,waiting,,films/5.mp4,,,,,,,,",
    ]  # fmt: skip
    (folder / "status.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_from_the_command_line(name: str, sample_run: RunFolder, dyad: Dyad, tmp_path: Path) -> None:
    form = FORMATS[name]
    file = tmp_path / f"out{form.suffix}"
    assert dyad("export", sample_run.root, "--to", name, "-o", file)[0] == 0
    code, printed, said = dyad("export", sample_run.root / "result.json", "--to", name)
    if form.is_text:
        assert code == 0
        assert file.read_bytes().decode("utf-8") == printed != ""
    else:
        assert code == 2
        assert "is no text; name a file" in said
    assert dyad("export", sample_run.root.parent, "--to", name, "-o", f"{tmp_path}/all/")[0] == 0
    (inside,) = (tmp_path / "all").iterdir()
    stem = sample_run.root.name if form.write_clip else "sample" if name.startswith("abaw") else "dataset"
    assert inside.name == (f"{stem}.txt" if name.startswith("abaw") else stem + form.suffix)
    if form.is_text and not name.startswith("abaw"):
        assert inside.read_bytes() == file.read_bytes()


def test_a_data_set_says_which_clips_have_no_answer(data_set: Path, dyad: Dyad) -> None:
    code, printed, said = dyad("export", data_set, "--to", "csv")
    assert code == 0
    table = pd.read_csv(io.StringIO(printed))
    assert table["clip_id"].drop_duplicates().tolist() == ["b é", "bad", "gone", "a", "late"], "in the order of status.csv"
    without = table[table["clip_id"].isin(["bad", "gone", "late"])]
    assert without[["neutral", "top", "start"]].isna().all(axis=None)
    assert without["reason"].tolist()[0] == 'It holds "text", not video.'
    assert "holds no result.json" in without["reason"].tolist()[1]
    assert '3 of 5 clips have no answer: bad (failed: It holds "text", not video.), gone (lost: ' in said
    assert table[table["clip_id"] == "b é"]["label"].unique().tolist() == ["sadly_angry"]


def test_files_by_clip_go_into_a_folder_or_a_zip(data_set: Path, dyad: Dyad, tmp_path: Path) -> None:
    assert dyad("export", data_set, "--to", "eaf", "-o", tmp_path / "elan")[0] == 0
    assert dyad("export", data_set, "--to", "eaf", "-o", tmp_path / "elan.zip")[0] == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "elan").iterdir()}
    assert set(files) == {"a.eaf", "b é.eaf"}
    with zipfile.ZipFile(tmp_path / "elan.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
    first = (tmp_path / "elan.zip").read_bytes()
    dyad("export", data_set, "--to", "eaf", "-o", tmp_path / "elan.zip")
    assert (tmp_path / "elan.zip").read_bytes() == first, "the same answers make the same zip"
    assert not list(tmp_path.rglob(".*")), "nothing is left beside them"


def test_the_challenge_s_text_alone_zipped_and_by_video(sample_run: RunFolder, dyad: Dyad, tmp_path: Path) -> None:
    text = dyad("export", sample_run.root, "--to", "abaw")[1]
    assert dyad("export", sample_run.root.parent, "--to", "abaw", "-o", tmp_path / "predictions.zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "predictions.zip") as archive:
        assert archive.read("predictions.txt").decode() == text
    assert dyad("export", sample_run.root.parent, "--to", "abaw", "-o", f"{tmp_path}/videos/")[0] == 0
    indices = (tmp_path / "videos" / "sample.txt").read_text().splitlines()[1:]
    assert indices == [line.rpartition(",")[2] for line in text.splitlines()[1:]]


def test_data_sets_and_files_may_lie_at_an_address(data_set: Path, dyad: Dyad, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(data_set), "/talks", recursive=True)
    here, there = (dyad("export", place, "--to", "csv")[1] for place in (data_set, "memory://talks"))
    assert there == here.replace(str(data_set), "memory://talks")
    assert dyad("export", "memory://talks", "--to", "parquet", "-o", "memory://out/deep/talks.parquet")[0] == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet("memory://out/deep/talks.parquet").query("present").dropna(axis=1),
        pd.read_csv(io.StringIO(dyad("export", data_set, "--to", "csv")[1])).query("present").dropna(axis=1), check_dtype=False,
    )  # fmt: skip
    assert dyad("export", "memory://talks", "--to", "textgrid", "-o", "memory://grids/")[0] == 0
    assert sorted(path.rpartition("/")[2] for path in store.ls("/grids", detail=False)) == ["a.TextGrid", "b é.TextGrid"]
    dyad("export", data_set, "--to", "textgrid", "-o", tmp_path / "grids")
    assert store.cat("/grids/a.TextGrid") == (tmp_path / "grids" / "a.TextGrid").read_bytes(), "also the words"
    assert "neither a run folder" in dyad("export", "memory://nothing", "--to", "csv")[2]
    assert "cannot be opened" in dyad("export", "nonesuch://x/y", "--to", "csv")[2]


def test_clips_are_read_one_by_one(sample_run: RunFolder, tmp_path: Path) -> None:
    """Of a thousand clips a few are in memory at once: the last can be missing until the others were written."""
    (tmp_path / "first").mkdir()
    os.link(sample_run.result, tmp_path / "first" / "result.json")
    names = ["first", *(f"clip{number}" for number in range(1000))]
    (tmp_path / "status.csv").write_text("clip_id,state,reason,path\n" + "".join(f"{name},done,,x.mp4\n" for name in names))
    clips = items(source_at(tmp_path), FORMATS["csv"])
    assert isinstance(next(clips), ClipAnswer)
    for name in names[1:]:
        (tmp_path / name).mkdir()
        os.link(sample_run.result, tmp_path / name / "result.json")
        assert isinstance(next(clips), ClipAnswer)
    assert next(clips, None) is None


@pytest.mark.slow
def test_a_run_exports_beside_its_own_files_also_when_it_was_done_before(
    copied_run: RunFolder, dyad: Dyad, tmp_path: Path
) -> None:
    clip, runs = sample_clip(), copied_run.root.parent
    command = ["run", clip, "-o", runs, "--json", "--descriptions", clip.with_name("sample_descriptions.csv"), "--export"]
    code, out, said = dyad(*command, "eaf, CSV,xlsx,eaf")
    assert code == 0, said
    assert len(out.splitlines()) == 1
    names = [copied_run.export(ending) for ending in (".eaf", ".csv", ".xlsx")]
    assert all(path.is_file() and str(path) in said for path in names)
    assert openpyxl.load_workbook(names[2])["windows"].max_row == 1 + len(json.loads(out)["windows"])
    code, _, said = dyad(*command, "docx")
    assert code == 2
    assert "'docx' is not a format" in said
    heard = make_clip(tmp_path / "mute.mp4", seconds=1, sound=None)
    code, _, said = dyad("run", heard, "-o", runs, "--export", "abaw,rttm")
    assert code == 1
    assert "abaw was not written" in said
    assert list(runs.glob("mute-*/*.rttm")), "the others are written all the same"


@pytest.mark.slow
def test_a_batch_exports_into_a_folder_of_its_own(dyad: Dyad, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    make_clip(tmp_path / "media" / "one.mp4", seconds=1)
    (tmp_path / "media" / "bad.mp4").write_text("no video")
    command = ["batch", tmp_path / "media", "-o", tmp_path / "runs", "--export", "parquet,vtt,xlsx"]
    code, _, said = dyad(*command)
    assert code == 1, "one clip failed"
    exports = tmp_path / "runs" / "exports"
    assert {path.name for path in exports.iterdir()} == {"dataset.parquet", "dataset.xlsx", "vtt"}
    assert len(list((exports / "vtt").iterdir())) == 1
    assert "1 of 2 clips have no answer: bad-" in said
    assert sorted(pd.read_parquet(exports / "dataset.parquet")["present"]) == [False, False]
    shutil.rmtree(exports)
    assert dyad(*command)[0] == 1
    assert (exports / "dataset.xlsx").is_file(), "clips that were done before are exported too"
    assert dyad("batch", tmp_path / "media", "-o", tmp_path / "runs", "--export", ",")[0] == 2


def test_problems_are_sentences(copied_run: RunFolder, dyad: Dyad, tmp_path: Path) -> None:
    root = copied_run.root
    assert "csv-long" in dyad("export", root, "--to", "docx")[2]
    assert "belong to --to abaw" in dyad("export", root, "--to", "csv", "--fill", "sadly_angry")[2]
    assert "name a folder" in dyad("export", root.parent, "--to", "eaf")[2]
    assert "holds many clips" in dyad("export", root.parent, "--to", "eaf", "-o", tmp_path / "clip.eaf")[2]
    assert "a part of this path is a file" in dyad("export", root, "--to", "csv", "-o", copied_run.result / "such.csv")[2]
    assert "name it with --to" in dyad("export", root, "-o", tmp_path / "clip.doc")[2]
    assert "ending tells it" in dyad("export", root)[2]
    assert "cannot be read" in dyad("export", root, "--to", "abaw", "--template", tmp_path / "none.txt")[2]
    assert "neither a run folder" in dyad("export", tmp_path / "empty", "--to", "csv")[2]
    whole = json.loads(copied_run.result.read_text(encoding="utf-8"))
    whole["windows"][1].pop("basic")
    for damaged in ("{", "[]", "3", '{"clip": 1}', json.dumps(whole), json.dumps(whole | {"windows": [1]})):
        copied_run.result.write_text(damaged)
        code, _, said = dyad("export", root, "--to", "csv")
        assert code == 2
        assert "is damaged" in said
    (root.parent / "summary.json").write_text("{")
    (tmp_path / "set.xlsx").write_text("before")
    assert "summary.json is damaged" in dyad("export", root.parent, "--to", "xlsx", "-o", tmp_path / "set.xlsx")[2]
    assert (tmp_path / "set.xlsx").read_text() == "before", "what was there stays when an export fails"
    for names in ("docx", "csv,docx", "", " ,"):
        with pytest.raises(InputError, match="give one"):
            formats_named(names)
    assert list(formats_named("csv,EAF, csv")) == ["csv", "eaf"]
    assert list(formats_named("elan,excel")) == ["eaf", "xlsx"]
    assert format_named("TextGrid").suffix == ".TextGrid"


def test_the_ending_tells_the_format_and_tables_of_a_run_come_as_csv_and_excel(
    copied_run: RunFolder, dyad: Dyad, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "folder"
    for name in ("frames", "faces", "people"):
        shown = dyad("export", copied_run.root.parent, "-o", target / f"all.{name}.csv")
        assert shown == (0, f"{target}/all.{name}.csv\n", "")
        dyad("export", copied_run.root, "--to", f"xlsx-{name}", "-o", target / "one.xlsx")
        own, told = pd.read_parquet(copied_run.table(name)), pd.read_csv(target / f"all.{name}.csv")
        sheet, about = pd.read_excel(target / "one.xlsx", sheet_name=name), pd.read_excel(target / "one.xlsx", sheet_name="about")
        assert list(told.columns) == list(sheet.columns) == ["clip_id", *own.columns] == about["column"].tolist()
        assert about["meaning"].notna().all()
        assert set(told["clip_id"]) == {copied_run.root.name}
        for column in own.select_dtypes("number"):
            assert np.allclose(own[column].astype(float), told[column], equal_nan=True)
            assert np.allclose(own[column].astype(float), sheet[column], equal_nan=True)
    dyad("export", copied_run.root, "-o", target / "clip.eaf")
    assert "<ANNOTATION_DOCUMENT" in (target / "clip.eaf").read_text(encoding="utf-8")


def test_the_page_about_formats_is_tried(
    data_set: Path, dyad: Dyad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands and its code, one after the other, in a folder with a data set."""
    shutil.copytree(data_set, tmp_path / "runs")
    (tmp_path / "runs" / "b é").rename(tmp_path / "runs" / "anna")
    for name in ("runs/anna/result.json", "runs/status.csv"):
        file = tmp_path / name
        file.write_text(file.read_text(encoding="utf-8").replace("b é", "anna"), encoding="utf-8")
    (tmp_path / "sample_set.txt").write_text(f"{HEADER}\nanna/00001.jpg,\nbad/00001.jpg,\n")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    (shell,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in shell.splitlines():
        words, _, target = line.split("#")[0].partition(" > ")
        code, out, said = dyad(*shlex.split(words)[1:])
        assert code == 0, f"{line}: {said}"
        if target:
            Path(target.strip()).write_text(out)
    made = {path.name for path in tmp_path.iterdir()}
    assert {"windows.csv", "talks.xlsx", "elan", "grids.zip", "anna.vtt", "predictions.txt"} <= made
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "formats.md", "exec"), {})
    listed = re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`[^|]+) \|.*\| (?:one file|a file).*\|$", page, re.MULTILINE)))
    assert set(listed) == set(FORMATS)
