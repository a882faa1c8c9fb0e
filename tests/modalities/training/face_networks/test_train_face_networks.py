"""Training the face networks on a corpus of one's own: it learns, outlives being killed, keeps its parts of the data apart."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data.errors import InputError, WeightsError
from modalities.face_networks.own_checkpoints import load_trained
from modalities.face_networks.papers import dfer_clip, ke_fer
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.registry import NetworkInput, network_table
from modalities.face_networks.views import frame_indices, read_views
from modalities.loading.checkpoint import Card
from modalities.training.common import Progress, read_resume
from modalities.training.face_networks.batches import BatchMaker, changed, epoch_order, mixed
from modalities.training.face_networks.corpus import read_face_corpus
from modalities.training.face_networks.loop import follow
from modalities.training.face_networks.recipes import Recipe, choose_parameters, make_optimiser, rate_factor, recipes_of
from modalities.training.face_networks.train import FaceTrainingOptions, files_of, train
from tests.face_corpora import LABELS, SMALL, write_clips, write_pictures, write_tiny_clip
from tests.modalities.training.face_networks.kills import killed_at_save

BASIC = network_table().labels("basic")
QUICK = {"rate": 2e-3, "batch": 16, "layer_decay": 1.0, "augment": 0.0, "weight_decay": 0.01}
TEMPORAL = {"frames": 4, "heads": 2, "head_width": 16, "hidden": 64}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "clip.safetensors")


def small(clip: Path, **others: Any) -> FaceTrainingOptions:
    given = {"labels": "basic", "clip": clip, "settings": {"shape": SMALL}, "reads": {"size": 32}, "recipe": QUICK} | others
    return FaceTrainingOptions(**given)


def tensors_of(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


# ---- the whole way -------------------------------------------------------------------------------------------------------


def test_a_network_learns_a_corpus_and_is_loaded_again(tmp_path: Path, clip: Path) -> None:
    manifest, seen = write_pictures(tmp_path / "faces", 240), list[Progress]()
    card = train(manifest, tmp_path / "out", network="ke-fer-clip", epochs=12, options=small(clip), report=seen.append)
    assert card.metrics["uar"] > 0.5  # chance: 0.25
    assert set(card.per_class_recall) == set(LABELS)
    files = files_of(tmp_path / "out", "static", "ke-fer-clip")
    assert Card.read(files.card) == card
    assert "on the test part" in files.card.read_text(encoding="utf-8")
    assert {path.name for path in files.weights.parent.iterdir()} == {
        files.weights.name, files.card.name, files.curves.name, files.curves_json.name
    }  # fmt: skip
    curves = json.loads(files.curves_json.read_text(encoding="utf-8"))
    assert len(curves) == len(seen) == 12
    assert curves[-1]["loss"] < curves[0]["loss"] / 2
    assert len(files.curves.read_text(encoding="utf-8").splitlines()) == 13
    found = load_trained(files.weights)
    assert (found.row.name, found.kind, found.labels, found.reads.size) == ("ke-fer-clip", "static", BASIC, 32)
    corpus = read_face_corpus(manifest, BASIC)
    maker = BatchMaker(found.row, found.reads, 7, streams=False, captions=False, device="cpu")
    drawn = maker.drawn(corpus.test, [read_views(one.path, found.reads) for one in corpus.test])
    with torch.no_grad():
        answers = found.network.answer(maker.normalised(maker.inputs(drawn))).logits.argmax(1).numpy()
    assert (answers == drawn.classes).mean() == pytest.approx(card.metrics["war"], abs=1e-4)


MANY = {**QUICK, "accumulate": 2, "batch": 8, "average": 0.9, "mixup": 0.4, "smoothing": 0.1, "augment": 1.0, "balanced": True}


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path, clip: Path) -> None:
    manifest = write_pictures(tmp_path / "faces", 64)
    options = small(clip, recipe=MANY, save_every=2)
    train(manifest, tmp_path / "whole", network="ke-fer-clip", epochs=2, options=options)
    resume = files_of(tmp_path / "cut", "static", "ke-fer-clip").resume
    program = (
        "import sys, torch; from pathlib import Path\n"
        "from modalities.training.face_networks.train import FaceTrainingOptions, train\n"
        f"torch.set_num_threads(1); settings, clip = {{'shape': {SMALL}}}, Path({str(clip)!r})\n"
        f"options = FaceTrainingOptions(labels='basic', clip=clip, settings=settings, reads={{'size': 32}}, recipe={MANY}, "
        "save_every=2)\n"
        f"train(Path({str(manifest)!r}), Path({str(tmp_path / 'cut')!r}), network='ke-fer-clip', epochs=2, options=options)"
    )
    killed_at_save(program, resume, 4)
    kept = torch.load(resume, weights_only=True)
    assert (kept["epoch"], kept["updates"]) == (1, 4)  # within an epoch
    assert not files_of(tmp_path / "cut", "static", "ke-fer-clip").weights.exists()
    train(manifest, tmp_path / "cut", network="ke-fer-clip", epochs=2, options=options)
    first, second = (tensors_of(files_of(tmp_path / place, "static", "ke-fer-clip").weights) for place in ("whole", "cut"))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
    curves = [files_of(tmp_path / place, "static", "ke-fer-clip").curves.read_text() for place in ("whole", "cut")]
    assert curves[0] == curves[1]


@pytest.mark.long
def test_two_processes_train_as_one(tmp_path: Path, clip: Path) -> None:
    manifest = write_clips(tmp_path / "clips", 18)
    given = {"fold": 1, "settings": {"shape": SMALL, "temporal": TEMPORAL}, "reads": {"size": 32, "frames": 4},
             "recipe": {"batch": 4, "augment": 0.0}}  # fmt: skip
    train(manifest, tmp_path / "one", network="dfer-clip", kind="dynamic", epochs=2, options=small(clip, **given))
    program = tmp_path / "program.py"
    program.write_text(
        "import torch; from pathlib import Path; from modalities.training.face_networks.train import FaceTrainingOptions, train\n"
        f"torch.set_num_threads(1); options = FaceTrainingOptions(labels='basic', clip=Path({str(clip)!r}), **{given})\n"
        f"train(Path({str(manifest)!r}), Path({str(tmp_path / 'two')!r}), network='dfer-clip', kind='dynamic', epochs=2, "
        "options=options)\n"
    )
    root = Path(__file__).parents[4]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    subprocess.run(torchrun, cwd=root, check=True, env=os.environ | {"PYTHONPATH": str(root)}, timeout=300)
    first, second = (files_of(tmp_path / place, "dynamic", "dfer-clip", 1) for place in ("one", "two"))
    ours, theirs = tensors_of(first.weights), tensors_of(second.weights)
    moved = [key for key, value in ours.items() if not torch.equal(value, theirs[key])]
    assert moved, "sums in another order differ in the last digits where anything was trained"
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-4)
    curves = [json.loads(one.curves_json.read_text()) for one in (first, second)]
    assert [row["loss"] for row in curves[0]] == pytest.approx([row["loss"] for row in curves[1]], rel=1e-3)
    assert Card.read(second.card).metrics == pytest.approx(Card.read(first.card).metrics, abs=1e-3)


def test_other_arguments_start_anew(tmp_path: Path, clip: Path) -> None:
    manifest = write_pictures(tmp_path / "faces", 40)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path, network="ke-fer-clip", epochs=2, options=small(clip), report=stop)
    resume = files_of(tmp_path, "static", "ke-fer-clip").resume
    about = torch.load(resume, weights_only=True)["about"]
    assert read_resume(resume, about) is not None
    assert read_resume(resume, about | {"seed": 8}) is None
    seen = list[Progress]()
    train(manifest, tmp_path, network="ke-fer-clip", epochs=2, seed=8, options=small(clip), report=seen.append)
    assert [one.step for one in seen] == [1, 2]


def test_the_two_stages_of_cliper(tmp_path: Path, clip: Path) -> None:
    manifest = write_pictures(tmp_path / "faces", 40)
    recipe = {"batch": 16, "augment": 0.0}
    train(manifest, tmp_path, network="cliper", epochs=3, options=small(clip, recipe=recipe))
    files = files_of(tmp_path, "static", "cliper")
    assert [row["stage"] for row in json.loads(files.curves_json.read_text())] == [1, 1, 2]
    written, before = load_trained(files.weights).network.state_dict(), tensors_of(clip)
    for key, value in before.items():
        if not key.startswith("visual."):
            assert torch.equal(written[f"net.{key}"], value), key


def test_dynamic_network_with_low_rank_adapters_on_a_fold(tmp_path: Path, clip: Path) -> None:
    pytest.importorskip("peft")
    manifest = write_clips(tmp_path / "clips", 40)
    options = small(
        clip, settings={"shape": SMALL, "temporal": TEMPORAL}, reads={"size": 32, "frames": 4}, lora=2, fold=2,
        recipe={"batch": 8, "augment": 0.0, "rate": 1e-2},
    )  # fmt: skip
    card = train(manifest, tmp_path, network="dfer-clip", kind="dynamic", epochs=2, options=options)
    assert "20 samples" in card.split
    files = files_of(tmp_path, "dynamic", "dfer-clip", 2)
    assert "--lora 2" in card.command
    network, before = load_trained(files.weights).network, tensors_of(clip)
    assert isinstance(network, dfer_clip.DferClip)
    changed_keys = {key for key, value in before.items() if not torch.equal(network.clip_model_.state_dict()[key], value)}
    inside = [f"{block}.{part}.weight" for block in (0, 1) for part in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj")]
    assert changed_keys == {f"visual.transformer.resblocks.{name}" for name in inside}


@pytest.mark.long
def test_dfer_clip_learns_what_only_the_order_of_frames_tells(tmp_path: Path, clip: Path) -> None:
    manifest = write_clips(tmp_path / "clips", 120, frames=4)
    recipe = {"batch": 8, "augment": 0.0, "optimiser": "adamw", "groups": {}, "rate": 1e-3, "schedule": "cosine"}
    options = small(clip, settings={"shape": SMALL, "temporal": TEMPORAL}, reads={"size": 32, "frames": 4}, fold=1, recipe=recipe)
    card = train(manifest, tmp_path, network="dfer-clip", kind="dynamic", epochs=18, options=options)
    assert card.metrics["war"] > 0.7  # any model of single frames, in whatever order: 0.5
    found = load_trained(files_of(tmp_path, "dynamic", "dfer-clip", 1).weights)
    corpus = read_face_corpus(manifest, BASIC, fold=1)
    maker = BatchMaker(found.row, found.reads, 7, streams=False, captions=False, device="cpu")
    drawn = maker.drawn(corpus.test, [read_views(one.path, found.reads) for one in corpus.test])
    inputs = maker.normalised(maker.inputs(drawn))
    with torch.no_grad():
        backwards = found.network.answer(inputs._replace(pixels=inputs.pixels.flip(1))).logits.argmax(1).numpy()
    assert (backwards == drawn.classes).mean() < 0.3


@pytest.mark.parametrize(
    ("name", "kind", "settings", "reads"),
    [
        ("s4d", "dynamic", {"size": 16, "patch": 8, "frames": 4, "width": 24, "depth": 3, "heads": 4, "expert_blocks": [1, 2],
                            "experts": {"experts": 4}}, {"size": 16, "frames": 4}),
        ("s4d", "static", {"size": 16, "patch": 8, "frames": 4, "width": 24, "depth": 3, "heads": 4, "expert_blocks": [1, 2],
                           "experts": {"experts": 4}}, {"size": 16}),
        ("ifdd-xs", "dynamic", {"size": 32, "frames": 8, "widths": [8, 16, 32, 64]}, {"size": 32, "frames": 8}),
    ],
)  # fmt: skip
def test_networks_without_texts_are_trained_and_loaded_too(
    tmp_path: Path, name: str, kind: Any, settings: Any, reads: Any
) -> None:
    manifest = write_clips(tmp_path / "clips", 16)
    options = FaceTrainingOptions(labels="mafw-s4d", settings=settings, reads=reads, fold=1, recipe={"batch": 8})
    train(manifest, tmp_path, network=name, kind=kind, epochs=1, options=options)
    found = load_trained(files_of(tmp_path, kind, name, 1).weights)
    inputs = FaceInputs(torch.rand(2, found.reads.frames, 3, found.reads.size, found.reads.size))
    with torch.no_grad():
        assert found.network.answer(inputs).logits.shape == (2, 11)


def test_streams_and_captions_reach_fineclip(tmp_path: Path, clip: Path) -> None:
    pytest.importorskip("mediapipe")
    manifest = write_clips(tmp_path / "clips", 12, frames=2)
    lines = manifest.read_text().splitlines()
    said = [f"{line},the mouth curves {'up' if 'happiness' in line else ''}" for line in lines[1:]]
    manifest.write_text("\n".join([lines[0] + ",caption", *said]) + "\n")
    options = small(clip, settings={"shape": SMALL, "frames": 2}, reads={"size": 32, "frames": 2}, streams=True, fold=1,
                    recipe={"batch": 4, "rate": 1e-2, "augment": 0.5})  # fmt: skip
    train(manifest, tmp_path, network="fineclip", kind="dynamic", epochs=1, options=options)
    written = tensors_of(files_of(tmp_path, "dynamic", "fineclip", 1).weights)
    assert bool(written["network.stream_weights"].ne(0).all())
    assert bool(written["network.part_adapters.blocks.0.joint.up.weight"].ne(0).any())
    assert all(torch.equal(written[f"network.clip.{key}"], value) for key, value in tensors_of(clip).items())


def test_the_flow_publishes_curves_and_card(tmp_path: Path, clip: Path, prefect_session: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.face_training import means_of, train_face_network

    manifest = write_clips(tmp_path / "clips", 16)
    options = {"labels": "basic", "clip": clip, "settings": {"shape": SMALL, "temporal": TEMPORAL},
               "reads": {"size": 32, "frames": 4}, "recipe": {"batch": 8}}  # fmt: skip
    cards = train_face_network("dfer-clip", "dynamic", manifest, tmp_path, [1, 2], epochs=1, options=options)
    assert means_of(cards)["war"] == pytest.approx((cards[0].metrics["war"] + cards[1].metrics["war"]) / 2)
    assert load_trained(files_of(tmp_path, "dynamic", "dfer-clip", 1).weights).network
    wanted = {f"{kind}-dynamic-dfer-clip-fold{fold}" for kind in ("curves", "card", "training") for fold in (1, 2)}
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=sorted(wanted))))
    assert {artifact.key for artifact in found} == wanted


# ---- faults --------------------------------------------------------------------------------------------------------------


def test_what_a_training_cannot_do_is_said(tmp_path: Path, clip: Path) -> None:
    manifest = write_pictures(tmp_path / "faces", 24)
    with pytest.raises(InputError, match="no network for the static face"):
        train(manifest, tmp_path, network="dfer-clip", options=small(clip))
    with pytest.raises(InputError, match="--clip"):
        train(manifest, tmp_path, network="ke-fer", options=FaceTrainingOptions())
    with pytest.raises(InputError, match="leave --lora out"):
        train(manifest, tmp_path, network="ke-fer", options=small(clip, lora=2))
    with pytest.raises(WeightsError, match="no tensor of this network"):
        train(manifest, tmp_path, network="ke-fer", options=small(clip, start=clip))
    (tmp_path / "faces" / "000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"000\.png cannot be read as face crops"):
        train(manifest, tmp_path, network="ke-fer-clip", epochs=1, options=small(clip))


def test_command_line_says_what_is_missing(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from flows.cli.app import app

    runner = CliRunner()
    wrong = ["--network", "s4d", "--corpus", "x", "--precision", "8"]
    for given in (["--network", "s4d"], [], ["--data", "x", "--network", "s4d"], wrong):
        answer = runner.invoke(app, ["train", "static-face", *given])
        assert isinstance(answer.exception, InputError), given
    bad = tmp_path / "recipe.yaml"
    bad.write_text("- 1\n")
    answer = runner.invoke(app, ["train", "dynamic-face", "--network", "s4d", "--corpus", "x", "--recipe", str(bad)])
    assert "must hold fields" in str(answer.exception)


# ---- corpora -------------------------------------------------------------------------------------------------------------


def write_manifest(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_parts_of_a_corpus_never_meet(tmp_path: Path) -> None:
    rows = [f"{n}.png,{LABELS[n % 4]},fold{1 + n % 5},{'' if n % 7 else 'contempt'}" for n in range(100)]
    manifest = write_manifest(tmp_path / "m.csv", "path,label,split,corpus_label", *rows)
    corpus = read_face_corpus(manifest, BASIC, fold=3)
    parts = [{sample.path for sample in part} for part in (corpus.fit, corpus.choose, corpus.test)]
    assert [len(part) for part in parts] == [72, 8, 20]
    assert len(set.union(*parts)) == 100
    assert {sample.label for sample in corpus.choose} == {BASIC.index(name) for name in LABELS}
    assert read_face_corpus(manifest, BASIC, fold=3) == corpus
    with pytest.raises(InputError, match="1, 2, 3, 4, 5; name one"):
        read_face_corpus(manifest, BASIC)
    with pytest.raises(InputError, match="folds 1"):
        read_face_corpus(manifest, BASIC, fold=9)


def test_rows_that_are_left_out_are_counted_and_told(tmp_path: Path) -> None:
    rows = [f"{n}.png,{LABELS[n % 4]}" for n in range(40)]
    far, wrong = ["s3://bucket/a.png,happiness"] * 3, ["../out.png,happiness"] * 2
    corpus = read_face_corpus(write_manifest(tmp_path / "m.csv", "path,label", *rows, *far, *wrong), BASIC)
    assert corpus.notes[:2] == (
        "3 of 45 rows of m.csv are left out as they name addresses: a training reads files of this machine, so copy them first.",
        "2 of 45 rows of m.csv are left out as they cannot be used; the first: Line 45: the path ../out.png leaves the root "
        f"{tmp_path}; correct it, or name a root that holds it.",
    )
    with pytest.raises(InputError, match="3 of 3 rows of m.csv are left out as they name addresses"):
        read_face_corpus(write_manifest(tmp_path / "m.csv", "path,label", *far), BASIC)


def test_speakers_stay_together_and_the_corpus_words_count(tmp_path: Path) -> None:
    rows = [f"{n}.png,,{word},speaker{n % 10}" for n, word in enumerate(["contempt", "Happiness", "anxious"] * 40)]
    manifest = write_manifest(tmp_path / "m.csv", "path,label,corpus_label,speaker", *rows)
    labels = network_table().labels("mafw-s4d")
    corpus = read_face_corpus(manifest, labels, seed=1)
    numbers = [{int(Path(sample.path).stem) % 10 for sample in part} for part in (corpus.fit, corpus.choose)]
    assert not numbers[0] & numbers[1]
    assert {labels[sample.label] for sample in corpus.fit} == {"contempt", "happiness", "anxiety"}
    assert any("no test part" in note for note in corpus.notes)
    few = read_face_corpus(manifest, ("contempt", "anxiety"), seed=1)
    assert any("40 of 120" in note for note in few.notes)
    with pytest.raises(InputError, match="too few samples"):
        read_face_corpus(manifest, ("fear",))


def test_frames_of_pictures_arrays_folders_and_films(tmp_path: Path) -> None:
    import av
    import cv2

    levels = np.arange(10, 250, 24, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (10, 40, 40, 3)).copy()
    np.save(tmp_path / "crops.npy", frames)
    (tmp_path / "folder").mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "folder" / f"{number:02}.png"), frame)
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 40
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    reads = NetworkInput(size=20, frames=5)
    for name in ("crops.npy", "folder", "film.mp4"):
        views = read_views(str(tmp_path / name), reads)
        assert views.shape == (1, 5, 20, 20, 3)
        np.testing.assert_allclose(views[0, :, 10, 10, 0], levels[[1, 3, 5, 7, 9]], atol=3)
    still = read_views(str(tmp_path / "folder" / "03.png"), NetworkInput(size=20))
    assert still.shape == (1, 1, 20, 20, 3)
    with pytest.raises(InputError, match="not there"):
        read_views(str(tmp_path / "none.png"), reads)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture in it"):
        read_views(str(tmp_path / "empty"), reads)


def test_random_frames_keep_their_order_and_stay_inside() -> None:
    chance = np.random.default_rng(0)
    spread, run = NetworkInput(size=8, frames=4), NetworkInput(size=8, frames=4, stride=3, views=2)
    assert frame_indices(40, run).shape == (2, 4)
    for count in (1, 3, 10, 40):
        for reads in (spread, run):
            places = [frame_indices(count, reads, chance) for _ in range(30)]
            assert {one.shape for one in places} == {(1, 4)}
            assert np.diff(np.concatenate(places), axis=1).min() >= 0
            assert set(np.concatenate(places).ravel()) <= set(range(count))
    assert len({tuple(frame_indices(40, spread, chance)[0]) for _ in range(20)}) > 10


# ---- batches -------------------------------------------------------------------------------------------------------------


def test_frames_and_streams_move_together() -> None:
    frames = torch.rand(3, 2, 3, 16, 16)
    inputs = FaceInputs(frames, landmarks=frames, parsing=frames)
    moved = changed(inputs, Recipe(augment=1.0), torch.Generator().manual_seed(1))
    assert torch.equal(moved.landmarks, moved.parsing)
    assert not torch.allclose(moved.landmarks, frames, atol=0.05)
    assert float(moved.pixels.min()) >= 0
    assert float(moved.pixels.max()) <= 1
    assert changed(inputs, Recipe(augment=0.0), torch.Generator()) is inputs
    still = FaceInputs(frames[:, :1].expand(-1, 2, -1, -1, -1))
    both = changed(still, Recipe(), torch.Generator().manual_seed(2)).pixels
    assert (both[:, 0] - both[:, 1]).abs().mean() < 0.1  # noise apart, a clip is not torn


def test_mixup_keeps_shares_whole_and_blends_alike() -> None:
    pixels, shares = torch.rand(4, 1, 3, 8, 8), torch.eye(4)
    blended, targets = mixed(FaceInputs(pixels), shares, 0.8, torch.Generator().manual_seed(3))
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    torch.testing.assert_close(torch.einsum("bc,c...->b...", targets, pixels), blended.pixels)
    assert targets.diagonal().min() >= 0.5
    assert mixed(FaceInputs(pixels), shares, 0.0, torch.Generator())[1] is shares


def test_order_of_an_epoch() -> None:
    classes = np.array([0] * 90 + [1] * 10)
    plain = epoch_order(classes, Recipe(), 7, 0)
    assert sorted(plain) == list(range(100))
    assert not np.array_equal(plain, epoch_order(classes, Recipe(), 7, 1))
    balanced = np.concatenate([epoch_order(classes, Recipe(balanced=True), 7, epoch) for epoch in range(20)])
    assert 0.4 < (classes[balanced] == 1).mean() < 0.6


# ---- recipes -------------------------------------------------------------------------------------------------------------


def test_every_recipe_is_of_a_network_and_can_be_read() -> None:
    import yaml

    from modalities.training.face_networks.recipes import TABLE

    names = set(yaml.safe_load(TABLE.read_text(encoding="utf-8"))) - {"default"}
    assert names <= set(network_table().networks)
    for name in network_table().networks:
        assert recipes_of(name)
    assert [one.epochs for one in recipes_of("cliper", {"epochs": 10})] == [2, 8]
    with pytest.raises(InputError, match="'speed' is no field"):
        recipes_of("s4d", {"speed": 3})
    with pytest.raises(InputError, match="must have epochs"):
        recipes_of("s4d", {"rate": -1})


def test_rates_by_group_and_layer_and_what_is_frozen() -> None:
    network = dfer_clip.build(LABELS, shape=SMALL, temporal=TEMPORAL)
    recipe = recipes_of("dfer-clip")[0]
    rates = choose_parameters(network, recipe)
    assert {name.partition(".")[0] for name in rates} == {"temporal_net", "image_encoder", "prompt_learner"}
    assert rates["prompt_learner.ctx"] == 1e-3
    assert not any(value.requires_grad for key, value in network.text_encoder.named_parameters())
    with pytest.raises(InputError, match="named by 'nothing'"):
        choose_parameters(network, Recipe(groups={"nothing": 1.0}))
    tower = ke_fer.build(LABELS, "clip", shape=SMALL)
    decayed = choose_parameters(tower, Recipe(rate=1.0, layer_decay=0.5))
    assert decayed["encoder.conv1.weight"] == 0.125
    assert decayed["encoder.transformer.resblocks.1.ln_1.weight"] == 0.5
    assert decayed["transformation.inner.0.weight"] == 1.0
    groups = make_optimiser(tower, Recipe(weight_decay=0.1)).param_groups
    decays = {(value.ndim > 1, group["weight_decay"]) for group in groups for value in group["params"]}
    assert decays == {(True, 0.1), (False, 0.0)}


def test_schedules() -> None:
    cosine = [rate_factor(Recipe(warmup=0.1), step, 100) for step in range(100)]
    assert np.diff(cosine[:10]).min() > 0
    assert np.diff(cosine[10:]).max() < 0
    assert max(cosine) == 1.0
    steps = [rate_factor(Recipe(schedule="steps", warmup=0.0), step, 100) for step in (0, 59, 60, 80)]
    assert steps == pytest.approx([1.0, 1.0, 0.1, 0.01])
    restarts = [rate_factor(Recipe(schedule="restarts", warmup=0.0, epochs=20), step, 100) for step in (0, 49, 50)]
    assert restarts[0] == restarts[2] == 1.0
    assert restarts[1] < 0.01


def test_the_average_follows() -> None:
    first, second = (ke_fer.build(LABELS, "clip", shape=SMALL) for _ in range(2))
    key = "transformation.inner.0.weight"
    expected = 0.9 * first.get_parameter(key) + 0.1 * second.get_parameter(key)
    follow(first, second, 0.9)
    torch.testing.assert_close(first.get_parameter(key), expected)
