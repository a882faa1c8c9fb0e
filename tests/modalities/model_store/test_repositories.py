"""Finding models that lie on this machine: by folder, by name, by repository; named Whisper and CLIP checkpoints."""

import json
from pathlib import Path

import pytest

from data.errors import WeightsError
from modalities.model_store.local import (
    find_clip,
    find_repository,
    find_whisper,
    hub_cache,
    is_model_folder,
    missing_sentence,
    models_folder,
    require_repository,
)
from modalities.model_store.table import model_table
from tests.tiny_models import save_tiny_clip

Environment = dict[str, str]
QWEN = model_table().models["qwen3-vl-4b"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A machine without any model."""
    return {"HOME": str(tmp_path / "home"), "DYAD_MODELS": str(tmp_path / "store")}


def put_model(folder: Path, weights: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / weights).write_bytes(b"weights")
    return folder


def snapshot(environment: Environment, repository: str, commit: str) -> Path:
    return hub_cache(environment) / f"models--{repository.replace('/', '--')}" / "snapshots" / commit


def test_a_folder_is_found_as_it_is(tmp_path: Path, environment: Environment) -> None:
    folder = put_model(tmp_path / "mine")
    assert find_repository(str(folder), environment=environment) == folder
    assert find_repository(str(tmp_path / "none"), environment=environment) is None
    assert missing_sentence(str(tmp_path / "none"))[0] == f"There is no folder {tmp_path / 'none'}."


def test_a_name_is_a_model_before_it_is_a_folder_here(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = put_model(tmp_path / "qwen3-vl-4b")
    assert find_repository("qwen3-vl-4b", environment=environment) == here
    assert find_repository("./qwen3-vl-4b", environment=environment) == here
    own = put_model(models_folder(environment) / QWEN.folder)
    assert find_repository("qwen3-vl-4b", environment=environment) == own
    assert find_repository("", environment=environment) is None
    assert missing_sentence("")[0] == "No model is named."


def test_dyads_own_folder_comes_before_the_cache(environment: Environment) -> None:
    cached = put_model(snapshot(environment, QWEN.repository, "a" * 40))
    assert find_repository("qwen3-vl-4b", environment=environment) == cached
    assert find_repository(QWEN.repository, environment=environment) == cached
    own = put_model(models_folder(environment) / QWEN.folder)
    assert find_repository("qwen3-vl-4b", environment=environment) == own
    assert find_repository(QWEN.repository, environment=environment) == own


def test_the_pinned_snapshot_comes_before_others(environment: Environment) -> None:
    put_model(snapshot(environment, QWEN.repository, "0" * 40))
    pinned = put_model(snapshot(environment, QWEN.repository, QWEN.revision))
    assert find_repository("qwen3-vl-4b", environment=environment) == pinned
    assert find_repository("qwen3-vl-4b", "000000", environment) == pinned.with_name("0" * 40)
    assert find_repository("qwen3-vl-4b", "123456", environment) is None


def test_a_revision_is_asked_of_the_receipt(environment: Environment) -> None:
    own = put_model(models_folder(environment) / QWEN.folder)
    assert find_repository("qwen3-vl-4b", QWEN.revision, environment) is None, "nobody knows of which revision it is"
    receipts = models_folder(environment) / "receipts"
    receipts.mkdir()
    (receipts / "qwen3-vl-4b.json").write_text(json.dumps({"revision": QWEN.revision}))
    assert find_repository("qwen3-vl-4b", QWEN.revision, environment) == own
    assert find_repository("qwen3-vl-4b", "f" * 40, environment) is None


def test_any_repository_of_the_cache_is_found(environment: Environment) -> None:
    folder = put_model(snapshot(environment, "someone/else", "b" * 40), "pytorch_model.bin")
    assert find_repository("someone/else", environment=environment) == folder
    own = put_model(models_folder(environment) / "hub" / "someone" / "else")
    assert find_repository("someone/else", environment=environment) == own


def test_a_folder_without_all_its_weights_is_no_model(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert missing_sentence(str(folder))[0] == (
        f"The folder {folder} holds no model: neither model.safetensors nor pytorch_model.bin is there."
    )
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / shards["a"]).write_bytes(b"half")
    assert not is_model_folder(folder)
    assert "model-00002-of-00002.safetensors of its weights is not there" in missing_sentence(str(folder))[0]
    (folder / shards["b"]).write_bytes(b"half")
    assert is_model_folder(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    assert not is_model_folder(folder)
    (folder / "config.json").unlink()
    assert "config.json is not there" in missing_sentence(str(folder))[0]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("qwen3-vl-4b", "Get it (8.9 GB) with ./dyad models download qwen3-vl-4b;"),
        ("Qwen/Qwen3-VL-4B-Instruct", "Get it (8.9 GB) with ./dyad models download qwen3-vl-4b;"),
        ("turbo", "Get it (1.6 GB) with ./dyad models download whisper-turbo;"),
        ("ViT-L-14/laion2b_s32b_b82k", "Get it (1.7 GB) with ./dyad models download clip-vit-l-14-laion2b;"),
        ("nonesuch", "Name a folder, a repository (OWNER/NAME), or a model that 'dyad models list' shows."),
    ],
)
def test_what_is_missing_names_the_command(name: str, remedy: str) -> None:
    reason, said = missing_sentence(name)
    assert reason == f"The model {name} is not on this machine."
    assert said.startswith(remedy)


def test_a_repository_outside_the_table_says_how_to_bring_it(environment: Environment) -> None:
    reason, remedy = missing_sentence("someone/else", "abc")
    assert reason == "The model someone/else of revision abc is not on this machine."
    assert "hf download someone/else" in remedy
    assert "hub/someone/else" in remedy
    with pytest.raises(WeightsError, match="The model someone/else is not on this machine. It is not in Dyad's table"):
        require_repository("someone/else", environment=environment)


# ---- named checkpoints


@pytest.mark.parametrize("name", ["turbo", "whisper-turbo", "large-v3-turbo"])
def test_a_whisper_by_name(name: str, environment: Environment) -> None:
    folder = models_folder(environment) / "whisper"
    folder.mkdir(parents=True)
    (folder / "small.pt").touch()
    assert find_whisper(None, name, environment).found is None, "another size is not what was asked for"
    (folder / "large-v3-turbo.pt").touch()
    found = find_whisper(None, name, environment).found
    assert found is not None
    assert found.path == folder / "large-v3-turbo.pt"
    best = find_whisper(environment=environment).found
    assert best is not None
    assert best.name == "small"


def test_a_whisper_by_path(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "mine.pt").touch()
    found = find_whisper(None, str(tmp_path / "mine.pt"), environment).found
    assert found is not None
    assert found.path == tmp_path / "mine.pt"
    with pytest.raises(WeightsError, match="no checkpoint at"):
        find_whisper(None, str(tmp_path / "none.pt"), environment)


@pytest.mark.parametrize("name", ["clip-vit-b-32-openai", "ViT-B-32/openai", "timm/vit_base_patch32_clip_224.openai"])
def test_a_clip_by_name(name: str, environment: Environment) -> None:
    store = models_folder(environment) / "open_clip"
    save_tiny_clip(store / "CLIP-ViT-B-32-laion2B-s34B-b79K")
    assert find_clip(None, name, environment).found is None, "another CLIP is not what was asked for"
    cached = save_tiny_clip(snapshot(environment, "timm/vit_base_patch32_clip_224.openai", "c" * 40))
    found = find_clip(None, name, environment).found
    assert found is not None
    assert (found.path, found.architecture, found.tag) == (cached, "ViT-B-32-quickgelu", "openai")
    own = save_tiny_clip(store / "vit_base_patch32_clip_224.openai")
    found = find_clip(None, name, environment).found
    assert found is not None
    assert (found.path, found.architecture) == (own, ""), "its config says the architecture"


def test_a_clip_by_its_folder_or_file(tmp_path: Path, environment: Environment) -> None:
    file = save_tiny_clip(tmp_path / "mine", file="open_clip_pytorch_model.safetensors")
    for name in (str(tmp_path / "mine"), str(file)):
        found = find_clip(None, name, environment).found
        assert found is not None
        assert found.path == file
    other = save_tiny_clip(snapshot(environment, "someone/clip", "d" * 40))
    found = find_clip(None, "someone/clip", environment).found
    assert found is not None
    assert found.path == other
