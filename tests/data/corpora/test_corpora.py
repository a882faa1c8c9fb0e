"""Manifests of corpora, each made from a small tree that imitates the real layout (empty files, invented names and labels)."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from data.corpora import CORPORA, corpus_manifest
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.manifest.labels import read_frame_labels
from data.manifest.manifest import Manifest, ManifestRow, read_manifest, write_manifest
from tests.media_makers import make_clip

Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Lays out a corpus of empty files."""

    def make(*empty: str) -> Path:
        for name in empty:
            put(tmp_path / name, "")
        return tmp_path

    return make


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def by_id(manifest: Manifest) -> dict[str, ManifestRow]:
    return {row.clip_id: row for row in manifest.rows()}


def facts(manifest: Manifest, *columns: str) -> list[tuple[str, ...]]:
    return list(manifest.table[list(columns)].itertuples(index=False, name=None))


def sound(manifest: Manifest) -> bool:
    """No row has a problem, and every label is one of ours."""
    assert manifest.table["problem"].tolist() == [""] * len(manifest)
    return set(manifest.table["label"]) <= {*BASIC_EMOTIONS, "", "fearfully_surprised"}


def test_ravdess(lay: Lay) -> None:
    folder = lay(
        "Video_Speech_Actor_01/Actor_01/01-01-06-02-02-01-01.mp4",
        "Video_Speech_Actor_01/Actor_01/02-01-06-02-02-01-01.mp4",  # the same without sound
        "Audio_Speech_Actors_01-24/Actor_01/03-01-06-02-02-01-01.wav",  # the same without picture
        "Audio_Speech_Actors_01-24/Actor_02/03-01-02-01-01-02-02.wav",
        "Actor_24/03-02-08-01-01-01-24.flac",
        "Actor_24/notes.wav",
    )
    manifest = corpus_manifest("RAVDESS", folder)
    assert sound(manifest)
    rows = by_id(manifest)
    assert set(rows) == {"01-01-06-02-02-01-01", "03-01-02-01-01-02-02", "03-02-08-01-01-01-24"}
    fearful = rows["01-01-06-02-02-01-01"]
    assert (fearful.label, fearful.speaker, fearful.language) == ("fear", "Actor_01", "en")
    assert fearful.transcript == "Dogs are sitting by the door."
    assert fearful.path.endswith(".mp4")
    assert rows["03-01-02-01-01-02-02"].label == "neutral"
    assert set(manifest.table["corpus_label"]) == {"fearful", "calm", "surprised"}
    assert facts(manifest, "channel", "intensity")[0] == ("speech", "strong")


def test_crema_d(lay: Lay) -> None:
    folder = lay(
        "VideoFlash/1001_IEO_ANG_HI.flv", "AudioWAV/1001_IEO_ANG_HI.wav", "AudioMP3/1001_IEO_ANG_HI.mp3",
        "AudioMP3/1002_DFA_SAD_XX.mp3", "AudioWAV/1002_DFA_SAD_XX.wav", "AudioWAV/1040_ITH_HAP_X.wav", "SentenceFilenames.csv",
    )  # fmt: skip
    manifest = corpus_manifest("crema_d", folder)
    assert sound(manifest)
    assert facts(manifest, "path", "label", "speaker", "intensity") == [
        ("VideoFlash/1001_IEO_ANG_HI.flv", "anger", "1001", "high"),
        ("AudioWAV/1002_DFA_SAD_XX.wav", "sadness", "1002", "unspecified"),
        ("AudioWAV/1040_ITH_HAP_X.wav", "happiness", "1040", "unspecified"),
    ]
    assert manifest.table["transcript"][0] == "It's eleven o'clock."


def test_emo_db(lay: Lay) -> None:
    folder = lay("wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a02La.wav", "wav/other.wav")
    manifest = corpus_manifest("EmoDB", folder)
    assert sound(manifest)
    assert facts(manifest, "clip_id", "label", "corpus_label", "speaker", "language") == [
        ("03a01Fa", "happiness", "happiness", "03", "de"), ("08a02La", "", "boredom", "08", "de"),
        ("16b10Wb", "anger", "anger", "16", "de"),
    ]  # fmt: skip


