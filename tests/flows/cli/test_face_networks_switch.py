"""Settings that switch the static or the dynamic face to a network, and `dyad score` with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from configs.settings import Settings, load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.clip import Clip
from data.media.crops import CropWriter
from data.run_folder import RunFolder
from data.scores import Scores
from data.tables import write_table
from flows.backends import NotHere, backend_of
from flows.backends.face_networks import network_files
from flows.backends.score_table import score_table
from flows.cli.options import face_overrides
from flows.job import Job
from modalities.face_networks import recognise as recogniser
from modalities.face_networks.registry import build_network, network_table
from modalities.loading.state_dicts import read_state_dict
from tests.drawn_faces import draw_face
from tests.face_corpora import SMALL, write_tiny_clip

TINY: dict[str, Any] = {
    "size": 32, "patch": 8, "frames": 4, "width": 24, "depth": 2, "heads": 4, "expert_blocks": [1], "experts": {"experts": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny S4D with random weights, as its authors save one."""
    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("network") / "s4d.pt"
    network = build_network(network_table().choose("s4d"), TINY)
    torch.save({"model": {key: 3 * value for key, value in network.state_dict().items()}}, path)
    path.with_suffix(".json").write_text(json.dumps({"settings": TINY, "input": {"size": 32, "frames": 4}}))
    return path


