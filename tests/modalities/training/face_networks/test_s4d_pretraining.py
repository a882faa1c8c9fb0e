"""S4D's masked pre-training as a command: it learns pictures and clips, goes on after a kill, and S4D starts from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data.errors import InputError, WeightsError
from modalities.face_networks.papers.s4d import S4D
from modalities.face_networks.registry import network_table
from modalities.loading.checkpoint import Card
from modalities.training.face_networks.s4d_pretraining import (  # fmt: skip
    NAME,
    PretrainingOptions,
    cropped,
    epoch_batches,
    pretrain,
    read_samples,
)
from modalities.training.face_networks.train import FaceTrainingOptions, files_named, files_of, new_network
from tests.face_corpora import write_clips, write_pictures
from tests.modalities.training.face_networks.kills import killed_at_save

Dyad = Callable[..., tuple[int, str, str]]
SIZES: dict[str, Any] = {"size": 32, "patch": 8, "frames": 4, "width": 32, "depth": 2, "heads": 4}
TINY = {**SIZES, "decoder_width": 24, "decoder_depth": 1, "decoder_heads": 4}
pytestmark = pytest.mark.usefixtures("one_thread")


def corpora(folder: Path, count: int = 48) -> list[Path]:
    """Manifests of pictures, a quarter of them for testing, and of clips in two folds."""
    return [write_pictures(folder / "pictures", count), write_clips(folder / "clips", count // 2)]


@pytest.mark.slow
def test_what_is_hidden_is_drawn_better_and_better(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    options = PretrainingOptions(settings=TINY, fold=1, batch=8, rate=3e-3)
    manifests = corpora(tmp_path, 120)
    card = pretrain(manifests, tmp_path, epochs=17, options=options, report=lambda one: seen.append(one.figures))
    assert seen[0]["held_out_pictures"] > 0.93  # 1: drawing the mean
    assert seen[-1]["held_out_pictures"] < 0.88
    assert seen[-1]["held_out_clips"] < 0.93
    assert seen[-1]["loss_pictures"] < seen[0]["loss_pictures"] - 0.05
    assert card.metrics["held_out_clips"] == pytest.approx(seen[-1]["held_out_clips"], abs=1e-4)
    files = files_named(tmp_path, NAME)
    assert Card.read(files.card) == card
    assert "86 pictures and 29 clips" in card.data
    assert not files.resume.exists()
    assert len(json.loads(files.curves_json.read_text())) == 17


@pytest.mark.long
def test_a_killed_one_ends_as_one_that_was_not(tmp_path: Path) -> None:
    manifests = corpora(tmp_path)
    options = PretrainingOptions(settings=TINY, fold=1, batch=8, save_every=1)
    pretrain(manifests, tmp_path / "whole", epochs=3, options=options)
    cut = files_named(tmp_path / "cut", NAME)
    program = (
        "import torch; from pathlib import Path\n"
        "from modalities.training.face_networks.s4d_pretraining import PretrainingOptions, pretrain\n"
        f"torch.set_num_threads(1); options = PretrainingOptions(settings={TINY}, fold=1, batch=8, save_every=1)\n"
        f"pretrain([Path(one) for one in {list(map(str, manifests))}], Path({str(tmp_path / 'cut')!r}), epochs=3, "
        "options=options)"
    )
    killed_at_save(program, cut.resume, 3)
    assert torch.load(cut.resume, weights_only=True)["step"] == 2
    assert not cut.weights.exists()
    pretrain(manifests, tmp_path / "cut", epochs=3, options=options)
    first, second = (load_file(files_named(tmp_path / place, NAME).weights) for place in ("whole", "cut"))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    curves = [files_named(tmp_path / place, NAME).curves.read_text() for place in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_s4d_starts_from_what_the_command_writes(dyad: Dyad, tmp_path: Path) -> None:
    pictures, clips = corpora(tmp_path)
    small, tiny, recipe = (tmp_path / f"{name}.yaml" for name in ("small", "tiny", "recipe"))
    tiny.write_text(f"settings: {json.dumps(TINY)}\n")
    small.write_text(f"settings: {json.dumps({**SIZES, 'expert_blocks': [1]})}\ninput: {{size: 32, frames: 4}}\n")
    recipe.write_text("batch: 8\nstill_steps: 0.0\n")
    far = "s3://bucket/far.png" + "," * clips.read_text().partition("\n")[0].count(",")
    clips.write_text(f"{clips.read_text().rstrip()}\n{far}\n")
    options = ("--epochs", 1, "--batch", 8, "--fold", 1, "--settings", tiny, "--device", "cpu", "-o", tmp_path)
    code, out, err = dyad("train", NAME, "--corpus", pictures, "--corpus", clips, *options)
    assert code == 0, err
    left_out = "1 of 25 rows of manifest.csv are left out as they name addresses"
    assert left_out in err
    assert "loss_pictures" in out
    weights = files_named(tmp_path, NAME).weights
    code, _, err = dyad(
        "train", "dynamic-face", "--network", "s4d", "--corpus", clips, "--fold", 1, "--labels", "basic", "--start", weights,
        "--settings", small, "--recipe", recipe, "--epochs", 1, "--device", "cpu", "-o", tmp_path,
    )  # fmt: skip
    assert code == 0, err
    assert left_out in err
    assert left_out in files_of(tmp_path, "dynamic", "s4d", 1).card.read_text(encoding="utf-8")
    settings = {**SIZES, "expert_blocks": [1]}
    started = new_network(network_table().choose("s4d"), settings, FaceTrainingOptions(start=weights), 7)
    assert isinstance(started, S4D)
    trunk = load_file(weights)
    own = {key: value for key, value in started.state_dict().items() if f"network.encoder.{key}" in trunk}
    assert len(own) == 2 + 2 * 13  # the embedding, and what a block has without experts
    assert all(torch.equal(value, trunk[f"network.encoder.{key}"]) for key, value in own.items())
    again = pretrain([pictures], tmp_path / "again", epochs=1, options=PretrainingOptions(settings=TINY, start=weights))
    assert again.metrics["loss_pictures"] > 0
    with pytest.raises(WeightsError, match="no tensor of S4D's trunk"):
        pretrain([pictures], tmp_path, epochs=1, options=PretrainingOptions(settings={**TINY, "width": 16}, start=weights))


def test_faces_that_are_tested_are_left_out(tmp_path: Path) -> None:
    pictures, clips = corpora(tmp_path)
    samples = read_samples([pictures, clips], fold=2)
    assert (len(samples.pictures), len(samples.clips)) == (36, 12)
    tested = {line.split(",")[0] for line in clips.read_text().splitlines() if line.endswith("fold2")}
    assert not tested & {Path(path).name for path in samples.clips}
    moved = tmp_path / "elsewhere.csv"
    moved.write_text(pictures.read_text())
    assert read_samples([moved, clips], [pictures.parent, clips.parent], 2) == samples
    assert len(read_samples([pictures], limit=5).pictures) == 5
    with pytest.raises(InputError, match="has the folds 1, 2; name the one that is tested later"):
        read_samples([pictures, clips])
    with pytest.raises(InputError, match="a root for each of the 2 corpora"):
        read_samples([pictures, clips], [tmp_path], 1)
    with pytest.raises(InputError, match="cannot be built"):
        pretrain([pictures], tmp_path, options=PretrainingOptions(settings={"speed": 3}))


def test_batches_are_of_one_kind_and_cover_everything(tmp_path: Path) -> None:
    samples = read_samples(corpora(tmp_path), fold=1)
    batches = epoch_batches(samples, 8, 7, 0)
    for kind, paths in (("pictures", samples.pictures), ("clips", samples.clips)):
        assert sorted(number for one, numbers in batches if one == kind for number in numbers) == list(range(len(paths)))
    assert batches != epoch_batches(samples, 8, 7, 1)
    assert batches == epoch_batches(samples, 8, 7, 0)


def test_the_frames_of_a_clip_are_cut_alike() -> None:
    levels = torch.rand(4, 1, 3, 16, 16).expand(-1, 3, -1, -1, -1)
    cut = cropped(levels, torch.Generator().manual_seed(1))
    assert torch.equal(cut[:, 0], cut[:, 2])
    assert not torch.allclose(cut[:, 0], levels[:, 0], atol=0.05)
    assert float(cut.min()) >= 0
    assert float(cut.max()) <= 1
