"""Manifests: what they may say, what is wrong with a row, and that a million rows are no trouble."""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.emotions import ABAW_COMPOUNDS, Compound
from data.errors import InputError
from data.manifest.labels import label_name, read_frame_labels
from data.manifest.manifest import Manifest, manifest_of_folder, manifest_of_table, read_manifest, write_manifest
from data.manifest.paths import not_files

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a manifest beside the (empty) media files that it is given the names of."""

    def make(text: str, *media: str, name: str = "manifest.csv") -> Path:
        for file in media:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def problems(manifest: Manifest) -> list[str]:
    return manifest.table["problem"].tolist()


def test_rows_say_what_the_manifest_says(write: Write, tmp_path: Path) -> None:
    path = write(
        "path,clip_id,start,end,split,label,speaker,language,transcript,descriptions,station\n"
        "talks/a.mp4,first,1.5,4,train,Fearfully Surprised,Ann,en,\"Oh, no!\",a.csv,BBC\n"
        "talks/b.mp4,,,,,,,,talks/b.vtt,,\n",
        "talks/a.mp4", "talks/b.mp4", "talks/b.vtt", "a.csv",
    )  # fmt: skip
    manifest = read_manifest(path)
    first, second = manifest.rows()
    assert problems(manifest) == ["", ""]
    assert len(manifest) == 2
    assert (first.number, first.clip_id, first.path) == (2, "first", str(tmp_path / "talks/a.mp4"))
    assert (first.start, first.end, first.split, first.speaker, first.language) == (1.5, 4.0, "train", "Ann", "en")
    assert (first.label, first.transcript, first.words_file) == ("fearfully_surprised", "Oh, no!", "")
    assert first.descriptions == str(tmp_path / "a.csv")
    assert (second.start, second.end, second.label, second.descriptions) == (None, None, "", "")
    assert second.words_file == str(tmp_path / "talks/b.vtt")
    assert second.clip_id.startswith("b-")
    assert manifest.table["station"].tolist() == ["BBC", ""]
    own = write("path,number,problem\ntalks/a.mp4,7,none\n")
    assert [(row.number, row.problem) for row in read_manifest(own).rows()] == [(2, "")]
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.root = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (",,,", "Line 3: the path is empty; give a media file or remove the row."),
        ("gone.mp4,,,", "Line 3: the path gone.mp4 is not there"),
        ("folder,,,", "Line 3: the path folder is a folder; give a file"),
        ("../b.mp4,,,", "Line 3: the path ../b.mp4 leaves the root"),
        ("x/../../b.mp4,,,", "Line 3: the path x/../../b.mp4 leaves the root"),
        ("/etc/passwd,,,", "Line 3: the path /etc/passwd leaves the root"),
        ("file:///etc/passwd,,,", "Line 3: the path file:///etc/passwd leaves the root"),
        ("nowhere://b/c.mp4,,,", "fsspec does not know"),
        ("s3://,,,", "Line 3: the path s3:// is an address without a path; write the file's after ://."),
        ("https:///,,,", "is an address without a path"),
        ("simplecache::s3://b/c.mp4,,,", "is a chain of addresses"),
        ("b.mp4,1:75,,", "Line 3: start '1:75' is not a time; write seconds such as 12.5, or 0:12.5, or leave it empty."),
        ("b.mp4,,inf,", "end 'inf' is not a time"),
        ("b.mp4,1", "Line 3: it has 2 cells, the first line 4; write all of them, also empty ones."),
        ("b.mp4,-1,,", "start -1 is before the file begins"),
        ("b.mp4,4,2.5,", "Line 3: start 4 is not before end 2.5; correct them."),
        ("b.mp4,,0,", "start 0 is not before end 0"),
        ("b.mp4,,,smug", "Line 3: 'smug' is not a known label; use a compound (fearfully_surprised"),
        ("b.mp4,1,2,fear,too,many", "Line 3: it has 6 cells, the first line 4; put text with ',' in double quotes."),
        ("./a.mp4,,,", "Line 3: it repeats line 2; remove one of them."),
    ],
)
def test_a_bad_row_is_a_sentence_and_the_others_stay(write: Write, tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    manifest = read_manifest(write(f"path,start,end,label\na.mp4,,,\n{line}\nlast.mp4,,,\n", "a.mp4", "b.mp4", "last.mp4"))
    first, bad, last = problems(manifest)
    assert (first, last) == ("", "")
    assert sentence in bad
    assert bad.endswith(".")
    assert manifest.problems["number"].tolist() == [3]
    assert [name for name, _ in manifest.files()] == [str(tmp_path / "a.mp4"), str(tmp_path / "last.mp4")]


@pytest.mark.parametrize("clip_id", ["a/b", "..", ".hidden", "con:", "a\\b", "-r", "x" * 201, "ü" * 101])
def test_clip_ids_must_be_able_to_name_a_folder(write: Write, clip_id: str) -> None:
    (sentence,) = problems(read_manifest(write(f"path,clip_id\na.mp4,{clip_id}\n", "a.mp4")))
    assert "clip_id" in sentence


@pytest.mark.parametrize(
    "clip_id",
    ["status.csv", "report.html", "summary.json", "journal.jsonl", "dataset.parquet", "confusion.png", "exports", "Status.CSV"],
)
def test_clip_ids_must_not_be_names_that_dyad_writes(write: Write, clip_id: str) -> None:
    bad, good = problems(read_manifest(write(f"path,clip_id\na.mp4,{clip_id}\nb.mp4,b\n", "a.mp4", "b.mp4")))
    assert bad == f"Line 2: clip_id '{clip_id}' is what Dyad itself writes beside the clips; choose another one."
    assert good == ""


def test_languages_become_codes_and_an_unknown_one_is_told_before_anything_runs(write: Write) -> None:
    text = "path,language\na.mp4,German\nb.mp4,germn\nc.mp4,en-US\nd.mp4,\n"
    first, bad, *others = read_manifest(write(text, *(f"{name}.mp4" for name in "abcd"))).rows()
    assert bad.problem.startswith("Line 3: Whisper knows no language 'germn'; did you mean 'german'")
    assert [(row.language, row.problem) for row in (first, *others)] == [("de", ""), ("en", ""), ("", "")]


def test_two_rows_with_one_clip_id(write: Write) -> None:
    manifest = read_manifest(write("clip_id,path\nx,gone.mp4\nx,a.mp4\nx,b.mp4\ny,b.mp4\n", "a.mp4", "b.mp4"))
    missing, first, again, other = problems(manifest)
    assert "not there" in missing  # and so it is not the one that keeps the id
    assert first == other == ""
    assert again == "Line 4: it has the clip_id of line 3; remove one of them."


def test_made_clip_ids_are_stable_unique_and_name_folders(tmp_path: Path) -> None:
    names = ["a/clip.mp4", "b/clip.mp4", "a/Das Gespräch (1).mp4", "a/.mp4", "no_suffix", "日本語.mp4"]
    table = pd.DataFrame({"path": [*names, "a/clip.mp4"], "start": ["", "", "", "", "", "", "2"]})
    one = manifest_of_table(table, tmp_path, "x", check_files=False)
    other = manifest_of_table(table.iloc[::-1].assign(start=table["start"]), tmp_path / "moved", "x", check_files=False)
    assert one.table["clip_id"].is_unique
    assert set(one.table["clip_id"]) == set(other.table["clip_id"])
    for clip_id in one.table["clip_id"]:
        (tmp_path / clip_id).mkdir()
    assert one.table["clip_id"].str.startswith(("clip-", "Das_Gespräch_1-", "mp4-", "no_suffix-", "日本語-")).all()


def test_absolute_paths_must_lie_inside_the_root(write: Write, tmp_path: Path) -> None:
    path = write("", "corpus/a.mp4", "lists/none")
    path = tmp_path / "lists" / "manifest.csv"
    path.write_text(f"path\n{tmp_path}/corpus/a.mp4\n")
    assert "leaves the root" in problems(read_manifest(path))[0]
    manifest = read_manifest(path, root=tmp_path / "corpus")
    assert problems(manifest) == [""]
    assert manifest.table["path"].tolist() == ["a.mp4"]
    assert problems(read_manifest(path, root="/")) == [""]


def test_other_files_of_a_row_are_checked_too(write: Write) -> None:
    rows = ("a.mp4,gone.vtt,,", "a.mp4,,../d.csv,", "a.mp4,,,f.txt", "a.mp4,I left it in gone.,,")
    said = problems(read_manifest(write("\n".join(["path,transcript,descriptions,frame_labels", *rows]), "a.mp4")))
    assert "the transcript gone.vtt is not there" in said[0]
    assert "the descriptions ../d.csv leaves the root" in said[1]
    assert "the frame labels f.txt is not there" in said[2]
    assert said[3] == ""


def test_many_files_of_one_folder(write: Write, tmp_path: Path) -> None:
    """A folder of many is listed once; that must find the same as asking for each."""
    names = [f"many/{i:03d}.mp4" for i in range(200)]
    path = write("path\n" + "\n".join([*names, "many/inside", "few/1.mp4"]), *names[:150], "many/inside/x.mp4")
    said = problems(read_manifest(path))
    assert said[:150] == [""] * 150
    assert all("is not there" in sentence for sentence in [*said[150:200], said[201]])
    assert "is a folder" in said[200]


def test_segments_of_a_file_come_together(write: Write, tmp_path: Path) -> None:
    text = "path;start_s;end_s;lang\nb.mp4;8;12;de\na.mp4;;;en\nb.mp4;0;4;de\nb.mp4;4;8;de\n"
    files = list(read_manifest(write(text, "a.mp4", "b.mp4")).files())
    assert [(Path(path).name, [row.start for row in rows]) for path, rows in files] == [("b.mp4", [0, 4, 8]), ("a.mp4", [None])]
    assert files[0][1][0].language == "de"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rows"),
        ("path\n", "has no rows"),
        ("file name,label\na.mp4,fear\n", "has no column 'path' (its columns: file name, label)"),
        ("path,Path\na,b\n", "more than one column path"),
        ("\x00\x01\x02\n\x00", "cannot be read as a manifest"),
    ],
)
def test_a_file_that_is_no_manifest(write: Write, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        read_manifest(write(text))


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no manifest"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_manifest(tmp_path)
    (tmp_path / "x.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="cannot be read as a manifest"):
        read_manifest(tmp_path / "x.parquet")


def test_a_manifest_as_a_spreadsheet_writes_it(write: Write, tmp_path: Path) -> None:
    path = write("", "für.mp4")
    path.write_bytes('"Path" ;start (s); END\r\nfür.mp4;0:01,5;1:02\r\n'.encode("latin-1"))
    manifest = read_manifest(path)
    assert [(row.start, row.end, row.problem) for row in manifest.rows()] == [(1.5, 62.0, "")]
    assert manifest.notes == (f"{path} is not in UTF-8: it was read as Windows-1252.",)


def test_lines_are_those_an_editor_shows(write: Write) -> None:
    text = '\ufeffpath,transcript\r\na.mp4,"two\r\nlines"\r\n\r\ngone.mp4,\r\n'
    manifest = read_manifest(write(text, "a.mp4"))
    assert manifest.table["number"].tolist() == [2, 5]
    assert problems(manifest)[1].startswith("Line 5: ")


@pytest.mark.parametrize("name", ["again.csv", "again.parquet"])
def test_what_is_written_is_read_again(write: Write, tmp_path: Path, name: str) -> None:
    text = 'path,start,end,label,transcript,take\na.mp4,0.1,2,joy,"a ""quoted""\nword",3\nb.mp4,,,,,4\n'
    before = read_manifest(write(text, "a.mp4", "b.mp4"))
    assert write_manifest(before, tmp_path / name) == ""
    after = read_manifest(tmp_path / name)
    pd.testing.assert_frame_equal(before.table.drop(columns="number"), after.table.drop(columns="number"))
    assert not list(tmp_path.glob(".again*"))
    assert "language" not in pd.read_csv(tmp_path / "again.csv").columns if name.endswith("csv") else True


def test_a_manifest_beside_or_away_from_its_root(write: Write, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    write("", "corpus/a.mp4", "corpus/a.srt")
    table = pd.DataFrame({"path": ["a.mp4"], "transcript": ["a.srt"]})
    manifest = manifest_of_table(table, tmp_path / "corpus", "x")
    assert write_manifest(manifest, tmp_path / "above.csv") == ""
    assert (tmp_path / "above.csv").read_text() == "path,transcript\ncorpus/a.mp4,corpus/a.srt\n", "nobody gave the clip's id"
    assert problems(read_manifest(tmp_path / "above.csv")) == [""]
    root = write_manifest(manifest, tmp_path / "away" / "m.csv")
    assert root == str(tmp_path / "corpus")
    assert problems(read_manifest(tmp_path / "away" / "m.csv", root=root)) == [""]


def test_a_folder_of_media_is_a_manifest(tmp_path: Path) -> None:
    for name in ("b/2.MOV", "b/10.wav", "a.mp4", "notes.txt", ".trash/x.mp4", "._a.mp4", "run/result.json", "run/work/audio.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    manifest = manifest_of_folder(tmp_path)
    assert manifest.table["path"].tolist() == ["a.mp4", "b/10.wav", "b/2.MOV"]
    assert problems(manifest) == [""] * 3
    with pytest.raises(InputError, match="holds no media files"):
        manifest_of_folder(tmp_path / "run")
    with pytest.raises(InputError, match="cannot be read as a folder"):
        manifest_of_folder(tmp_path / "none")


def test_a_file_name_that_is_no_utf8_is_a_row_with_a_sentence(tmp_path: Path) -> None:
    for name in (b"a.mp4", b"caf\xe9.mp4", b"caf\xe8.mp4"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).touch()
    manifest = manifest_of_folder(tmp_path)
    first, *bad = manifest.rows()
    assert (Path(first.path).name, first.problem) == ("a.mp4", "")
    assert [row.problem for row in bad] == [
        f"Row {number}: the name caf\\x{byte}.mp4 is no UTF-8; rename the file." for number, byte in ((2, "e8"), (3, "e9"))
    ]
    assert len({row.clip_id for row in manifest.rows()}) == 3


def test_addresses_of_other_file_systems(write: Write) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/dyad-set/talks/a.mp4", b"")
    memory.pipe("/dyad-set/talks/b/c.wav", b"")
    memory.pipe("/dyad-set/talks/m.csv", b"path,transcript\na.mp4,a.vtt\ns3://bucket/x.mp4,\n../up.mp4,\n")
    manifest = read_manifest("memory://dyad-set/talks/m.csv")
    inside, address, outside = manifest.rows()
    assert inside.path == "memory://dyad-set/talks/a.mp4"
    assert inside.words_file == "memory://dyad-set/talks/a.vtt"
    assert (address.path, address.problem) == (
        "s3://bucket/x.mp4",
        "Line 3: the path s3://bucket/x.mp4 is an address; where you trust the table that names it, allow it: --allow-remote s3.",
    )
    assert problems(read_manifest("memory://dyad-set/talks/m.csv", remote=["S3"]))[1] == ""
    assert "leaves the root memory://dyad-set/talks" in outside.problem
    listed = manifest_of_folder("memory://dyad-set/talks")
    assert [row.path for row in listed.rows()] == ["memory://dyad-set/talks/a.mp4", "memory://dyad-set/talks/b/c.wav"]
    memory.pipe("/top.csv", b"path\ndyad-set/talks/a.mp4\n../etc/x.mp4\n")
    top = list(read_manifest("memory://top.csv").rows())
    assert (top[0].path, top[0].problem) == ("memory://dyad-set/talks/a.mp4", "")
    assert "leaves the root memory://;" in top[1].problem
    local = write("path\nmemory://dyad-set/talks/a.mp4\n")
    assert problems(read_manifest(local, remote=["memory"])) == [""]
    assert problems(read_manifest(local, root="memory://dyad-set")) == [""]
    assert "--allow-remote memory" in problems(read_manifest(local))[0]
    with pytest.raises(InputError, match="There is no manifest memory://dyad-set/none.csv"):
        read_manifest("memory://dyad-set/none.csv")


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize("most", [200_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_many_rows(most: int, tmp_path: Path) -> None:
    def read(count: int) -> tuple[Manifest, float]:
        """A manifest of so many rows, and the seconds of the processor that reading it took."""
        path = tmp_path / "manifest.csv"
        with path.open("w") as stream:
            stream.write("path,start,end,label,speaker\n")
            segments = ((i // 10, 4 * (i % 10), i % 97) for i in range(count))
            stream.writelines(f"talks/{talk:06d}.mp4,{start},{start + 4},happy,s{who}\n" for talk, start, who in segments)
        began = time.process_time()
        return read_manifest(path, check_files=False), time.process_time() - began

    _, tenth = read(most // 10)
    manifest, whole = read(most)
    assert not problems(manifest)[0]
    assert (manifest.table["problem"] == "").all()
    assert manifest.table["clip_id"].is_unique
    assert manifest.table.memory_usage(deep=True).sum() < 400 * most
    assert whole < 50 * tenth  # ten times as many rows: about 10, and 100 where each row looks at all
    path_of_first, rows = next(iter(manifest.files()))
    assert path_of_first.endswith("talks/000000.mp4")
    assert len(rows) == 10


def test_labels_in_any_spelling() -> None:
    for text in ("Fearfully_Surprised", "fearfully surprised", "fear+surprise", "Surprise, Fear", "FEARFULLY-SURPRISED"):
        assert label_name(text) == "fearfully_surprised"
    assert [label_name(text) for text in ("Joy", "ANGRY", "calm")] == ["happiness", "anger", "neutral"]
    assert {label_name(text) for text in ("Other", "-1", " ", "none")} == {""}
    awed = Compound("awed", "fear", "happiness")
    assert label_name("Awed", (awed,)) == label_name("joy+fear", (awed,)) == "awed"
    for text in ("joy+fear", "contempt", "fear+surprise+sadness", "7"):
        with pytest.raises(InputError, match="is not a known label"):
            label_name(text)


@given(st.sampled_from(ABAW_COMPOUNDS), st.sampled_from("_ -/"), st.booleans())
def test_every_compound_is_known_by_its_name_and_its_pair(compound: Compound, between: str, swapped: bool) -> None:
    pair = (compound.second, compound.first) if swapped else (compound.first, compound.second)
    assert label_name(between.join(pair)) == compound.name
    assert label_name(compound.name.replace("_", between).title()) == compound.name


def test_labels_by_frame(tmp_path: Path) -> None:
    expressions, challenge, named = tmp_path / "v.txt", tmp_path / "ce.txt", tmp_path / "own.csv"
    expressions.write_text("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n0\n4\n-1\n7\n6\n")
    challenge.write_text("image_location,Fearfully_Surprised,Happily_Surprised\n02/00001.jpg,0\n01/00003.jpg,1\n01/00001.jpg,0\n")
    named.write_text("label,frame\nsadly angry,7\n,2\n")
    assert read_frame_labels(expressions)["label"].tolist() == ["neutral", "happiness", "", "", "surprise"]
    first = read_frame_labels(challenge, "01")
    assert first.to_dict("list") == {"frame": [0, 2], "label": ["fearfully_surprised", "happily_surprised"]}
    assert read_frame_labels(challenge, "03").empty
    assert read_frame_labels(named).to_dict("list") == {"frame": [2, 7], "label": ["", "sadly_angry"]}
    assert np.issubdtype(read_frame_labels(challenge, "03")["frame"].dtype, np.integer)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Neutral,Anger\n0\n2\n", "line 3: '2' is no class number; use 0 to 1, or -1"),
        ("Neutral,Smug\n0\n", "line 1, must name the classes"),
        ("Neutral,Anger\n", "holds no labels"),
        ("image_location,Sadly_Angry\n01/x.jpg,0\n", "line 2: '01/x.jpg' is not a picture"),
        ("frame,label\none,fear\n", "line 2: 'one' in the column 'frame' is not a number"),
        ("frame,label\n1,smug\n", "line 2: 'smug' is not a known label"),
    ],
)
def test_files_of_frame_labels_that_are_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_frame_labels(path, "01")


def test_a_sample_is_even_by_label_always_the_same_and_grows(tmp_path: Path) -> None:
    labels = ["fear"] * 40 + ["anger"] * 3 + ["disgust"] * 40
    rows = [f"{number}.wav,{label}" for number, label in enumerate(labels)]
    (tmp_path / "clips.csv").write_text("\n".join(["path,label", *rows, "0.wav,joy?", "late.wav,fear"]))
    clips = read_manifest(tmp_path / "clips.csv", check_files=False)
    some, more = clips.sample(13), clips.sample(30)
    assert some.table["label"].value_counts().to_dict() == {"fear": 5, "disgust": 5, "anger": 3}
    assert some.table["path"].tolist() == clips.sample(13).table["path"].tolist()
    assert set(some.table["path"]) < set(more.table["path"])
    assert some.table["number"].is_monotonic_increasing, "in the manifest's order"
    assert some.notes[-1] == "A sample of 13 of 85 clips, evenly by label."


def test_a_name_that_the_locale_cannot_write_is_not_said_to_be_missing(tmp_path: Path) -> None:
    assert not_files(["a\ud800.mp4", "b.mp4"], str(tmp_path)) == {"a\ud800.mp4": "unnameable", "b.mp4": "missing"}
