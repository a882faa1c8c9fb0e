"""The table of face networks, their checkpoints, and clips recognised by them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.crops import CropWriter
from data.windows import make_windows
from modalities.face_networks import recognise as recogniser
from modalities.face_networks.prepare import prepared, view_frames
from modalities.face_networks.recognise import FaceRecogniser
from modalities.face_networks.registry import NetworkInput, build_network, network_table
from modalities.model_store.table import model_table

TINY_S4D: dict[str, Any] = {
    "size": 32, "patch": 8, "frames": 4, "width": 24, "depth": 2, "heads": 4, "expert_blocks": [1], "experts": {"experts": 4},
}  # fmt: skip
TINY_INPUT = {"size": 32, "frames": 4}


def save_tiny(path: Path, name: str = "s4d", settings: dict[str, Any] = TINY_S4D, **notes: Any) -> Path:
    """A checkpoint in the authors' form with random weights, its sizes in a JSON file beside it."""
    torch.manual_seed(1)
    network = build_network(network_table().choose(name), settings)
    state = {key: value * 3 if value.is_floating_point() else value for key, value in network.state_dict().items()}
    torch.save({"module": state}, path)
    path.with_suffix(".json").write_text(json.dumps({"settings": settings, "input": TINY_INPUT, **notes}))
    return path


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> FaceRecogniser:
    checkpoint = save_tiny(tmp_path_factory.mktemp("s4d") / "s4d.pt")
    return recogniser.load(network_table().choose("s4d", "dynamic"), "dynamic", [checkpoint], precision="float32")


@pytest.fixture
def drawn() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (30, 48, 48, 3), dtype=np.uint8)


def clip_of(folder: Path, pictures: np.ndarray, tracks: list[int]) -> tuple[Path, pd.DataFrame]:
    """crops.npy and the table of faces of one clip with a face every fifth of a second, track 1 being the main one."""
    with CropWriter(folder / "crops.npy", pictures.shape[1]) as writer:
        for picture in pictures:
            writer.append(picture)
    number = np.arange(len(pictures))
    columns = {"face": number, "frame": number, "time_s": number * 0.2, "track_id": tracks, "main": [t == 1 for t in tracks]}
    return folder / "crops.npy", pd.DataFrame(columns)


# ---- the table -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_network_has_as_many_parameters_as_the_table_says() -> None:
    for row in network_table().networks.values():
        with torch.device("meta"):
            network = build_network(row)
        assert sum(value.numel() for value in network.parameters()) == row.parameters, row.name


def test_every_row_is_complete() -> None:
    table = network_table()
    for row in table.networks.values():
        branches = {"both": {"static", "dynamic"}}.get(row.kind, {row.kind})
        assert set(row.labels) == branches
        assert row.checkpoint.keys() in ({"source", "form"}, {"source", "form", "model", "files"})
        if "model" in row.checkpoint:
            fetched = {file.name for file in model_table().models[row.checkpoint["model"]].files}
            assert set(row.checkpoint["files"].split()) <= fetched
        for order in row.labels.values():
            assert {"anger", "happiness"} <= set(table.labels(order))
    with pytest.raises(InputError, match="no network for the static face; use one of: s4d"):
        table.choose("ifdd-xs", "static")
    with pytest.raises(InputError, match="no known order of labels; use one of: basic"):
        table.labels("alphabetical")


def test_label_orders_are_those_of_the_corpora() -> None:
    table = network_table()
    assert table.labels("dfew") == ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
    assert table.labels("affectnet-7")[0] == "neutral"
    assert len(table.labels("mafw-s4d")) == 11


# ---- preparation ---------------------------------------------------------------------------------------------------------


def test_pixels_are_normalised_and_put_in_order() -> None:
    white = np.full((10, 20, 3), 255, np.uint8)
    white[..., 2] = 0
    plain = prepared([white], NetworkInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5)))
    assert plain.shape == (1, 3, 8, 8)
    assert plain[0, :, 4, 4].tolist() == [1.0, 2.0, -1.0]
    swapped = prepared([white, white[:5]], NetworkInput(size=8, channels="bgr"))
    assert swapped[1, :, 0, 0].tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(InputError, match="must be uint8"):
        prepared([white.astype(np.float32)], NetworkInput(size=8))


def test_frames_are_spread_evenly_or_taken_at_a_stride() -> None:
    times = np.arange(20) * 0.2
    assert view_frames(times, NetworkInput(frames=4))[0].tolist() == [2, 7, 12, 17]
    assert view_frames(times[:2], NetworkInput(frames=4))[0].tolist() == [0, 1, 1, 1]
    first, last = view_frames(times, NetworkInput(frames=10, stride=5, views=2))
    assert (first.tolist(), last.tolist()) == (list(range(10)), list(range(10, 20)))
    (short,) = view_frames(times[:5], NetworkInput(frames=10, stride=5, views=2))
    assert short.tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4]
    with pytest.raises(InputError, match="without frames"):
        view_frames(times[:0], NetworkInput(frames=4))


def test_even_places_are_the_authors(shared: Path) -> None:
    sheet = json.loads((shared / "parity" / "frame_sampling.json").read_text())["dferclip_test_indices"]
    for case in sheet["cases"]:
        places = view_frames(np.arange(case["n"]) / 25, NetworkInput(frames=sheet["num_segments"]))
        assert places[0].tolist() == case["indices"]