def switched(folder: Path, **sections: Any) -> Settings:
    """The settings of a YAML file with these sections."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"precision": "float32", **sections}))
    return load_settings(str(path))


def job_of(folder: Path, settings: Settings) -> Job:
    """A clip of 6 s with one face a fifth of a second, as decoding and finding faces leave it."""
    run, count = RunFolder(folder / "run"), 30
    run.crops.parent.mkdir(parents=True)
    random = np.random.default_rng(2)
    with CropWriter(run.crops, 40) as writer:
        for _ in range(count):
            writer.append(random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    number = np.arange(count)
    columns = {"face": number, "frame": number, "time_s": number * 0.2, "track_id": 1, "main": True}
    write_table(run.faces, pd.DataFrame(columns))
    return Job(Clip(folder / "clip.mp4", "clip-0", "0" * 64, 6.0, 5.0, 64, 64, has_video=True), run, settings)


def test_yaml_switches_both_branches_of_the_face(checkpoint: Path, tmp_path: Path) -> None:
    chosen = {"backend": "network", "network": "s4d", "checkpoint": str(checkpoint)}
    job = job_of(tmp_path, switched(tmp_path, static_face=chosen, dynamic_face=dict(chosen)))
    for modality in ("static_face", "dynamic_face"):
        backend = backend_of(job.settings, modality)
        scores: Scores = backend.recognise(job)
        assert scores.modality == modality
        assert scores.present.all()
        np.testing.assert_allclose(scores.probabilities.sum(1), 1, atol=1e-5)
        assert (scores.source.backend, scores.source.model) == ("network", "s4d")
        before = backend.inputs(job)
        notes = checkpoint.with_suffix(".json")
        notes.write_text(notes.read_text() + "\n")
        assert backend.inputs(job) != before  # another checkpoint, another answer


def test_a_network_without_a_checkpoint_is_absent_with_its_remedy(tmp_path: Path) -> None:
    job = job_of(tmp_path, switched(tmp_path, dynamic_face={"backend": "network", "network": "ifdd-xs"}))
    with pytest.raises(NotHere, match="name no checkpoint for the network ifdd-xs") as caught:
        backend_of(job.settings, "dynamic_face").recognise(job)
    assert "dynamic_face.checkpoint" in caught.value.remedy
    assert backend_of(job.settings, "dynamic_face").inputs(job) == {"checkpoint": ""}
    settings = switched(tmp_path, static_face={"backend": "network", "network": "ifdd-xs"})
    with pytest.raises(InputError, match="no network for the static face"):
        network_files(settings, "static")


def test_a_clip_alone_answers_where_the_network_can(tmp_path: Path) -> None:
    clip = write_tiny_clip(tmp_path / "clip.safetensors")
    settings = switched(tmp_path, static_face={"backend": "network", "network": "ke-fer-clip", "model": str(clip)})
    assert network_files(settings, "static") == ((), clip)
    row = network_table().choose("ke-fer-clip")
    tiny = replace(row, settings={**row.settings, "shape": SMALL}, input=replace(row.input, size=SMALL["size"]))
    model = recogniser.load(tiny, "static", [], clip=clip, precision="float32")
    faces = np.random.default_rng(1).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    np.testing.assert_allclose(recogniser.score_images(model, faces).sum(1), 1, atol=1e-5)
    with pytest.raises(WeightsError, match="leaves the weights of CLIP open"):
        recogniser.load(tiny, "static", [])


def test_landmarks_and_parsing_are_drawn_for_a_network_that_takes_them(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    from modalities.face_networks.own_checkpoints import save_trained

    clip, row = write_tiny_clip(tmp_path / "clip.safetensors"), network_table().choose("fineclip")
    settings = {"labels": list(network_table().labels("dfew")), "shape": SMALL, "frames": 2}
    torch.manual_seed(3)
    network = build_network(row, settings)
    network.take_clip(read_state_dict(clip))
    reads = replace(row.input, size=SMALL["size"], frames=2)
    save_trained(tmp_path / "own.safetensors", network, row, "dynamic", network_table().labels("dfew"), settings, reads)
    face = draw_face("happiness", np.random.default_rng(1))
    shown = [[np.repeat(face[:, :, None], 3, 2)] * 2]
    plain, whole = (
        recogniser.load(row, "dynamic", [tmp_path / "own.safetensors"], streams=streams, precision="float32")
        for streams in (False, True)
    )
    assert (plain.streams, whole.streams) == (False, True)
    assert "landmarks and parsing drawn" in whole.source.preprocessing
    answers = [recogniser.describe_clips(model, shown)[0].probabilities for model in (plain, whole)]
    assert np.abs(answers[0] - answers[1]).max() > 1e-6
    with pytest.raises(WeightsError, match="was trained as fineclip for the dynamic face"):
        recogniser.load(row, "static", [tmp_path / "own.safetensors"])


def pictures_in(folder: Path, count: int = 3) -> Path:
    """A folder of pictures of several sizes."""
    import cv2

    folder.mkdir(parents=True)
    random = np.random.default_rng(4)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8))
    return folder


def test_folders_of_crops_are_scored_by_a_network(checkpoint: Path, tmp_path: Path) -> None:
    settings = switched(tmp_path, static_face={"backend": "network", "network": "s4d", "checkpoint": str(checkpoint)})
    answers = score_table("static_face", pictures_in(tmp_path / "faces"), tmp_path / "out.csv", settings)
    table = pd.read_csv(tmp_path / "out.csv")
    assert [Path(name).name for name in table["input"]] == ["0.png", "1.png", "2.png"]
    np.testing.assert_allclose(table[list(BASIC_EMOTIONS)].sum(axis=1), 1, atol=1e-4)
    np.savez(tmp_path / "grey.npz", images=np.zeros((2, 48, 48), np.uint8))
    assert score_table("static_face", tmp_path / "grey.npz", tmp_path / "grey.csv", settings).basic.shape == (2, 7)
    assert answers.basic.shape == (3, 7)


@pytest.mark.parametrize("backend", ["network", "embedded"])
def test_folders_of_clips_are_scored(checkpoint: Path, tmp_path: Path, backend: str) -> None:
    chosen = {"backend": backend, "network": "s4d", "checkpoint": str(checkpoint)}
    settings = switched(tmp_path, dynamic_face=chosen)
    for name in ("a", "b"):
        pictures_in(tmp_path / "clips" / name, 6)
    answers = score_table("dynamic_face", tmp_path / "clips", tmp_path / "out.csv", settings)
    assert [Path(name).name for name in answers.names] == ["a", "b"]
    np.testing.assert_allclose(answers.basic.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answers.basic[0], answers.basic[1], atol=1e-6)  # the same pictures in both
    (tmp_path / "list.csv").write_text("path\nclips/b\n")
    listed = score_table("dynamic_face", tmp_path / "list.csv", tmp_path / "listed.csv", settings)
    np.testing.assert_allclose(listed.basic[0], answers.basic[1], atol=1e-6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no clips"):
        score_table("dynamic_face", tmp_path / "empty", tmp_path / "none.csv", settings)


def test_networks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli.models import networks

    networks()
    shown = capsys.readouterr().out
    for row in network_table().networks.values():
        assert f"{row.name} " in shown
        assert row.checkpoint["source"] in shown
    assert "100.51 M" in shown
    networks(as_json=True)
    listed = json.loads(capsys.readouterr().out)["networks"]
    assert {row["name"] for row in listed} == set(network_table().networks)


def test_one_word_on_the_command_line_means_these_settings(tmp_path: Path) -> None:
    meant = face_overrides("s4d=a.safetensors", "avcer=resnet.pt,lstm.pt")
    settings = load_settings("embedded", meant)
    assert (settings.static_face.backend, settings.static_face.network) == ("network", "s4d")
    assert settings.static_face.checkpoint == Path("a.safetensors")
    assert (settings.dynamic_face.checkpoint, settings.dynamic_face.head) == (Path("resnet.pt"), Path("lstm.pt"))
    assert face_overrides("transformers", None) == {"static_face": {"backend": "transformers"}}
    assert face_overrides(None, None) == {}
    with pytest.raises(InputError, match="'video-mamba' is no network for the dynamic face"):
        face_overrides(None, "video-mamba=x.pt")


def test_where_says_which_network_a_profile_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli.models import where

    chosen = {"backend": "network", "network": "s4d", "checkpoint": str(tmp_path / "gone.pt")}
    settings = switched(tmp_path, static_face=chosen)
    where(str(tmp_path / "mine.yaml"))
    assert f"s4d, no checkpoint: there is no file {tmp_path / 'gone.pt'}" in capsys.readouterr().out
    with pytest.raises(WeightsError, match="There are no weights at"):
        score_table("static_face", pictures_in(tmp_path / "faces"), tmp_path / "o.csv", settings)


def test_what_dyad_fetched_is_taken_without_being_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    static = switched(tmp_path, static_face={"backend": "network", "network": "emoaffectnet"})
    with pytest.raises(NotHere) as caught:
        network_files(static, "static")
    assert "./dyad models download avcer" in caught.value.remedy
    dynamic = switched(tmp_path, dynamic_face={"backend": "network", "network": "avcer"})
    folder = tmp_path / "models" / "hub" / "ElenaRyumina" / "face_emotion_recognition"
    folder.mkdir(parents=True)
    (folder / "FER_static_ResNet50_AffectNet.pt").touch()
    assert network_files(static, "static") == ((folder / "FER_static_ResNet50_AffectNet.pt",), None)
    with pytest.raises(NotHere):
        network_files(dynamic, "dynamic")
    (folder / "FER_dinamic_LSTM_Aff-Wild2.pt").touch()
    assert [file.name for file in network_files(dynamic, "dynamic")[0]] == [
        "FER_static_ResNet50_AffectNet.pt", "FER_dinamic_LSTM_Aff-Wild2.pt",
    ]  # fmt: skip
