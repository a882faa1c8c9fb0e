"""Static face: the shipped weights recognise real stills, and a clip's windows are answered from its crops."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.crops import CropWriter
from data.metrics import scores_of
from data.windows import make_windows
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card, load_checkpoint, save_checkpoint
from modalities.static_face import embedded
from modalities.static_face.embedded import StaticFace, describe_images, load, recognise, score_images
from modalities.static_face.network import StaticFaceNetwork, StaticFaceShape
from modalities.training.faces.stills import FaceVotes, read_faces

SHIPPED = WEIGHTS_FOLDER / "static_face.safetensors"


@pytest.fixture(scope="module")
def model() -> StaticFace:
    return load()


@pytest.fixture(scope="module")
def stills(shared: Path) -> FaceVotes:
    held_out = read_faces(shared / "datasets" / "face" / "ferplus_valid.npz")
    return held_out.rows(np.flatnonzero((held_out.majority >= 0) & (held_out.majority < 7))[:600])


@pytest.fixture
def drawn() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (12, 48, 48), dtype=np.uint8)


def table_of(times: list[float], tracks: list[int], main: list[bool]) -> pd.DataFrame:
    """faces.parquet with only what the recognition reads."""
    frame = np.unique(times, return_inverse=True)[1]
    return pd.DataFrame({"face": np.arange(len(times)), "frame": frame, "time_s": times, "track_id": tracks, "main": main})


def write_crops(path: Path, pictures: np.ndarray) -> Path:
    with CropWriter(path, pictures.shape[1]) as writer:
        for picture in pictures:
            writer.append(np.stack([picture] * 3, 2))
    return path


def test_shipped_weights_recognise_held_out_stills(model: StaticFace, stills: FaceVotes) -> None:
    figures = scores_of(stills.majority, score_images(model, stills.images).argmax(1), range(7))
    card = Card.read(WEIGHTS_FOLDER / "static_face.md")
    assert figures["war"] == pytest.approx(card.metrics["war"], abs=0.05)
    assert figures["war"] > 0.7
    assert set(card.per_class_recall) == set(BASIC_EMOTIONS)


@pytest.mark.slow
def test_probabilities_follow_the_taggers(model: StaticFace, stills: FaceVotes) -> None:
    seven = stills.votes[:, :7] / stills.votes[:, :7].sum(1, keepdims=True)
    distance = np.abs(score_images(model, stills.images) - seven).sum(1).mean()
    assert distance < np.abs(seven.mean(0) - seven).sum(1).mean() * 0.65


def test_larger_colour_crops_give_the_same_answer(model: StaticFace, stills: FaceVotes) -> None:
    import cv2

    grey = stills.images[:100]
    large = np.stack([cv2.resize(face, (112, 112), interpolation=cv2.INTER_CUBIC) for face in grey])
    small, big = score_images(model, grey), score_images(model, np.stack([large] * 3, 3))
    assert (small.argmax(1) == big.argmax(1)).mean() > 0.9


def test_weights_are_small_and_settings_travel_inside() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.parent.glob("*.safetensors")) <= 12e6
    checkpoint = load_checkpoint(SHIPPED)
    assert checkpoint.tensors["centroids"].shape[0] == 7
    assert 0.4 <= float(checkpoint.tensors["temperature"]) <= 2.5
    assert checkpoint.settings["classes"][:7] == list(BASIC_EMOTIONS)


def test_a_small_network_computes_in_one_thread(model: StaticFace, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, before, answer = list[int](), torch.get_num_threads(), embedded._answer
    monkeypatch.setattr(embedded, "_answer", lambda *given: (seen.append(torch.get_num_threads()), answer(*given))[1])
    torch.set_num_threads(2)
    try:
        describe_images(model, drawn[:1])
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_answers_do_not_depend_on_the_batch(model: StaticFace, drawn: np.ndarray) -> None:
    whole, single = describe_images(model, drawn), describe_images(model, drawn, batch=1)
    np.testing.assert_allclose(whole.probabilities, single.probabilities, atol=0.02)
    np.testing.assert_allclose(score_images(model, drawn).sum(1), 1, atol=1e-5)
    assert whole.features.shape == (12, model.centroids.shape[1])
    assert score_images(model, drawn[:0]).shape == (0, 7)


@pytest.mark.parametrize("shape", [(48, 48), (2, 48, 48, 4), (2, 3, 4, 48, 48)])
def test_other_shapes_are_refused(model: StaticFace, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="uint8"):
        score_images(model, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("side", [48, 36])  # 36: the last map that is halved has an odd side
def test_folding_does_not_change_the_answers(side: int) -> None:
    torch.manual_seed(0)
    network = StaticFaceNetwork(StaticFaceShape(8, (16, 24, 24), (1, 2, 2), 12))
    faces = torch.randn(8, 1, side, side)
    network.train()
    for _ in range(3):
        network(faces)
    before = network.eval()(faces)
    after = network.folded()(faces)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_convolutions_that_rectify_give_the_same_numbers(
    model: StaticFace, drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one = score_images(model, drawn)
    monkeypatch.setattr("modalities.static_face.network.IN_ONE", False)
    np.testing.assert_array_equal(score_images(model, drawn), in_one)


def test_windows_are_means_over_their_frames(model: StaticFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops = write_crops(tmp_path / "crops.npy", drawn)
    times = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0, 9.2, 9.4, 9.6, 9.8]
    windows = make_windows(10.0)
    scores = recognise(model, crops, table_of(times, [1] * 12, [True] * 12), windows)
    frames = score_images(model, drawn)
    np.testing.assert_allclose(scores.probabilities[0], frames[:7].mean(0), atol=0.01)
    assert scores.present.tolist() == [True, True, False, True]
    assert np.isnan(scores.probabilities[2]).all()
    assert scores.features is not None
    assert scores.features.shape == (4, model.centroids.shape[1])
    assert scores.source == model.source
    assert list(scores.evidence.columns) == ["frame", "time_s", "track_id", *BASIC_EMOTIONS]
    assert len(scores.evidence) == 12


def test_other_people_count_only_when_asked(model: StaticFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops = write_crops(tmp_path / "crops.npy", drawn[:3])
    faces = table_of([0.0, 0.0, 0.2], [1, 2, 1], [True, False, True])
    windows, frames = make_windows(1.0), score_images(model, drawn[:3])
    main = recognise(model, crops, faces, windows)
    everyone = recognise(model, crops, faces, windows, which="all")
    np.testing.assert_allclose(main.probabilities[0], frames[[0, 2]].mean(0), atol=0.01)
    expected = (frames[:2].mean(0) + frames[2]) / 2
    np.testing.assert_allclose(everyone.probabilities[0], expected, atol=0.01)


def test_without_faces_the_modality_is_absent(model: StaticFace, tmp_path: Path) -> None:
    scores = recognise(model, tmp_path / "crops.npy", table_of([], [], []), make_windows(4.0))
    assert scores.is_absent
    assert scores.reason.startswith("No face was found")
    assert scores.remedy


def test_other_files_are_not_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        load(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(SHIPPED.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="damaged"):
        load(damaged)
    save_checkpoint(tmp_path / "other.safetensors", {"a": torch.zeros(2)}, {}, {"name": "other"})
    with pytest.raises(WeightsError, match="static face network"):
        load(tmp_path / "other.safetensors")
