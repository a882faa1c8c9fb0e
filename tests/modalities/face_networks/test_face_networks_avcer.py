"""EmoAffectNet and AVCER's LSTM: the authors' numbers, their two files as one network, a training step."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from modalities.face_networks.papers import emo_affect_net
from modalities.face_networks.papers.emo_affect_net import AvcerDynamic, AvcerLstm, EmoAffectNet
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.prepare import prepared
from modalities.face_networks.registry import build_network, network_table
from tests.parity import assert_parity, read_parity

TINY = {"width": 4, "layers": [1, 1, 1, 1], "features": 16}
SMALL = {"width": 8, "layers": [2, 1, 2, 1], "features": 48}


@pytest.fixture
def dynamic() -> AvcerDynamic:
    torch.manual_seed(2)
    return emo_affect_net.build_dynamic(TINY, {"features": 16, "hidden": 12, "last": 8})


@torch.no_grad()
def test_faces_are_answered_as_the_authors_do(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "avcer_emoaffectnet_small.json")
    network, x = EmoAffectNet(**SMALL).eval(), sheet.tensors()
    network.load_state_dict(sheet.state_dict())
    found = {f"logits_{kind}": network(x[f"x_{kind}"]).logits for kind in ("even", "odd")}
    assert_parity(found | {"features_even": network.features(x["x_even"])}, sheet)


@torch.no_grad()
def test_sequences_are_answered_as_the_authors_do(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "avcer_lstm_small.json")
    width = sheet.arguments["feat"]
    shapes = {key: value.shape for key, value in sheet.weights.items()}
    head = AvcerLstm(width, shapes["lstm1.weight_hh_l0"][1], shapes["lstm2.weight_hh_l0"][1])
    head.load_state_dict(sheet.state_dict())
    assert_parity({"logits": head(sheet.tensors()["x"]).logits}, sheet)


def test_pixels_are_prepared_as_the_authors_do(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "avcer_emoaffectnet_resnet50_full.json")
    pixels = prepared([sheet.inputs["face_rgb"]], network_table().choose("emoaffectnet").input)
    assert_parity({"preprocessed_sub": pixels[:, :, ::5, ::5]}, sheet)


def test_sizes_are_the_authors(shared: Path) -> None:
    lstm = json.loads((shared / "parity" / "avcer_lstm_full.json").read_text())["full_size"]
    resnet = json.loads((shared / "parity" / "avcer_emoaffectnet_resnet50_full.json").read_text())
    wanted = {"emoaffectnet": resnet["full_size"]["params"], "avcer": resnet["full_size"]["params"] + lstm["params"]}
    for name, count in wanted.items():
        row = network_table().choose(name)
        with torch.device("meta"):
            network = build_network(row)
        assert sum(value.numel() for value in network.parameters()) == row.parameters == count
    keys = {f"head.{key}": shape for key, shape in lstm["key_shapes"].items()}
    keys |= {f"trunk.{key}": shape for key, shape in resnet["weights"]["key_shapes"].items()}
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == keys


def test_the_authors_two_files_make_one_network(dynamic: AvcerDynamic) -> None:
    trunk, head = dynamic.trunk.state_dict(), dynamic.head.state_dict()
    together = dynamic.adapted(trunk) | dynamic.adapted(head)
    assert together.keys() == dynamic.state_dict().keys()
    assert dynamic.adapted(together) == together


def test_a_clip_is_answered_in_its_order_and_by_itself(dynamic: AvcerDynamic) -> None:
    clips = torch.randn(3, 10, 3, 40, 40)
    with torch.no_grad():
        together, back = dynamic.eval().answer(FaceInputs(clips)), dynamic.answer(FaceInputs(clips.flip(1)))
        np.testing.assert_allclose(dynamic.answer(FaceInputs(clips[1:2])).logits, together.logits[1:2], atol=1e-5)
    assert (together.logits - back.logits).abs().max() > 1e-6


def test_training_touches_the_lstm_alone(dynamic: AvcerDynamic) -> None:
    clips, wanted = FaceInputs(torch.randn(4, 5, 3, 40, 40)), F.one_hot(torch.arange(4), 7).float()
    statistics = dynamic.trunk.state_dict()["batch_norm1.running_mean"].clone()
    steps, history = torch.optim.Adam(dynamic.head.parameters(), 0.03), []
    dynamic.train()
    for _ in range(10):
        steps.zero_grad()
        loss = dynamic.loss(clips, wanted)["classification"]
        loss.backward()
        history.append(loss.item())
        steps.step()
    assert history[-1] < 0.8 * history[0]
    assert all(value.grad is None for value in dynamic.trunk.parameters())
    torch.testing.assert_close(dynamic.trunk.state_dict()["batch_norm1.running_mean"], statistics)


def test_the_resnet_learns() -> None:
    torch.manual_seed(6)
    network = EmoAffectNet(**TINY)
    faces, wanted = FaceInputs(torch.randn(6, 1, 3, 40, 40)), F.one_hot(torch.arange(6), 7).float()
    steps, history = torch.optim.Adam(network.parameters(), 0.01), []
    for _ in range(8):
        steps.zero_grad()
        loss = network.loss(faces, wanted)["classification"]
        loss.backward()
        history.append(loss.item())
        steps.step()
    assert history[-1] < 0.8 * history[0]
    assert network.depth_of("layer3.0.conv1.weight") == (3, 6)