@pytest.mark.parametrize("challenge", ["EXPR_Recognition_Challenge", "annotations/EXPR_Classification_Challenge"])
def test_aff_wild2(lay: Lay, challenge: str) -> None:
    folder = lay("batch1/1-30.mp4", "batch2/video7.avi", "batch2/both.mp4", "batch1/unseen.mp4", "cropped_aligned/1-30/00001.jpg")
    labels = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n4\n4\n-1\n7\n"
    for name in ("Train_Set/1-30", "Validation_Set/video7", "Train_Set/both_left", "Train_Set/both_right", "Train_Set/gone"):
        put(folder / f"{challenge}/{name}.txt", labels)
    manifest = corpus_manifest("Aff-Wild2", folder)
    assert sound(manifest)
    rows = by_id(manifest)
    assert {name: row.split for name, row in rows.items()} == {"1-30": "train", "video7": "dev", "both": "train", "unseen": ""}
    assert read_frame_labels(Path(rows["1-30"].frame_labels))["label"].tolist() == ["happiness", "happiness", "", ""]
    assert rows["both"].frame_labels == rows["unseen"].frame_labels == ""
    assert "two people have labels of their own: 1 of the videos (both)." in manifest.notes[0]
    assert "Not there: 1 of the annotated videos (gone)" in manifest.notes[1]


def test_c_expr_db(lay: Lay) -> None:
    folder = lay(*(f"videos/{number:02d}.mp4" for number in range(1, 57) if number != 9))
    template = "CVPR_6th_ABAW_CE_test_set_sample.txt"
    put(folder / template, "image_location,Fearfully_Surprised\n01/00001.jpg,0\n")
    manifest = corpus_manifest("c-expr-db", folder)
    assert sound(manifest)
    assert (len(manifest), set(manifest.table["split"]), set(manifest.table["frame_labels"])) == (55, {"test"}, {""})
    assert "Not there: 1 of the 56 videos (09)" in manifest.notes[0]
    assert "hidden" in manifest.notes[1]
    (folder / template).rename(folder / "labels.txt")
    row = by_id(corpus_manifest("c-expr-db", folder))["01"]
    assert read_frame_labels(Path(row.frame_labels), row.clip_id)["label"].tolist() == ["fearfully_surprised"]


def test_afew(lay: Lay) -> None:
    folder = lay("Train_AFEW/Angry/000046280.avi", "Val_AFEW/VIDEO/Happy/001.avi", "Test/002.avi", "Train_AFEW/Faces/Sad/1/1.jpg")
    manifest = corpus_manifest("AFEW", folder)
    assert sound(manifest)
    assert facts(manifest, "path", "split", "label") == [
        ("Test/002.avi", "test", ""), ("Train_AFEW/Angry/000046280.avi", "train", "anger"),
        ("Val_AFEW/VIDEO/Happy/001.avi", "dev", "happiness"),
    ]  # fmt: skip


def test_afew_in_the_pieces_of_ras(lay: Lay) -> None:
    folder = lay("train/000046280___Angry_0000.avi")
    put(folder / "train_segment.csv", "video_name,Neutral,Anger,Other\n000046280___Angry_0000.avi,0,1,0\ngone_0000.avi,0,0,1\n")
    manifest = corpus_manifest("afew", folder)
    assert facts(manifest, "clip_id", "split", "label", "corpus_label") == [
        ("000046280___Angry_0000", "train", "anger", "Anger"), ("gone_0000", "train", "", "Other"),
    ]  # fmt: skip
    assert "is not there" in manifest.table["problem"][1]
    assert "Not there: 1 of the listed pieces (gone_0000)." in manifest.notes