# ---- checkpoints ---------------------------------------------------------------------------------------------------------


def test_labels_follow_the_checkpoint(dynamic: FaceRecogniser, tmp_path: Path, drawn: np.ndarray) -> None:
    assert dynamic.labels == network_table().labels("dfew")
    named = save_tiny(tmp_path / "ferv.pt", labels="ferv39k")
    other = recogniser.load(network_table().choose("s4d"), "dynamic", [named], precision="float32")
    plain, permuted = (recogniser.describe_clips(model, [list(drawn[:4])])[0].probabilities for model in (dynamic, other))
    for here, there in zip(network_table().labels("dfew"), network_table().labels("ferv39k"), strict=True):
        assert permuted[BASIC_EMOTIONS.index(there)] == pytest.approx(plain[BASIC_EMOTIONS.index(here)], abs=1e-6)


def test_classes_beyond_the_seven_are_left_out(tmp_path: Path, drawn: np.ndarray) -> None:
    checkpoint = save_tiny(tmp_path / "mafw.pt", settings=TINY_S4D | {"video_classes": 11}, labels="mafw-s4d")
    model = recogniser.load(network_table().choose("s4d"), "dynamic", [checkpoint], precision="float32")
    (answer,) = recogniser.describe_clips(model, [list(drawn[:4])])
    assert answer.probabilities.sum() == pytest.approx(1)
    assert model.matrix.shape == (11, 7)
    with pytest.raises(WeightsError, match="has 11 classes, but 7 labels are known"):
        recogniser.load(
            network_table().choose("s4d"),
            "dynamic",
            [save_tiny(tmp_path / "m.pt", settings=TINY_S4D | {"video_classes": 11})],
        )


def test_other_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    row = network_table().choose("s4d")
    whole = save_tiny(tmp_path / "whole.pt")
    state = torch.load(whole, weights_only=True)["module"]
    without = tmp_path / "without.safetensors"
    save_file({key: value for key, value in state.items() if key != "fc_norm.bias"}, without)
    foreign = tmp_path / "foreign.safetensors"
    save_file({**state, "mystery": torch.zeros(1)}, foreign)
    unknown = save_tiny(tmp_path / "unknown.pt")
    unknown.with_suffix(".json").write_text('{"settings": {"colour": 1}}')
    files = {"There are no weights at": tmp_path / "none.pt", "does not fit|lacks": without, "holds mystery": foreign}
    for path in (without, foreign):
        path.with_suffix(".json").write_text(whole.with_suffix(".json").read_text())
    for sentence, path in {**files, "do not build a network 's4d'": unknown}.items():
        with pytest.raises(WeightsError, match=sentence) as caught:
            recogniser.load(row, "static", [path])
        assert str(caught.value).endswith(".")


# ---- clips ---------------------------------------------------------------------------------------------------------------


def test_windows_are_answered_person_by_person(dynamic: FaceRecogniser, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn, [1, 2] * 15)
    windows = make_windows(10.0)
    scores = recogniser.recognise_dynamic(dynamic, crops, faces, windows, which="all")
    assert scores.present.tolist() == [True, True, True, False]
    np.testing.assert_allclose(scores.probabilities[:3].sum(1), 1, atol=1e-5)
    first = [faces[(faces["track_id"] == track) & (faces["time_s"] < 4.0)] for track in (1, 2)]
    seen = [(one["face"].to_numpy(), recogniser.views_of(dynamic, one["time_s"].to_numpy())) for one in first]
    views = [list(drawn[rows[places]]) for rows, several in seen for places in several]
    expected = np.mean([answer.probabilities for answer in recogniser.describe_clips(dynamic, views)], axis=0)
    np.testing.assert_allclose(scores.probabilities[0], expected, atol=1e-4)
    np.testing.assert_allclose(scores.evidence.groupby("window")["attention"].sum(), 1, atol=1e-5)
    main = recogniser.recognise_dynamic(dynamic, crops, faces, windows)
    assert set(main.evidence["track_id"]) == {1}


def test_single_faces_are_answered_by_the_head_of_pictures(tmp_path: Path, drawn: np.ndarray) -> None:
    model = recogniser.load(network_table().choose("s4d"), "static", [save_tiny(tmp_path / "s4d.pt")], precision="float32")
    crops, faces = clip_of(tmp_path, drawn, [1] * 30)
    scores = recogniser.recognise_static(model, crops, faces, make_windows(6.0), batch=7)
    each = recogniser.score_images(model, list(drawn[:20]))
    np.testing.assert_allclose(scores.probabilities[0], each.mean(0), atol=1e-4)
    assert model.labels == network_table().labels("affectnet-7")
    assert scores.source.model == "s4d"


def test_without_faces_the_face_is_absent(dynamic: FaceRecogniser, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn[:3], [2, 2, 2])
    windows = make_windows(4.0)
    assert recogniser.recognise_dynamic(dynamic, crops, faces, windows).reason.startswith("No face belongs")
    elsewhere = recogniser.recognise_dynamic(dynamic, crops, faces, np.array([[50.0, 54.0], [52.0, 56.0]]), which="all")
    assert elsewhere.reason == "No face lies in any window."
