"""Dynamic face: a window's frames as one movement; better than their mean where the expression comes and goes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.errors import WeightsError
from data.media.crops import CropWriter
from data.windows import make_windows
from modalities.dynamic_face.embedded import DynamicFace, load, recognise, score_sequences, thin
from modalities.dynamic_face.network import DynamicFaceNetwork, DynamicFaceShape
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card
from modalities.static_face.embedded import score_images
from modalities.training.faces.dynamic_face import film_and_watch, mean_over_frames, measure
from modalities.training.faces.stills import read_faces

SHIPPED = WEIGHTS_FOLDER / "dynamic_face.safetensors"


@pytest.fixture(scope="module")
def model() -> DynamicFace:
    return load()


@pytest.fixture
def drawn() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (30, 48, 48, 3), dtype=np.uint8)


def clip_of(path: Path, pictures: np.ndarray, tracks: list[int], every: float = 0.2) -> tuple[Path, pd.DataFrame]:
    """crops.npy and the table of faces of one clip: a face a frame; track 1 is the main one."""
    with CropWriter(path / "crops.npy", pictures.shape[1]) as writer:
        for picture in pictures:
            writer.append(picture)
    count = len(pictures)
    columns = {"face": np.arange(count), "frame": np.arange(count), "time_s": np.arange(count) * every}
    return path / "crops.npy", pd.DataFrame({**columns, "track_id": tracks, "main": [t == 1 for t in tracks]})


@pytest.mark.long
def test_beats_the_mean_over_frames_on_held_out_faces(model: DynamicFace, shared: Path) -> None:
    held_out = read_faces(shared / "datasets" / "face" / "ferplus_valid.npz")
    watched = film_and_watch(model.static, held_out, 250, seed=31)
    with torch.inference_mode():
        answers = torch.softmax(model.network(*watched.inputs(slice(None))).logits, 1).numpy()
    ours, mean = measure(answers, watched), measure(mean_over_frames(watched), watched)
    assert ours["war"] > mean["war"]
    assert ours["macro_f1"] > mean["macro_f1"]


def test_the_card_shows_both_figures() -> None:
    card = Card.read(WEIGHTS_FOLDER / "dynamic_face.md")
    for key in ("uar", "war", "macro_f1"):
        assert card.metrics[key] > card.metrics[f"mean_over_frames_{key}"]
    assert SHIPPED.stat().st_size <= 600_000


@pytest.mark.slow
def test_a_short_smile_counts_more_than_its_share_of_frames(model: DynamicFace, shared: Path) -> None:
    held_out = read_faces(shared / "datasets" / "face" / "ferplus_valid.npz")
    neutral, smile = (held_out.images[(held_out.majority == k) & (held_out.votes.max(1) > 9)] for k in (0, 4))
    films = [np.concatenate([[n] * 6, [s] * 4, [n] * 5]) for n, s in zip(neutral[:30], smile[:30], strict=True)]
    dynamic = score_sequences(model, films)[:, 4].mean()
    mean = np.mean([score_images(model.static, film)[:, 4].mean() for film in films])
    assert dynamic > mean


def test_sequences_of_any_length(model: DynamicFace, drawn: np.ndarray) -> None:
    films = [drawn[:1], drawn[:0], drawn, drawn[:7, :, :, 0]]
    answers = score_sequences(model, films)
    assert answers.shape == (4, 7)
    assert np.isnan(answers[1]).all()
    np.testing.assert_allclose(answers[[0, 2, 3]].sum(1), 1, atol=1e-5)


def test_thinning_is_even() -> None:
    assert thin(3).tolist() == [0, 1, 2]
    assert len(thin(100)) == 20
    assert thin(100)[[0, -1]].tolist() == [0, 99]


def test_padding_does_not_change_the_answer() -> None:
    torch.manual_seed(0)
    network = DynamicFaceNetwork(DynamicFaceShape(features=16)).eval()
    features, logs, gaps = torch.randn(1, 9, 16), torch.randn(1, 9, 8).log_softmax(2), torch.full((1, 9), 0.2)
    alone = network(features[:, :6], logs[:, :6], gaps[:, :6], torch.ones(1, 6, dtype=torch.bool))
    mask = torch.arange(9)[None] < 6
    padded = network(features, logs, gaps, mask)
    torch.testing.assert_close(alone.logits, padded.logits, atol=1e-5, rtol=1e-5)
    assert padded.attention[0, 6:].abs().max() < 1e-6
    assert padded.attention.sum().item() == pytest.approx(1, abs=1e-5)


def test_the_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    network = DynamicFaceNetwork(DynamicFaceShape(features=16)).eval()
    features, logs, gaps = torch.randn(1, 9, 16), torch.randn(1, 9, 8).log_softmax(2), torch.full((1, 9), 0.2)
    mask = torch.ones(1, 9, dtype=torch.bool)
    there, back = network(features, logs, gaps, mask).logits, network(features.flip(1), logs.flip(1), gaps, mask).logits
    assert (there - back).abs().max() > 1e-4


def test_windows_of_a_clip(model: DynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn, [1] * 30)
    windows = make_windows(12.0)
    scores = recognise(model, crops, faces, windows)
    assert scores.present.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(scores.probabilities[0], score_sequences(model, [drawn[:20]])[0], atol=0.02)
    assert scores.features is not None
    assert scores.features.shape == (5, model.centroids.shape[1])
    assert list(scores.evidence.columns) == ["window", "frame", "time_s", "track_id", "attention"]
    np.testing.assert_allclose(scores.evidence.groupby("window")["attention"].sum(), 1, atol=1e-4)


def test_tracks_are_sequences_of_their_own(model: DynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn[:10], [1, 2] * 5)
    windows = make_windows(2.0)
    main = recognise(model, crops, faces, windows)
    everyone = recognise(model, crops, faces, windows, which="all")
    times = faces["time_s"].to_numpy()
    both = score_sequences(model, [drawn[:10:2], drawn[1:10:2]], [times[::2], times[1::2]])
    np.testing.assert_allclose(main.probabilities[0], both[0], atol=0.02)
    np.testing.assert_allclose(everyone.probabilities[0], both.mean(0), atol=0.02)


def test_without_faces_the_modality_is_absent(model: DynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn[:2], [3, 3])
    assert recognise(model, crops, faces, make_windows(4.0)).reason.startswith("No face belongs")
    assert recognise(model, crops, faces[:0], make_windows(4.0)).reason.startswith("No face was found")


def test_other_files_are_not_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="dynamic face network"):
        load(WEIGHTS_FOLDER / "static_face.safetensors")
    with pytest.raises(WeightsError, match="no weights at"):
        load(tmp_path / "none.safetensors")


def test_a_cut_inside_a_window_starts_another_sequence() -> None:
    """Two people shown one after the other are two sequences, weighted by how long each is shown."""
    from modalities.dynamic_face.embedded import _sequences, _window_means

    times = np.arange(20) * 0.2
    kept = pd.DataFrame({"time_s": times, "track_id": np.where(times < 1.0, 1, 2)})
    numbers, sequences = _sequences(kept, np.array([[0.0, 4.0]]))
    assert numbers.tolist() == [0, 0]
    assert [len(sequence.rows) for sequence in sequences] == [5, 15]
    means = _window_means(numbers, sequences, np.array([[0.0], [1.0]], np.float32), 2)
    assert means[0, 0] == pytest.approx(0.75)
    assert np.isnan(means[1, 0])
