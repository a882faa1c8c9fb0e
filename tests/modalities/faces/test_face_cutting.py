"""`dyad faces`: whole scenes of a corpus become faces that the trainings take, framed as in a run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.corpora import corpus_manifest
from data.errors import InputError
from data.manifest.manifest import write_manifest
from data.sample import sample_clip
from modalities.faces.cut_corpus import NO_FACE, CutOptions, cut_clip, cut_image, cut_manifest
from modalities.faces.detectors import choose_detector
from modalities.training.face_networks.corpus import read_face_corpus
from tests.media_makers import make_clip

Dyad = Callable[..., tuple[int, str, str]]
SMALL = CutOptions(size=64, frames_per_second=4.0, longest_side=960, detector="auto")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame of the sample clip as a picture."""
    import av
    import cv2

    path = tmp_path_factory.mktemp("scene") / "scene.png"
    with av.open(str(sample_clip())) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
    cv2.imwrite(str(path), frame)
    return path


def read(path: Path) -> np.ndarray:
    import cv2

    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture)


def test_a_corpus_of_scenes_becomes_one_of_faces(dyad: Dyad, scene: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "CAER-S"
    for number, name in enumerate(("train/Happy", "train/Sad", "test/Happy")):
        (corpus / name).mkdir(parents=True)
        for copy in range(3):
            (corpus / name / f"{number}{copy}.png").write_bytes(scene.read_bytes())
    import cv2

    cv2.imwrite(str(corpus / "train/Sad/empty.png"), np.full((200, 300, 3), 120, np.uint8))
    assert dyad("corpus", "caer-s", corpus, "-o", tmp_path / "lists/caer.csv")[0] == 0
    output = tmp_path / "faces"
    code, out, err = dyad("faces", tmp_path / "lists/caer.csv", "--root", corpus, "-o", output, "--size", 64, "--workers", 2)
    assert code == 0, err
    assert "9 faces in" in out
    assert "empty.png: No face was found in it." in err.replace("\n", " ")
    assert pd.read_csv(output / "problems.csv")["problem"].tolist() == [NO_FACE]
    found = read_face_corpus(output / "manifest.csv", ("happiness", "sadness"))
    assert (len(found.fit) + len(found.choose), len(found.test)) == (6, 3)
    pictures = [read(Path(one.path)) for one in found.samples]
    assert {one.shape for one in pictures} == {(64, 64, 3)}
    assert all(np.array_equal(one, pictures[0]) for one in pictures)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.png")}
    assert dyad("faces", tmp_path / "lists/caer.csv", "--root", corpus, "-o", output, "--size", 64)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.png")} == before


@pytest.mark.slow
def test_clips_and_their_segments(tmp_path: Path) -> None:
    (tmp_path / "train/Happy").mkdir(parents=True)
    (tmp_path / "train/Happy/0001.mp4").write_bytes(sample_clip().read_bytes())
    make_clip(tmp_path / "train/Happy/0002.mp4", seconds=1.0)
    manifest = corpus_manifest("caer", tmp_path)
    write_manifest(manifest, tmp_path / "all.csv")
    done, problems = cut_manifest(tmp_path / "all.csv", tmp_path / "faces", None, SMALL)
    assert (done, [said for _, said in problems]) == (1, [NO_FACE])
    (whole,) = (tmp_path / "faces").rglob("*.npy")
    crops = np.load(whole)
    assert crops.shape[1:] == (64, 64, 3)
    assert len(crops) > 12
    assert cut_clip(sample_clip(), tmp_path / "part.npy", SMALL, 1.0, 3.0) == ""
    part = np.load(tmp_path / "part.npy")
    assert 6 <= len(part) <= 8
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    assert "broken.mp4" in cut_clip(tmp_path / "broken.mp4", tmp_path / "b.npy", SMALL)
    assert not (tmp_path / "b.npy").exists()


def test_an_annotated_box_says_which_face(scene: Path, tmp_path: Path) -> None:
    height, width = read(scene).shape[:2]
    with choose_detector().open() as finder:
        (face,) = finder.search(read(scene)[:, :, ::-1].copy())
        assert cut_image(scene, tmp_path / "main.png", finder.search, 64) == ""
        assert cut_image(scene, tmp_path / "annotated.png", finder.search, 64, face.box) == ""
        assert cut_image(scene, tmp_path / "corner.png", finder.search, 64, np.array([0.0, 0.0, width / 8, height / 8])) == ""
        assert "not there" in cut_image(tmp_path / "gone.png", tmp_path / "x.png", finder.search, 64)
    main, annotated, corner = (read(tmp_path / f"{name}.png") for name in ("main", "annotated", "corner"))
    np.testing.assert_array_equal(main, annotated)
    assert np.abs(main.astype(int) - corner).mean() > 10


def test_affectnets_boxes_and_contexts_stay_with_their_rows(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(scene.read_bytes())
    np.save(tmp_path / "voice.npy", np.ones(4))
    rows = ["path,label,context,face_x,face_y,face_width,face_height", "a.png,sadness,voice.npy,0,0,60,50"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    done, problems = cut_manifest(tmp_path / "manifest.csv", tmp_path / "faces", None, SMALL)
    assert (done, problems) == (1, [])
    made = pd.read_csv(tmp_path / "faces" / "manifest.csv")
    assert made["context"].tolist() == [str(tmp_path / "voice.npy")]
    assert "face_x" not in made
    (tmp_path / "manifest.csv").write_text("path\ngone.png\n")
    with pytest.raises(InputError, match="No row of"):
        cut_manifest(tmp_path / "manifest.csv", tmp_path / "faces", None, SMALL)
