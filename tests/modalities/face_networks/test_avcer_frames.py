"""AVCER frame by frame: the release's buffer, held answers and resets, and a clip answered so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from data.errors import InputError
from data.media.crops import CropWriter
from data.sample import sample_clip
from data.tables import read_scores, read_table
from data.windows import make_windows
from modalities.face_networks import recognise as recogniser
from modalities.face_networks.avcer_frames import buffers_of, frame_answers, held, recognise_frames, step_of
from modalities.face_networks.papers import emo_affect_net
from modalities.face_networks.registry import network_table
from tests.drawn_faces import draw_face
from tests.parity import assert_parity, read_parity

TRUNK = {"width": 4, "layers": [1, 1, 1, 1], "features": 16}
HEAD = {"features": 16, "hidden": 12, "last": 8}


def test_every_frame_is_answered_as_the_release_does(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "avcer_video_temporal_logic.json")
    given, found = sheet.inputs, dict[str, Any]()
    for number, case in enumerate(sheet.arguments["cases"]):
        count = case["total"]
        seen = ~np.isin(np.arange(count), case["missing"])
        answers = frame_answers(
            softmax(given["static_logits"][:count].astype(np.float64), 1), given["features_pre_relu"][:count], seen,
            step_of(case["fps"]), lambda windows: windows.reshape(len(windows), -1).astype(np.float64) @ given["dyn_matrix"],
        )  # fmt: skip
        found |= {f"static_{number}": answers.static, f"dynamic_{number}": answers.dynamic}
    assert_parity(found, sheet)


def test_a_clip_without_faces_has_no_answers() -> None:
    answers = frame_answers(np.ones((3, 7)), np.ones((3, 4), np.float32), np.zeros(3, bool), 1, lambda windows: np.zeros((0, 7)))
    assert not answers.static.any()
    assert not answers.dynamic.any()


def test_buffers_begin_with_ten_of_the_first_and_are_emptied_by_a_gap() -> None:
    features = np.arange(1, 9, dtype=np.float32)[:, None]
    seen = np.array([True, True, True, False, True, True, True, True])
    places, buffers = buffers_of(features, seen, 2)
    assert places.tolist() == [0, 2, 4, 6]
    assert buffers[1, :, 0].tolist() == [1] * 9 + [3]
    assert buffers[2, :, 0].tolist() == [5] * 10
    assert buffers[3, :, 0].tolist() == [5] * 9 + [7]
    assert held(np.array([[1.0], [2.0]]), np.array([1, 3]), 5)[:, 0].tolist() == [0, 1, 1, 2, 2]
    assert [step_of(rate) for rate in (5, 12.5, 24, 25, 30, 60)] == [1, 2, 5, 5, 6, 12]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The authors' two files of a tiny AVCER with random weights, and the sizes in a JSON file beside the first one."""
    torch.manual_seed(4)
    network = emo_affect_net.build_dynamic(TRUNK, HEAD)
    with torch.no_grad():
        network.head.fc.weight.mul_(5)
    torch.save(network.trunk.state_dict(), tmp_path / "resnet.pt")
    torch.save(network.head.state_dict(), tmp_path / "lstm.pt")
    sizes = f'{{"settings": {{"trunk": {TRUNK}, "head": {HEAD}}}, "input": {{"size": 40}}}}'.replace("'", '"')
    (tmp_path / "resnet.json").write_text(sizes)
    return [tmp_path / "resnet.pt", tmp_path / "lstm.pt"]


def test_windows_are_the_mean_of_their_frames(files: list[Path], tmp_path: Path) -> None:
    model = recogniser.load(network_table().choose("avcer"), "dynamic", files, precision="float32")
    chance, number = np.random.default_rng(3), np.arange(40)
    with CropWriter(tmp_path / "crops.npy", 48) as writer:
        for place in number:
            face = draw_face(("sadness", "happiness")[place // 20], chance)
            writer.append(np.repeat(face[:, :, None], 3, 2))
    faces = pd.DataFrame({"face": number, "frame": 5 * number, "time_s": number * 0.2, "track_id": 1, "main": True})
    times, windows = faces[["frame", "time_s"]], make_windows(8.0)
    gone = faces[~faces["face"].between(3, 7)]
    whole, gap = (recognise_frames(model, tmp_path / "crops.npy", one, times, windows) for one in (faces, gone))
    assert whole.present.all()
    np.testing.assert_allclose(whole.probabilities.sum(1), 1, atol=1e-5)
    assert np.abs(whole.probabilities[0] - gap.probabilities[0]).max() > 1e-5
    np.testing.assert_allclose(whole.probabilities[2], gap.probabilities[2], atol=1e-5)  # ten features after the gap
    assert len(gap.evidence) == len(whole.evidence)  # frames of the gap repeat what was answered before it
    np.testing.assert_allclose(whole.evidence.groupby("window")["attention"].sum(), 1, atol=1e-5)
    assert whole.features is not None
    assert whole.features.shape == (len(windows), 8)
    late = faces[faces["face"] >= 30]
    found = recognise_frames(model, tmp_path / "crops.npy", late, times, windows)
    assert found.present.tolist() == [False, False, True]


def test_other_networks_answer_clips(tmp_path: Path) -> None:
    row = network_table().choose("emoaffectnet")
    torch.manual_seed(1)
    path = tmp_path / "resnet.pt"
    torch.save(emo_affect_net.build(**TRUNK).state_dict(), path)
    path.with_suffix(".json").write_text(f'{{"settings": {TRUNK}, "input": {{"size": 40}}}}'.replace("'", '"'))
    model = recogniser.load(row, "static", [path])
    with pytest.raises(InputError, match="by_frames is for avcer"):
        recognise_frames(model, tmp_path / "crops.npy", pd.DataFrame(), pd.DataFrame(), make_windows(4.0))


@pytest.mark.slow
def test_a_run_answers_by_frames(dyad: Callable[..., tuple[int, str, str]], files: list[Path], tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("dynamic_face: {by_frames: true}\nprecision: float32\n")
    network = "avcer=" + ",".join(map(str, files))
    code, _, err = dyad("run", sample_clip(), "-o", tmp_path / "runs", "--profile", profile, "--dynamic-face", network)
    assert code == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    evidence = read_table(folder / "dynamic_face_evidence.parquet")
    assert evidence.groupby("window").size().max() == 20  # every frame of 4 s at 5 a second, not ten of them
    assert read_scores(folder / "dynamic_face.parquet").present.all()