def test_meld(lay: Lay) -> None:
    folder = lay(
        "train_splits/dia0_utt0.mp4", "train_splits/._dia0_utt0.mp4", "dev_splits_complete/dia0_utt0.mp4",
        "output_repeated_splits_test/final_videos_testdia0_utt0.mp4", "output_repeated_splits_test/dia0_utt0.mp4",
        "output_repeated_splits_test/final_videos_testdia0_utt1.mp4",
    )  # fmt: skip
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    put(folder / "train_sent_emo.csv", head + '1,"Oh, no way!",Ann,surprise,negative,0,0\n2,None,Ben,neutral,neutral,0,1\n')
    put(folder / "dev_sent_emo.csv", head + "1,Yes.,Ann,joy,positive,0,0\n")
    put(folder / "test_sent_emo.csv", head + "1,No.,Ann,anger,negative,0,0\n2,Well.,Ann,sadness,negative,0,1\n")
    manifest = corpus_manifest("MELD", folder)
    rows = by_id(manifest)
    assert {name: row.label for name, row in rows.items()} == {
        "train_dia0_utt0": "surprise", "train_dia0_utt1": "neutral", "dev_dia0_utt0": "happiness", "test_dia0_utt0": "anger",
        "test_dia0_utt1": "sadness",
    }  # fmt: skip
    first = rows["train_dia0_utt0"]
    assert (first.transcript, first.speaker, first.path) == ("Oh, no way!", "Ann", str(folder / "train_splits/dia0_utt0.mp4"))
    assert rows["train_dia0_utt1"].transcript == "None"  # a word, not an empty cell
    missing = "Row 2: the path train_splits/dia0_utt1.mp4 is not there; correct it, copy the file, or remove the row."
    assert rows["train_dia0_utt1"].problem == missing
    assert rows["test_dia0_utt0"].path.endswith("test/dia0_utt0.mp4")
    assert rows["test_dia0_utt1"].path.endswith("test/final_videos_testdia0_utt1.mp4")
    (note,) = manifest.notes
    assert note == "Not there: 1 of the clips of the train set (train_splits/dia0_utt1.mp4); unpack train.tar.gz, or leave them."


def dfew_lists(folder: Path, names: Iterable[str] = ("set_{}.csv",)) -> None:
    """Three clips in three folds, each tested once; labels count from 1."""
    for name in names:
        for fold, (tested, trained) in enumerate([((1,), (2, 3)), ((2,), (1, 3)), ((3,), (1, 2))], 1):
            for part, clips in (("train", trained), ("test", tested)):
                text = "video_name,label\n" + "".join(f"{clip},{ {1: 1, 2: 7, 3: 4}[clip]}\n" for clip in clips)
                put(folder / f"EmoLabel_DataSplit/{part}(single-labeled)" / name.format(fold), text)


def test_dfew(lay: Lay) -> None:
    folder = lay(
        "Clip/original/1.mp4", "Clip/original/part_1/2.mp4", "Clip/clip_224x224_avi/00001.avi", "Clip/clip_224x224/00003/1.jpg"
    )  # fmt: skip
    dfew_lists(folder)
    manifest = corpus_manifest("dfew", folder)
    assert facts(manifest, "path", "split", "label") == [
        ("Clip/original/1.mp4", "fold1", "happiness"), ("Clip/original/part_1/2.mp4", "fold2", "fear"),
        ("Clip/clip_224x224/00003", "fold3", "anger"),
    ]  # fmt: skip
    assert manifest.table["problem"].str.contains("is a folder; give a file").tolist() == [False, False, True]
    assert manifest.notes == ("Only as pictures there: 1 of the listed clips (3); add the clips, as Clip/original/3.mp4.",)
    second = corpus_manifest("dfew", folder, fold=2)
    assert dict(facts(second, "path", "split"))["Clip/original/part_1/2.mp4"] == "test"
    assert sorted(second.table["split"]) == ["test", "train", "train"]
    with pytest.raises(InputError, match="no lists for fold 4; there are lists for: 1, 2, 3"):
        corpus_manifest("dfew", folder, fold=4)


@pytest.mark.parametrize("first", [0, 1])
def test_lists_of_dfer_clip_count_from_0_or_from_1(lay: Lay, first: int) -> None:
    folder = lay("Clip/original/1.mp4", "Clip/original/2.mp4")
    put(folder / "DFEW_set_1_train.txt", f"/data/DFEW/DFEW_Frame_Face/00001 144 {first}\n")
    put(folder / "DFEW_set_1_test.txt", f"/data/DFEW/DFEW_Frame_Face/00002 70 {6 + first}\n")
    assert facts(corpus_manifest("dfew", folder), "split", "label") == [("test", "fear"), ("train", "happiness")]
    put(folder / "DFEW_set_1_train.txt", "/data/DFEW/DFEW_Frame_Face/00001 144 2\n")
    put(folder / "DFEW_set_1_test.txt", "/data/DFEW/DFEW_Frame_Face/00002 70 3\n")
    with pytest.raises(InputError, match="not known from where they count"):
        corpus_manifest("dfew", folder)


