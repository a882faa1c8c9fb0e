"""Captions for the moving face: what is said of the scene reaches FineCLIPER, window by window, and only where it is wanted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from configs.settings import load_settings
from data.errors import InputError
from data.media.clip import Clip
from data.media.crops import CropWriter
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.tables import read_notes, read_table
from data.windows import make_windows
from flows.clip.graph import NEEDS, before, in_order
from flows.clip.keys import stage_keys
from flows.job import Brought, Job
from modalities.face_networks import recognise as recogniser
from modalities.face_networks.own_checkpoints import save_trained
from modalities.face_networks.papers.fineclip import FineClip
from modalities.face_networks.registry import build_network, network_table
from modalities.loading.state_dicts import read_state_dict
from tests.drawn_faces import draw_face
from tests.face_corpora import SMALL, write_tiny_clip

Dyad = Callable[..., tuple[int, str, str]]
TINY_S4D = {"size": 32, "patch": 8, "frames": 4, "width": 24, "depth": 2, "heads": 4, "expert_blocks": [1]}


@pytest.fixture(scope="module")
def fineclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FineCLIPER with random weights, as Dyad's training writes one."""
    folder, row = tmp_path_factory.mktemp("fineclip"), network_table().choose("fineclip")
    settings = {"labels": list(network_table().labels("basic")), "shape": SMALL, "frames": 2}
    torch.manual_seed(3)
    network = build_network(row, settings)
    assert isinstance(network, FineClip)
    network.take_clip(read_state_dict(write_tiny_clip(folder / "clip.safetensors")))
    reads = replace(row.input, size=SMALL["size"], frames=2)
    save_trained(folder / "fineclip.safetensors", network, row, "dynamic", network_table().labels("basic"), settings, reads)
    return folder / "fineclip.safetensors"


