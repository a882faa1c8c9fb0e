"""Corpora of faces as their authors give them away: RAF-DB, AffectNet, FER+, CAER; what is written is what the trainings read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from data.corpora import corpus_manifest
from data.corpora.faces import FER_ORDER, majorities, write_fer_images
from data.errors import InputError
from data.manifest.manifest import Manifest
from flows.cli.app import app
from modalities.face_networks.own_checkpoints import load_trained
from modalities.face_networks.registry import network_table
from modalities.training.face_networks.corpus import read_face_corpus
from tests.drawn_faces import draw_face
from tests.face_corpora import LABELS

RAF = ("", "surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def facts(manifest: Manifest, *columns: str) -> list[tuple[str, ...]]:
    return list(manifest.table[list(columns)].itertuples(index=False, name=None))


def lay_raf_db(folder: Path, labels: Sequence[str]) -> Path:
    """Drawn faces in RAF-DB's layout: every fourth one is tested."""
    import cv2

    chance, lines = np.random.default_rng(5), []
    (folder / "basic/Image/aligned").mkdir(parents=True)
    for number, label in enumerate(labels):
        part = "test" if number % 4 == 3 else "train"
        lines.append(f"{part}_{number:05}.jpg {RAF.index(label)}")
        picture = np.repeat(draw_face(label, chance)[:, :, None], 3, 2)
        cv2.imwrite(str(folder / f"basic/Image/aligned/{part}_{number:05}_aligned.jpg"), picture)
    put(folder / "basic/EmoLabel/list_patition_label.txt", "\n".join(lines) + "\n")
    return folder


def test_raf_db(tmp_path: Path) -> None:
    put(tmp_path / "basic/EmoLabel/list_patition_label.txt", "train_00001.jpg 5\ntest_0001.jpg 7\ntrain_00002.jpg 1\n")
    put(tmp_path / "compound/EmoLabel/list_patition_label.txt", "train_00001.jpg 8\ntest_0001.jpg 2\n")
    for name in ("basic/Image/aligned/train_00001_aligned.jpg", "basic/Image/original/train_00001.jpg",
                 "basic/Image/original/test_0001.jpg", "compound/Image/aligned/train_00001_aligned.jpg",
                 "compound/Image/aligned/test_0001_aligned.jpg"):  # fmt: skip
        put(tmp_path / name)
    manifest = corpus_manifest("RAF-DB", tmp_path)
    assert facts(manifest, "path", "split", "label", "corpus_label") == [
        ("basic/Image/aligned/train_00001_aligned.jpg", "train", "sadness", "sadness"),
        ("basic/Image/original/test_0001.jpg", "test", "neutral", "neutral"),
        ("basic/Image/aligned/train_00002_aligned.jpg", "train", "surprise", "surprise"),
        ("compound/Image/aligned/train_00001_aligned.jpg", "train", "fearfully_surprised", "fearfully surprised"),
        ("compound/Image/aligned/test_0001_aligned.jpg", "test", "", "happily disgusted"),
    ]
    assert len(manifest.problems) == 1
    assert "1 of the listed pictures (basic/Image/aligned/train_00002_aligned.jpg)" in manifest.notes[0]


