"""The proofs that the face networks learn: what they measure with is right, and a small training gets better than its start."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.learning.learning import (
    LABELS,
    append_row,
    clear_faces,
    evened,
    mean_interval,
    paired_interval,
    probe_features,
    write_stills,
)
from benchmarks.learning.stills import NETWORKS, main, spread
from modalities.face_networks.registry import build_network, network_table
from modalities.training.face_networks.corpus import read_face_corpus
from modalities.training.face_networks.train import FaceTrainingOptions, network_settings
from tests.drawn_faces import DRAWN, draw_face, write_drawn_faces


def test_student_intervals_of_known_numbers() -> None:
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3.0
    assert found.high - found.mean == pytest.approx(2.7764 * np.sqrt(2.5 / 5), abs=1e-3)  # t of 4 degrees of freedom
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert mean_interval([1.0, 3.0], 0.5).high == pytest.approx(2.0 + 1.0)  # t of one degree at 75 % is 1
    alone = mean_interval([0.4])
    assert (alone.mean, alone.low, alone.high) == (0.4, -np.inf, np.inf)


def test_pairs_take_out_what_seeds_share() -> None:
    seeds = np.array([0.1, 0.5, 0.9, 0.3])
    paired = paired_interval((seeds + [0.02, 0.03, 0.02, 0.03]).tolist(), seeds.tolist())
    assert paired.mean == pytest.approx(0.025)
    assert 0 < paired.low < paired.high < 0.05
    assert paired_interval([0.2, 0.1], [0.1, 0.2]).low < 0
    with pytest.raises(ValueError, match="zip"):
        paired_interval([0.1], [0.1, 0.2])
    assert spread([0.25]) == "0.250"
    assert spread([0.25, 0.5]) == "0.375 (0.250 to 0.500)"


def test_the_probe_finds_what_is_there_and_nothing_else() -> None:
    chance = np.random.default_rng(0)
    classes = [np.arange(count) % 3 for count in (240, 60, 90)]
    known = [(np.eye(3, 8)[part] + chance.normal(0, 0.1, (len(part), 8))).astype(np.float32) for part in classes]
    found = probe_features(*zip(known, classes, strict=True))
    assert found.war == found.uar == 1.0
    noise = [chance.normal(size=(len(part), 8)).astype(np.float32) for part in classes]
    assert 0.15 < probe_features(*zip(noise, classes, strict=True)).war < 0.55  # chance: 0.33


def test_light_is_taken_out_and_the_face_stays() -> None:
    face = draw_face("surprise", np.random.default_rng(1))
    shade = np.linspace(0.5, 1.0, 48)[None] * face
    assert evened(face).dtype == np.uint8
    assert evened(face).shape == face.shape
    apart, same = (np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in (
        (face, shade), (evened(face), evened(shade.astype(np.uint8)))))  # fmt: skip
    assert same > max(apart, 0.95)
    assert np.ptp(evened(np.full((48, 48), 90, np.uint8))) == 0


def test_stills_are_balanced_and_parts_do_not_meet(tmp_path: Path) -> None:
    fit, held_out = clear_faces(write_drawn_faces(tmp_path / "data", 120, 60))
    manifest = write_stills(tmp_path / "stills", fit, held_out, 20, 10)
    corpus = read_face_corpus(manifest, LABELS, seed=0)
    learnt = [sample.label for sample in (*corpus.fit, *corpus.choose)]
    assert np.bincount(learnt, minlength=7).tolist() == [20 if name in DRAWN else 0 for name in LABELS]
    assert np.bincount([sample.label for sample in corpus.test], minlength=7).max() == 10
    paths = [{sample.path for sample in part} for part in (corpus.fit, corpus.choose, corpus.test)]
    assert sum(map(len, paths)) == len(set.union(*paths)) == 4 * 30
    again = write_stills(tmp_path / "again", fit, held_out, 20, 10)
    assert again.read_text() == manifest.read_text()
    assert write_stills(tmp_path / "other", fit, held_out, 20, 10, seed=2).read_text() != manifest.read_text()


def test_every_static_network_of_the_table_is_small_here() -> None:
    shown = {small.network for small in NETWORKS.values()}
    all_of_them = {row.name for row in network_table().networks.values() if row.answers("static")}
    assert all_of_them - shown == {"ke-fer-swin-t"}  # torchvision's Swin-T has one size
    for small in NETWORKS.values():
        row = network_table().choose(small.network, "static")
        settings = network_settings(row, LABELS, "static", FaceTrainingOptions(settings=small.settings))
        with torch.device("meta"):
            network = build_network(row, settings)
        share = sum(value.numel() for value in network.parameters()) / row.parameters
        assert share < (0.95 if small.network == "ke-fer" else 0.1), small.network  # torchvision's ResNet-18 has one size too


@pytest.mark.long
def test_a_training_gets_better_than_its_start_and_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, log = write_drawn_faces(tmp_path, 480, 160), tmp_path / "log.jsonl"
    append_row(log, {"before": 1})
    main(["--data", str(data), "--each", "110", "--held-out", "40", "--epochs", "6", "--only", "emoaffectnet", "--log", str(log)])
    before, probed, trained = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    assert before == {"before": 1}
    assert trained["war"] > 0.5  # chance, and a network that answers one class always: 0.25
    assert 0.25 < probed["war"] < 1
    said = capsys.readouterr().out
    assert "to choose the epoch on, 160 to measure on" in said
    assert f"| emoaffectnet | 6 | {trained['war']:.3f} |" in said


def test_the_ablation_pairs_both_ways_of_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, log = write_drawn_faces(tmp_path, 80, 40), tmp_path / "log.jsonl"
    main(["--data", str(data), "--each", "16", "--held-out", "8", "--epochs", "1", "--only", "ablation", "--seeds", "2",
          "--log", str(log)])  # fmt: skip
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(row["seed"], bool(row["settings"])) for row in rows] == [(0, False), (0, True), (1, False), (1, True)]
    difference = np.mean([rows[k]["war"] - rows[k + 1]["war"] for k in (0, 2)])
    assert f"| difference, 2 seeds | {difference:+.3f} (" in capsys.readouterr().out
