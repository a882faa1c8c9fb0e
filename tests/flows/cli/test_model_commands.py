"""`dyad models`: list, download, verify, remove and where."""

import json
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from modalities.model_store.local import find_clip, models_folder
from modalities.model_store.store import fetch
from modalities.model_store.table import model_table
from modalities.scene_labels import zero_shot as scene_labels
from modalities.transcript import whisper as transcript
from tests.hub_stand_in import files_server, repository_files
from tests.tiny_models import save_tiny_clip

Dyad = Callable[..., tuple[int, str, str]]
CLIP = model_table().models["clip-vit-b-16-laion2b"]
"""One whose digest is not known beforehand, so that small weights can stand in."""
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dyad's folder of models, empty, and no other model on the machine."""
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("DYAD_MIRROR", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    return models_folder()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror folder with tiny CLIPs, one in the place of a larger one, and something else in that of a Whisper."""
    folder = tmp_path / "mirror"
    for row in (CLIP, model_table().choose("clip")[0]):
        save_tiny_clip(folder / row.repository)
    (folder / "whisper").mkdir(parents=True)
    for size in ("small", "base"):
        (folder / "whisper" / f"{size}.pt").write_bytes(b"not Whisper")
    return folder


def put_classifier(folder: Path) -> Path:
    """A folder that looks like a classifier of transformers."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_list_is_by_purpose_with_licences_and_what_is_here(dyad: Dyad, mirror: Path) -> None:
    fetch(CLIP, mirror)
    code, out, _ = dyad("models", "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "here" in lines[CLIP.name]
    assert "NO COMMERCIAL USE, unverified, no commit or digests known" in lines["mobileclip2-s2"]
    assert "here" not in lines["whisper-small"]
    assert re.search(r"^  cpu +1.6 GB +clip-vit-b-32-laion2b, ", out, re.M)
    assert out.index("scene labels:") < out.index("scene context:") < out.index("text:") < out.index("transcript:")
    places = {lines[name].index("Apache-2.0") for name in ("qwen3-vl-2b", "qwen2.5-vl-32b")}
    assert len(places) == 1, "columns are aligned"


def test_list_as_json(dyad: Dyad, mirror: Path) -> None:
    fetch(CLIP, mirror)
    listed = json.loads(dyad("models", "list", "--json")[1])
    rows = {row["name"]: row for row in listed["models"]}
    assert rows[CLIP.name]["here"] is True
    assert rows["qwen3-vl-4b"]["here"] is False
    assert rows["qwen3-vl-4b"]["repository"] == "Qwen/Qwen3-VL-4B-Instruct"
    assert listed["groups"]["clip"] == ["clip-vit-b-32-laion2b"]


def test_download_verify_remove_and_where(dyad: Dyad, mirror: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No model has been fetched" in dyad("models", "verify")[1]
    assert "none; run 'dyad models download clip'" in dyad("models", "where")[1]
    monkeypatch.setenv("DYAD_MIRROR", str(mirror))
    code, out, err = dyad("models", "download", CLIP.name)
    assert code == 0
    assert "licence: MIT" in err
    assert f"{CLIP.name} is now in {store / CLIP.folder}" in out
    assert "was already in" in dyad("models", "download", CLIP.name)[1]
    code, out, _ = dyad("models", "verify")
    assert code == 0
    assert out.count("is whole.") == 2
    assert str(store / CLIP.folder) in dyad("models", "where")[1]
    (store / CLIP.folder / "open_clip_config.json").write_text("{}")
    code, out, _ = dyad("models", "verify")
    assert code == 1
    assert "has changed" in out
    assert f"{CLIP.name} is removed" in dyad("models", "remove", CLIP.name)[1]
    assert f"{CLIP.name} was not fetched" in dyad("models", "remove", CLIP.name)[1]
    assert find_clip().found is None


def test_a_group_is_announced_whole_before_its_first_file(dyad: Dyad, tmp_path: Path) -> None:
    code, _, err = dyad("models", "download", "gpu", "--mirror", tmp_path)
    assert code == 1
    said = " ".join(err.split())
    announced, total = said.index("qwen3-vl-4b: 8.9 GB licence: Apache-2.0"), said.index("Together 15.4 GB.")
    assert announced < total < said.index("The mirror has no")


def test_a_licence_against_commercial_use_is_shown_before(dyad: Dyad, tmp_path: Path) -> None:
    for name in ("mobileclip2-s0", "qwen2.5-vl-3b"):
        code, _, err = dyad("models", "download", name, "--mirror", tmp_path)
        assert code == 1
        assert err.index("FORBIDS COMMERCIAL USE") < err.index("The mirror has no")


def test_a_group_that_does_not_fit_on_the_disk(dyad: Dyad, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**12, 0, 10**10))
    code, _, err = dyad("models", "download", "ras")
    assert code == 1
    said = " ".join(err.split())
    assert "needs 19.5 GB and the disk of" in said
    assert "has 10.0 GB free; make room, or name a folder on another disk with DYAD_MODELS." in said
    assert not store.exists()


def test_offline_is_the_users_choice(dyad: Dyad, monkeypatch: pytest.MonkeyPatch, mirror: Path) -> None:
    from flows.server import prefect_setup

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # it is read at the import
    monkeypatch.setattr(prefect_setup, "set_by_dyad", set())
    code, _, err = dyad("models", "download", CLIP.name)
    assert code == 1
    assert "HF_HUB_OFFLINE forbids the network; unset it, or name a folder" in " ".join(err.split())
    monkeypatch.setattr(prefect_setup, "set_by_dyad", {"HF_HUB_OFFLINE"})
    with files_server(repository_files(mirror / CLIP.repository, CLIP.repository, CLIP.revision)) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert dyad("models", "download", CLIP.name)[0] == 0
    assert os.environ["HF_HUB_OFFLINE"] == "1", "runs stay without a hub"


@pytest.mark.parametrize(
    ("remedy", "file"),
    [(scene_labels.REMEDY, "open_clip_model.safetensors of clip-vit-b-32-laion2b"),
     (transcript.REMEDY, "base.pt of whisper-base")],
)  # fmt: skip
def test_the_remedies_name_commands_that_work_and_take_no_other_file(
    remedy: str, file: str, dyad: Dyad, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = re.findall(r"\./dyad ([a-z -]+[a-z])", remedy)
    monkeypatch.setenv("DYAD_MIRROR", str(mirror))
    code, _, err = dyad(*command.split())
    assert code == 1
    assert f"{file} arrived damaged" in " ".join(err.split()), "the mirror's files are not the real ones"


def test_where_says_what_a_profile_would_use(dyad: Dyad, tmp_path: Path, store: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        "text: {backend: transformers, model: go-emotions}\n"
        "voice: {backend: transformers, model: hubert-large-emotion}\n"
        "scene_context: {backend: transformers, vision: {model: qwen3-vl-4b}}\n"
        "transcript: {model: turbo}\nscene_labels: {model: ViT-B-32/openai}\n"
    )
    classifier = put_classifier(store / model_table().models["go-emotions"].folder)
    code, out, _ = dyad("models", "where", "--profile", profile)
    assert code == 0
    lines = {line.split(":")[0].strip(): line for line in out.splitlines() if ":" in line}
    assert str(classifier) in lines["text"]
    assert "./dyad models download hubert-large-emotion" in lines["voice"]
    assert "(8.9 GB) with ./dyad models download qwen3-vl-4b" in lines["scene context"]
    assert "./dyad models download whisper-turbo" in lines["transcript"]
    assert "./dyad models download clip-vit-b-32-openai" in lines["scene labels"]
    assert "Dyad's own network" in lines["static face"]


def test_an_unknown_name(dyad: Dyad) -> None:
    code, _, err = dyad("models", "download", "nonesuch")
    assert code == 2
    assert "no model and no group" in err