def test_ferv39k(lay: Lay) -> None:
    folder = lay("2_ClipsforFaceCrop/Action/Happy/0015.mp4", "2_ClipsforFaceCrop/Argue/Happy/0015.avi")
    put(folder / "FERV39K_train.txt", "/d/FERV39K/2_ClipsforFaceCrop/Action/Happy/0015 25 0\n")
    put(folder / "FERV39K_test.txt", "/d/FERV39K/2_ClipsforFaceCrop/Argue/Happy/0015 25 0\n/d/x/Argue/Angry/0001 9 3\n")
    expected = [
        ("2_ClipsforFaceCrop/Argue/Happy/0015.avi", "test", "happiness"),
        ("2_ClipsforFaceCrop/Argue/Angry/0001.mp4", "test", "anger"),
        ("2_ClipsforFaceCrop/Action/Happy/0015.mp4", "train", "happiness"),
    ]  # fmt: skip
    manifest = corpus_manifest("FERV39k", folder)
    assert facts(manifest, "path", "split", "label") == expected
    assert "1 of the listed clips (Argue/Angry/0001)" in manifest.notes[0]
    for part in ("train", "test"):
        (folder / f"FERV39K_{part}.txt").unlink()
    put(folder / "4_setups/All_scenes/train_All.csv", "Action/Happy/0015 Happy\n")
    put(folder / "4_setups/All_scenes/test_All.csv", "Argue/Happy/0015 Happy\nArgue/Angry/0001 Angry\n")
    assert facts(corpus_manifest("FERV39k", folder), "path", "split", "label") == expected


def test_mafw(lay: Lay) -> None:
    folder = lay("data/clips/00025.mp4", "data/clips/00031.mp4", "data/clips/09878.mp4", "data/clips/07213.mp4")
    sets = "Train & Test Set/{}/no_caption/set_{}/{}.txt"
    put(folder / sets.format("single", 1, "train"), "00025.mp4 anger\n")
    put(folder / sets.format("single", 1, "test"), "00031.mp4 contempt\n")
    put(folder / sets.format("single", 2, "train"), "00031.mp4 contempt\n")
    put(folder / sets.format("single", 2, "test"), "00025.mp4 anger\n")
    put(folder / sets.format("compound", 1, "test"), "00025.mp4 anger\n09878.mp4 fear_sadness_anxiety\n07213.mp4 fear_surprise\n")
    manifest = corpus_manifest("mafw", folder)
    assert sound(manifest)
    assert sorted(facts(manifest, "path", "split", "label", "corpus_label")) == [
        ("data/clips/00025.mp4", "fold2", "anger", "anger"),
        ("data/clips/00031.mp4", "fold1", "", "contempt"),
        ("data/clips/07213.mp4", "fold1", "fearfully_surprised", "fear_surprise"),
        ("data/clips/09878.mp4", "fold1", "", "fear_sadness_anxiety"),
    ]


def test_mafw_by_its_other_lists(lay: Lay) -> None:
    folder = lay("clips/03747.mp4", "clips/20045.mp4")
    put(folder / "caption-label/single_label.txt", "03747.mp4\tanger\t一个男人\tA man speaks.\n")
    put(folder / "caption-label/multi_label.txt", "20045.mp4\tanger_disgust_anxiety\t一个女人\tA woman.\n")
    assert facts(corpus_manifest("mafw", folder), "path", "split", "label") == [
        ("clips/20045.mp4", "", ""), ("clips/03747.mp4", "", "anger"),
    ]  # fmt: skip
    put(folder / "MAFW_set_1_train.txt", "/data/MAFW/data/faces/03747 47 3\n/data/MAFW/data/faces/00001 9 0\n")
    put(folder / "MAFW_set_1_test.txt", "/data/MAFW/data/faces/20045 105 7\n")
    table = corpus_manifest("mafw", folder).table.set_index("path")
    assert table.loc["clips/03747.mp4", ["split", "label"]].tolist() == ["train", "anger"]
    assert table.loc["clips/20045.mp4", ["split", "corpus_label"]].tolist() == ["test", "contempt"]


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_folder_that_is_another_is_told_what_is_expected(lay: Lay, name: str) -> None:
    folder = lay("holiday/beach.txt")
    with pytest.raises(InputError) as caught:
        corpus_manifest(name, folder)
    assert f"does not hold {CORPORA[name].title} as expected: {CORPORA[name].layout}" in str(caught.value)
    assert str(folder) in str(caught.value)