def test_affectnet_as_arrays(tmp_path: Path) -> None:
    for place, number in (("train_set/{}/7", "7"), ("train_set/{}/12", "4"), ("val_set/{}/7", "0"), ("val_set/{}/9", "1")):
        array = tmp_path / (place.format("annotations") + "_exp.npy")
        array.parent.mkdir(parents=True, exist_ok=True)
        np.save(array, np.array(number))
        np.save(array.with_name(array.name.replace("exp", "val")), np.array("-0.5"))
        put(tmp_path / (place.format("images") + ".jpg"))
    (tmp_path / "val_set/images/9.jpg").unlink()
    manifest = corpus_manifest("affectnet", tmp_path)
    assert facts(manifest, "path", "split", "label", "corpus_label") == [
        ("train_set/images/12.jpg", "train", "fear", "fear"), ("train_set/images/7.jpg", "train", "", "contempt"),
        ("val_set/images/7.jpg", "test", "neutral", "neutral"), ("val_set/images/9.jpg", "test", "happiness", "happiness"),
    ]  # fmt: skip
    assert len(manifest.problems) == 1
    assert "no public test set" in manifest.notes[-1]
    np.save(tmp_path / "val_set/annotations/7_exp.npy", np.array([{"expression": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="7_exp.npy cannot be read as AffectNet's annotation"):
        corpus_manifest("affectnet", tmp_path)


def test_affectnet_as_tables(tmp_path: Path) -> None:
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    put(tmp_path / "Manually_Annotated_file_lists/training.csv", head + "689/a.jpg,10,11,200,201,1;2,7,0.1,0.2\n")
    put(tmp_path / "Manually_Annotated_file_lists/validation.csv", "1/b.JPG,0,0,50,50,1;2,2,0,0\n1/c.jpg,0,0,50,50,1;2,9,-2,-2\n")
    put(tmp_path / "Manually_Annotated_Images/689/a.jpg")
    put(tmp_path / "Manually_Annotated_Images/1/b.JPG")
    put(tmp_path / "Manually_Annotated_Images/1/c.jpg")
    manifest = corpus_manifest("affectnet", tmp_path)
    assert facts(manifest, "path", "split", "label", "corpus_label", "face_width") == [
        ("Manually_Annotated_Images/689/a.jpg", "train", "", "contempt", "200"),
        ("Manually_Annotated_Images/1/b.JPG", "test", "sadness", "sadness", "50"),
        ("Manually_Annotated_Images/1/c.jpg", "test", "", "uncertain", "50"),
    ]
    assert "cuts the faces out" in manifest.notes[-1]
    put(tmp_path / "Manually_Annotated_file_lists/validation.csv", "1/b.JPG,2\n1/c.jpg,3\n")
    with pytest.raises(InputError, match="is not a list of AffectNet"):
        corpus_manifest("affectnet", tmp_path)


def lay_ferplus(folder: Path) -> Path:
    """The two tables of FER+, with four faces and one that has no name."""
    votes = {"Training": "4,0,0,1,3,2,0,0,0,0", "PublicTest": "0,0,0,0,0,0,0,6,0,4", "PrivateTest": "0,9,0,0,0,0,0,0,1,0"}
    rows = [f"{use},fer{number:07}.png,{text}" for number, (use, text) in enumerate(votes.items())]
    head = "Usage,Image name," + ",".join(FER_ORDER)
    put(folder / "fer2013new.csv", "\n".join([head, *rows, "Training,,0,0,0,0,0,0,0,0,0,10"]) + "\n")
    pixels = [" ".join([str(40 * number)] * 48 * 48) for number in range(4)]
    lines = [f"{number},{text},Training" for number, text in enumerate(pixels)]
    put(folder / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return folder


def test_ferplus(tmp_path: Path) -> None:
    import cv2

    corpus, pictures = lay_ferplus(tmp_path / "fer"), tmp_path / "pictures"
    before = corpus_manifest("FER+", corpus)
    assert len(before.problems) == 3
    assert "--pictures FOLDER" in before.notes[-1]
    command = ["corpus", "ferplus", str(corpus), "-o", str(tmp_path / "m.csv"), "--pictures", str(pictures)]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    assert "3 pictures, 0 with problems" in answer.output
    assert "dyad train static-face --network NAME --corpus" in answer.output
    face = cv2.imread(str(pictures / "FER2013Valid/fer0000001.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(face, np.full((48, 48), 40))
    manifest = corpus_manifest("FER+", pictures)
    assert facts(manifest, "path", "split", "label", "corpus_label") == [
        ("FER2013Train/fer0000000.png", "train", "", ""), ("FER2013Valid/fer0000001.png", "dev", "", "contempt"),
        ("FER2013Test/fer0000002.png", "test", "happiness", "happiness"),
    ]  # fmt: skip
    put(corpus / "fer2013.csv", "emotion,pixels,Usage\n0,1 2 3,Training\n")
    with pytest.raises(InputError, match="has 1 faces and"):
        write_fer_images(corpus, pictures)
    refused = CliRunner().invoke(app, ["corpus", "caer", str(corpus), "--pictures", str(pictures)])
    assert "CAER keeps no pictures in a table" in str(refused.exception)


def test_majorities_leave_single_votes_out() -> None:
    votes = np.array([[5, 1, 1, 1, 1, 1, 0, 0, 0, 0], [4, 4, 2, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 2, 0, 0, 0, 8, 0],
                      [0, 0, 0, 0, 0, 0, 0, 6, 0, 4], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]], float)  # fmt: skip
    assert majorities(votes) == ["neutral", "", "", "contempt", ""]


def test_caer(tmp_path: Path) -> None:
    for name in ("train/Anger/0001.avi", "validation/Happy/0001.avi", "test/Sad/0012.avi", "test/readme.txt"):
        put(tmp_path / "CAER" / name)
    for name in ("train/Neutral/0001.png", "test/Surprise/0002.png"):
        put(tmp_path / "CAER-S" / name)
    manifest = corpus_manifest("caer", tmp_path / "CAER")
    assert facts(manifest, "path", "split", "label") == [
        ("test/Sad/0012.avi", "test", "sadness"), ("train/Anger/0001.avi", "train", "anger"),
        ("validation/Happy/0001.avi", "dev", "happiness"),
    ]  # fmt: skip
    assert "whole scenes" in manifest.notes[0]
    assert facts(corpus_manifest("CAER-S", tmp_path / "CAER-S"), "path", "split", "label") == [
        ("test/Surprise/0002.png", "test", "surprise"), ("train/Neutral/0001.png", "train", "neutral"),
    ]  # fmt: skip


def test_a_network_is_trained_on_a_corpus_that_lies_elsewhere(tmp_path: Path, prefect_session: None) -> None:
    corpus = lay_raf_db(tmp_path / "corpora/RAF-DB", [LABELS[number % 3] for number in range(40)])
    manifest, place = tmp_path / "work/raf-db.csv", tmp_path / "weights"
    made = CliRunner().invoke(app, ["corpus", "raf-db", str(corpus), "-o", str(manifest)])
    assert f"--root {corpus}" in made.output
    parts = read_face_corpus(manifest, network_table().labels("raf-db"), root=corpus)
    assert [len(one) for one in (parts.fit, parts.choose, parts.test)] == [27, 3, 10]
    small, recipe = tmp_path / "small.yaml", tmp_path / "recipe.yaml"
    sizes = "{size: 16, patch: 8, frames: 4, width: 24, depth: 2, heads: 4, expert_blocks: [1]}"
    put(small, f"settings: {sizes}\ninput: {{size: 16}}\n")
    put(recipe, "batch: 8\n")
    command = ["train", "static-face", "--network", "s4d", "--corpus", str(manifest), "--labels", "raf-db", "-o", str(place)]
    options = ["--root", str(corpus), "--settings", str(small), "--recipe", str(recipe), "--epochs", "1", "--device", "cpu"]
    trained = CliRunner().invoke(app, [*command, *options])
    assert trained.exit_code == 0, trained.output
    assert load_trained(place / "static-s4d.safetensors").labels == network_table().labels("raf-db")
    put(small, "speed: 3\n")
    assert "must name settings: and input:" in str(CliRunner().invoke(app, [*command, *options]).exception)
