"""The proofs that networks learn the order of frames: a clip and its reverse hold the same frames, only time tells them apart."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.learning.ablations import ABLATIONS
from benchmarks.learning.clips import CONTROLS, NETWORKS, SHOWN, Bench, baselines, make_pairs, over_pairs, read_log, trained
from benchmarks.learning.heads import HEADS, head_named
from benchmarks.learning.learning import LABELS, clear_faces
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.registry import build_network, network_table
from modalities.training.face_networks.corpus import read_face_corpus
from modalities.training.face_networks.train import FaceTrainingOptions, network_settings
from tests.drawn_faces import write_drawn_faces

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    place = tmp_path_factory.mktemp("bench")
    return Bench(place, *clear_faces(write_drawn_faces(place / "data", 400, 120)), pairs=150, held_out_pairs=60, each=8)


def test_a_clip_and_its_reverse_hold_the_same_frames(bench: Bench) -> None:
    manifest = bench.clips(4)
    rows = list(csv.DictReader(manifest.open()))
    assert len(rows) == 2 * (150 + 60)
    for there, back in zip(rows[::2], rows[1::2], strict=True):
        first, second = (np.load(manifest.parent / row["path"]) for row in (there, back))
        assert first.shape == (4, 32, 32, 3)
        assert np.array_equal(first, second[::-1])
        assert (there["label"], back["label"], there["split"]) == ("happiness", "neutral", back["split"])
    shown = list(csv.DictReader(manifest.with_name("emotions.csv").open()))
    assert [row["label"] for row in shown[::2]] == [row["label"] for row in shown[1::2]] == [*SHOWN * 105]
    assert bench.clips(4) == manifest  # written once


def test_parts_are_balanced_and_no_held_out_apex_is_in_two_pairs(bench: Bench) -> None:
    corpus = read_face_corpus(bench.clips(4), LABELS)
    assert np.bincount([one.label for one in corpus.test]).max() == len(corpus.test) / 2 == 60
    last = [pair.frames[-1] for pair in make_pairs(bench.held_out, 60, 2, apex_seen=True)]
    assert len({frame.tobytes() for frame in last}) == 60  # thirty of each emotion are there
    places = {pair.emotion for pair in make_pairs(bench.held_out, 6, 2)}
    assert places == set(SHOWN)


@pytest.mark.long
def test_time_is_learned_by_a_network_over_time_and_not_by_one_that_averages(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "rows.jsonl"
    quick = {"batch": 16, "rate": 2e-3}
    over_time = replace(NETWORKS["s4d"], epochs=16, start="", recipe=quick)
    row = trained("s4d", over_time, bench, bench.clips(4), 0, log)
    assert over_pairs(row["war"], 60).low > 0.5
    averaging = replace(CONTROLS["ke-fer-clip"], epochs=2, start="random clip", recipe=quick)
    assert trained("ke-fer-clip", averaging, bench, bench.clips(4), 0, log)["war"] == 0.5  # the same answer to both of a pair
    assert [one["title"] for one in read_log(log)] == ["s4d", "ke-fer-clip"]
    assert trained("s4d", over_time, bench, Path("not read"), 0, log) == row


def test_models_of_single_frames_are_right_half_of_the_time(bench: Bench) -> None:
    found = {str(what): float(str(share)) for what, share, _ in baselines(bench)}
    assert found["the frames' mean"] == found["every frame, answers multiplied"] == 0.5
    assert len([what for what in found if "its number known" in what]) == 4


@pytest.mark.parametrize("title", [*NETWORKS, *CONTROLS])
def test_which_networks_see_the_order_of_frames(title: str) -> None:
    small = (NETWORKS | CONTROLS)[title]
    row = network_table().choose(small.network, "dynamic")
    torch.manual_seed(0)
    network = build_network(row, network_settings(row, LABELS, "dynamic", FaceTrainingOptions(settings=small.settings))).eval()
    for value in network.parameters():  # what begins at zero hides what lies behind it
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=0.2)
    pixels = torch.randn(2, small.frames, 3, 32, 32)
    with torch.no_grad():
        there, back = (network.answer(FaceInputs(clip)).logits for clip in (pixels, pixels.flip(1)))  # type: ignore[operator]
    assert torch.allclose(there, back, rtol=1e-3, atol=1e-3) == (title in CONTROLS)


@pytest.mark.parametrize("name", HEADS)
def test_which_heads_see_the_order_of_features(name: str) -> None:
    torch.manual_seed(0)
    head, features = head_named(name).eval(), torch.randn(2, 4, 64)
    with torch.no_grad():
        there, back = head(features).logits, head(features.flip(1)).logits
    assert torch.allclose(there, back, atol=1e-5) == (name == "video-former, as released")


@pytest.mark.slow
def test_the_arms_of_an_ablation_differ_in_what_they_say_alone(bench: Bench) -> None:
    manifest, arms = ABLATIONS["s4d"](bench)
    assert manifest.name == "emotions.csv"
    assert arms[0].small.settings == arms[1].small.settings == arms[2].small.settings
    stills = read_face_corpus(arms[1].others["stills"], LABELS)
    assert {LABELS[one.label] for one in (*stills.fit, *stills.choose, *stills.test)} == set(SHOWN)
    _, halves = ABLATIONS["ifdd"](bench)
    assert [arm.small.settings["lifting"]["classified"] for arm in halves] == ["moving", "still", "both"]