def test_wrong_names_and_folds(lay: Lay) -> None:
    folder = lay("Actor_01/03-01-06-02-02-01-01.wav")
    with pytest.raises(InputError, match="'iemocap' is not a corpus that Dyad knows; use one of: c-expr-db"):
        corpus_manifest("iemocap", folder)
    with pytest.raises(InputError, match="There is no folder"):
        corpus_manifest("ravdess", folder / "none")
    with pytest.raises(InputError, match="RAVDESS has no folds"):
        corpus_manifest("ravdess", folder, fold=1)
    put(folder / "train_sent_emo.csv", "Utterance,Emotion\nYes,joy\n")
    with pytest.raises(InputError, match="train_sent_emo.csv has no column 'Dialogue_ID'"):
        corpus_manifest("meld", folder)


def test_the_manifest_of_a_corpus_is_read_as_any_other(lay: Lay) -> None:
    folder = lay("VideoFlash/1001_IEO_ANG_HI.flv")
    (folder / "loop").symlink_to(folder)  # a folder in itself is walked once
    made = corpus_manifest("crema-d", folder)
    assert write_manifest(made, folder / "manifest.csv") == ""
    assert list(read_manifest(folder / "manifest.csv").rows()) == [
        ManifestRow(
            number=2, clip_id="1001_IEO_ANG_HI", path=str(folder / "VideoFlash/1001_IEO_ANG_HI.flv"), label="anger",
            speaker="1001", language="en", transcript="It's eleven o'clock.", corpus="crema-d",
        )
    ]  # fmt: skip


def test_the_real_ravdess(shared: Path) -> None:
    manifest = corpus_manifest("ravdess", shared / "datasets" / "audio" / "ravdess_speech")
    assert sound(manifest)
    assert len(manifest) == 18 * 60
    assert manifest.table["speaker"].value_counts().eq(60).all()
    assert manifest.table["label"].value_counts().to_dict() == {"neutral": 18 * 12} | dict.fromkeys(BASIC_EMOTIONS[1:], 18 * 8)


def test_the_real_lists_of_meld(shared: Path, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}_sent_emo.csv").symlink_to(shared / "datasets" / "text" / f"meld_{split}.csv")
    manifest = corpus_manifest("meld", tmp_path)
    assert len(manifest) > 10_000
    assert manifest.table["clip_id"].is_unique
    assert set(manifest.table["label"]) == set(BASIC_EMOTIONS)
    assert (manifest.table["transcript"] != "").all()
    assert manifest.table["problem"].str.contains("is not there").all()  # the clips themselves are not in the shared data
    count = (manifest.table["split"] == "train").sum()
    assert manifest.notes[0].startswith(f"Not there: {count} of the clips of the train set (")
    assert manifest.notes[2] == f"No test_sent_emo.csv in {tmp_path}; the test set is left out."


@pytest.mark.slow
def test_a_corpus_becomes_a_manifest_that_batch_runs(dyad: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    corpus, manifest = tmp_path / "corpus" / "Actor_01", tmp_path / "lists" / "ravdess.csv"
    corpus.mkdir(parents=True)
    manifest.parent.mkdir()
    make_clip(corpus / "02-01-08-01-01-01-01.mp4", seconds=2.0)
    code, out, _ = dyad("corpus", "ravdess", corpus.parent, "-o", manifest)
    assert code == 0
    assert f"--root {corpus.parent}" in " ".join(out.split())
    code, _, err = dyad("batch", manifest, "--root", corpus.parent, "-o", tmp_path / "runs")
    assert code == 0, err
    assert (tmp_path / "runs" / "dataset.parquet").is_file()
    assert dyad("batch", manifest, "-o", tmp_path / "other")[0] == 1, "without its root no file is found"
