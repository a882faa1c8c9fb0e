"""Training a dynamic face on pictures along with clips, and AVCER's LSTM over a frozen trunk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError
from modalities.face_networks.own_checkpoints import load_trained
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.registry import network_table
from modalities.face_networks.views import read_views
from modalities.training.common import Progress
from modalities.training.face_networks.corpus import read_face_corpus, without_time
from modalities.training.face_networks.recipes import recipes_of
from modalities.training.face_networks.train import FaceTrainingOptions, files_of, train
from tests.face_corpora import write_clips, write_pictures

LABELS = network_table().labels("basic")
TINY = {"size": 32, "patch": 16, "frames": 4, "width": 32, "depth": 2, "heads": 2, "expert_blocks": [1],
        "experts": {"experts": 2, "chosen": 1}}  # fmt: skip
QUICK = {"rate": 3e-3, "batch": 8, "layer_decay": 1.0, "augment": 0.0, "mixup": 0.0, "weight_decay": 0.01}
pytestmark = pytest.mark.usefixtures("one_thread")


def options(stills: Path | None, **recipe: float) -> FaceTrainingOptions:
    return FaceTrainingOptions(
        fold=1, labels="basic", settings=TINY, reads={"size": 32, "frames": 4, "stride": 0, "views": 1}, recipe=QUICK | recipe,
        stills=stills,
    )  # fmt: skip


@pytest.mark.slow
def test_s4d_learns_stills_and_clips_with_two_heads(tmp_path: Path) -> None:
    clips, stills = write_clips(tmp_path / "clips", 40), write_pictures(tmp_path / "stills", 200)
    card = train(clips, tmp_path / "out", network="s4d", kind="dynamic", epochs=12, options=options(stills, still_steps=4))
    assert "with 150 stills of manifest.csv" in card.data  # the test part of the stills stays away
    assert f"--corpus {clips} --epochs 12" in card.command
    assert f"--with-stills {stills}" in card.command
    assert card.terms == "those of manifest.csv, manifest.csv"
    files = files_of(tmp_path / "out", "dynamic", "s4d", 1)
    curves = json.loads(files.curves_json.read_text(encoding="utf-8"))
    assert curves[-1]["loss_stills_classification"] < curves[0]["loss_stills_classification"] / 1.5
    assert curves[-1]["loss_classification"] < curves[0]["loss_classification"]
    found = load_trained(files.weights)
    corpus = read_face_corpus(stills, LABELS)
    pixels = np.concatenate([read_views(one.path, without_time(found.reads)) for one in corpus.test])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (found.reads.mean, found.reads.std))
    with torch.no_grad():  # the head of pictures is in the checkpoint, and has learned
        levels = (torch.from_numpy(pixels).permute(0, 1, 4, 2, 3) / 255 - mean) / std
        answers = found.network.answer(FaceInputs(levels)).logits.argmax(1).numpy()
    assert (answers == [one.label for one in corpus.test]).mean() > 0.5  # chance: 0.25


@pytest.mark.slow
def test_a_broken_off_training_with_stills_ends_the_same(tmp_path: Path) -> None:
    clips, stills = write_clips(tmp_path / "clips", 40), write_pictures(tmp_path / "stills", 24)
    several = options(stills, accumulate=2, batch=4, still_steps=1.3, balanced=True)

    def broken_off(progress: Progress) -> None:
        if progress.step == 1:
            raise KeyboardInterrupt

    train(clips, tmp_path / "whole", network="s4d", kind="dynamic", epochs=2, options=several)
    with pytest.raises(KeyboardInterrupt):
        train(clips, tmp_path / "cut", network="s4d", kind="dynamic", epochs=2, options=several, report=broken_off)
    train(clips, tmp_path / "cut", network="s4d", kind="dynamic", epochs=2, options=several)
    first, second = (load_trained(files_of(tmp_path / place, "dynamic", "s4d", 1).weights) for place in ("whole", "cut"))
    for key, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[key]), key


def test_without_stills_the_head_of_pictures_stays_as_it_was_drawn(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 24)
    several = [options(None), options(write_pictures(tmp_path / "stills", 24), still_steps=1)]
    for place, one in zip(("alone", "both"), several, strict=True):
        train(clips, tmp_path / place, network="s4d", kind="dynamic", epochs=1, options=one)
    alone, both = (load_trained(files_of(tmp_path / place, "dynamic", "s4d", 1).weights).network for place in ("alone", "both"))
    assert not alone.get_parameter("head.image.bias").any()
    assert both.get_parameter("head.image.bias").any()


def test_what_cannot_be_trained_along_is_said(tmp_path: Path) -> None:
    clips, stills = write_clips(tmp_path / "clips", 12), write_pictures(tmp_path / "stills", 12)
    with pytest.raises(InputError, match="answers both; use one of s4d"):
        train(clips, tmp_path / "out", network="ifdd-xs", kind="dynamic", options=options(stills))
    with pytest.raises(InputError, match="answers both"):
        train(stills, tmp_path / "out", network="s4d", kind="static", options=FaceTrainingOptions(stills=stills))
    with pytest.raises(InputError, match="still_steps of 0 or more"):
        recipes_of("s4d", {"still_steps": -1})


def test_avcer_is_trained_on_labels_of_ones_own(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 24)
    given = FaceTrainingOptions(
        fold=1, labels="mafw-s4d", reads={"size": 32, "frames": 4, "stride": 0, "views": 1},
        settings={"trunk": {"layers": [1] * 4, "width": 4, "features": 16}, "head": {"features": 16, "hidden": 12, "last": 8}},
        recipe=QUICK | {"rate": 1e-2},
    )  # fmt: skip
    card = train(clips, tmp_path / "out", network="avcer", kind="dynamic", epochs=1, options=given)
    assert card.name == "dynamic-avcer"
    found = load_trained(files_of(tmp_path / "out", "dynamic", "avcer", 1).weights)
    assert found.network.get_parameter("head.fc.weight").shape == (11, 8)