@pytest.fixture(scope="module")
def s4d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny S4D with random weights, as its authors save one."""
    path = tmp_path_factory.mktemp("s4d") / "s4d.pt"
    torch.save({"model": build_network(network_table().choose("s4d"), TINY_S4D).state_dict()}, path)
    path.with_suffix(".json").write_text(json.dumps({"settings": TINY_S4D, "input": {"size": 32, "frames": 4}}))
    return path


def test_each_window_is_told_its_own_caption(fineclip: Path, tmp_path: Path) -> None:
    row = network_table().choose("fineclip")
    model = recogniser.load(row, "dynamic", [fineclip], precision="float32")
    face = np.repeat(draw_face("sadness", np.random.default_rng(1))[:, :, None], 3, 2)
    with CropWriter(tmp_path / "crops.npy", len(face)) as writer:
        for _ in range(40):
            writer.append(face)
    number = np.arange(40)
    faces = pd.DataFrame({"face": number, "frame": number, "time_s": number * 0.2, "track_id": 1, "main": True})
    windows = make_windows(8.0)
    captions = ["the brows rise and the mouth opens", "", "the corners of the mouth fall"]
    given = (tmp_path / "crops.npy", faces, windows)
    told = recogniser.recognise_dynamic(model, *given, captions=captions)
    alone = recogniser.recognise_dynamic(model, *given)
    moved = np.abs(told.probabilities - alone.probabilities).max(1)
    assert moved[1] == 0
    assert moved[[0, 2]].min() > 1e-6
    assert told.evidence.groupby("window")["caption"].first().tolist() == captions
    assert "caption" not in alone.evidence
    assert told.source is not None
    assert told.source.preprocessing.endswith("captions of the scene in 2 of 3 windows")
    nothing = recogniser.recognise_dynamic(model, *given, captions=["", "", ""])
    np.testing.assert_array_equal(nothing.probabilities, alone.probabilities)
    assert nothing.source is not None
    assert "in 0 of 3 windows" in nothing.source.preprocessing


def test_a_network_without_the_stream_says_so(s4d: Path, tmp_path: Path) -> None:
    model = recogniser.load(network_table().choose("s4d"), "dynamic", [s4d])
    with pytest.raises(InputError, match="The network s4d reads no captions"):
        recogniser.recognise_dynamic(model, tmp_path / "crops.npy", pd.DataFrame(), make_windows(4.0), captions=[""])


def test_the_order_of_stages_is_that_of_what_they_wait_for() -> None:
    for captions in (False, True):
        order = in_order(captions)
        assert set(order) == set(NEEDS)
        for place, name in enumerate(order):
            assert set(before(name, captions)) <= set(order[:place])
    assert "scene_context" not in before("dynamic_face")
    assert "scene_context" in before("dynamic_face", captions=True)


def test_only_captions_make_the_moving_face_depend_on_descriptions(fineclip: Path, tmp_path: Path) -> None:
    clip = Clip(tmp_path / "clip.mp4", "clip-0", "0" * 64, 6.0, 5.0, 64, 64, has_video=True)
    (tmp_path / "said.csv").write_text("window,text\n0,A smile.\n")
    keys = []
    for captions in (False, True):
        chosen = {"backend": "network", "network": "fineclip", "checkpoint": str(fineclip), "captions": captions}
        for brought in (Brought(), Brought(descriptions=tmp_path / "said.csv")):
            job = Job(clip, RunFolder(tmp_path / "run"), load_settings(overrides={"dynamic_face": chosen}), brought)
            keys.append(stage_keys(job)["dynamic_face"])
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.slow
def test_a_batch_with_networks_named_on_the_command_line_and_captions(
    dyad: Dyad, fineclip: Path, s4d: Path, tmp_path: Path
) -> None:
    profile, manifest, runs = tmp_path / "mine.yaml", tmp_path / "clips.csv", tmp_path / "runs"
    profile.write_text(yaml.safe_dump({"precision": "float32", "dynamic_face": {"captions": True}}))
    said = sample_clip().with_name("sample_descriptions.csv")
    manifest.write_text(f"path,clip_id,end,descriptions\n{sample_clip()},told,,{said}\n{sample_clip()},untold,5,\n")
    networks = ("--static-face", f"s4d={s4d}", "--dynamic-face", f"fineclip={fineclip}")
    code, _, err = dyad("batch", manifest, "--root", "/", "-o", runs, "--profile", profile, *networks, "--export", "csv")
    assert code == 0, err
    answers = {name: read_notes(runs / name / "static_face.parquet")["source"]["model"] for name in ("told", "untold")}
    assert answers == {"told": "s4d", "untold": "s4d"}
    told, untold = (read_table(runs / name / "dynamic_face_evidence.parquet")["caption"] for name in ("told", "untold"))
    assert set(untold) == {""}
    assert pd.read_csv(said)["text"][0] in told.iloc[0]
    assert "in 0 of" in read_notes(runs / "untold" / "dynamic_face.parquet")["source"]["preprocessing"]
    assert dyad("batch", manifest, "--root", "/", "-o", runs, "--dynamic-face", "video-mamba")[0] == 2


@pytest.mark.slow
def test_a_single_run_waits_for_the_descriptions_too(dyad: Dyad, fineclip: Path, tmp_path: Path) -> None:
    profile, said = tmp_path / "mine.yaml", sample_clip().with_name("sample_descriptions.csv")
    profile.write_text(yaml.safe_dump({"precision": "float32", "dynamic_face": {"captions": True}}))
    command = ("run", sample_clip(), "-o", tmp_path / "runs", "--profile", profile, "--dynamic-face", f"fineclip={fineclip}")
    code, _, err = dyad(*command, "--descriptions", said)
    assert code == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    assert pd.read_csv(said)["text"][0] in read_table(folder / "dynamic_face_evidence.parquet")["caption"].iloc[0]
    code, _, err = dyad(*command)
    assert code == 0, err
    (other,) = {*(tmp_path / "runs").iterdir()} - {folder}  # what is asked is not the same
    assert set(read_table(other / "dynamic_face_evidence.parquet")["caption"]) == {""}


def test_scores_are_told_the_captions_of_their_table(dyad: Dyad, fineclip: Path, s4d: Path, tmp_path: Path) -> None:
    clip = np.repeat(draw_face("sadness", np.random.default_rng(2))[None, :, :, None], 4, 0).repeat(3, 3)
    np.save(tmp_path / "a.npy", clip)
    answers = []
    for caption in ("the brows rise", ""):
        (tmp_path / "clips.csv").write_text(f"path,caption\na.npy,{caption}\n")
        for network in (f"fineclip={fineclip}", f"s4d={s4d}"):
            command = ("score", "dynamic-face", tmp_path / "clips.csv", "-o", tmp_path / "out.csv", "--dynamic-face", network)
            code, _, err = dyad(*command)
            assert code == 0, err
            answers.append(pd.read_csv(tmp_path / "out.csv")["happiness"][0])
    assert abs(answers[0] - answers[2]) > 1e-6
    assert answers[1] == answers[3]
