"""Fetching models: from a mirror folder, from an address, from a hub on loopback; damaged, interrupted, offline."""

import hashlib
import json
import re
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from data.errors import InputError, WeightsError
from modalities.encoders import clip
from modalities.model_store.local import CLIP_FILES, CLIP_REPOSITORIES, find_clip, find_whisper, models_folder, require_repository
from modalities.model_store.sources import resolve
from modalities.model_store.store import fetch, is_here, missing_space, remove, verify
from modalities.model_store.table import ModelFile, PinnedModel, model_table, whisper_addresses
from modalities.text.models import load_text_classifier
from tests.hub_stand_in import NEWEST, files_server, repository_files
from tests.tiny_models import save_tiny_clip
from tests.tiny_text import save_tiny_classifier

CLIP = model_table().choose("clip")[0]
CLIP = replace(CLIP, files=tuple(ModelFile(file.name) for file in CLIP.files), unpinned="digests")  # small weights stand in
CONTENT = bytes(range(256)) * 4096
SMALL = PinnedModel("small", "words", "whisper", (ModelFile("small.pt", hashlib.sha256(CONTENT).hexdigest()),), 1, "MIT")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dyad's folder of models, empty."""
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DYAD_MIRROR", raising=False)
    return models_folder()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror folder with the CLIP of the group `clip` (tiny, of random weights) and a Whisper of known content."""
    folder = tmp_path / "mirror"
    save_tiny_clip(folder / CLIP.repository)
    (folder / "whisper").mkdir(parents=True)
    (folder / "whisper" / "small.pt").write_bytes(CONTENT)
    return folder


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- the table


def test_whisper_rows_are_those_of_its_package() -> None:
    import whisper

    assert whisper_addresses() == whisper._MODELS
    small = model_table().models["whisper-small"]
    assert small.url == whisper._MODELS["small"]
    assert small.files[0].name == "small.pt"
    rows = [model for model in model_table().models.values() if model.url]
    assert all(re.fullmatch("[0-9a-f]{64}", model.files[0].sha256) for model in rows)


def test_rows_are_pinned_or_say_that_they_are_not() -> None:
    table = model_table()
    for model in table.models.values():
        weights_known = any(file.sha256 for file in model.files)
        lacking = [what for what, known in (("commit", model.is_pinned or model.url), ("digests", weights_known)) if not known]
        assert model.unpinned == " and ".join(lacking), f"{model.name} does not say what it lacks"
        assert model.size > 0
        assert model.licence
        assert model.weights_only == (model.name == "avcer"), "one row alone needs pickles of the hub, which are read as weights"
    folders = [model.folder for model in table.models.values() if model.repository]
    assert len(set(folders)) == len(folders)
    assert table.models["qwen2.5-vl-3b"].non_commercial


def test_clip_rows_are_repositories_that_are_known_to_dyad() -> None:
    rows = [model for model in model_table().models.values() if model.purpose == "scene labels"]
    assert {model.repository for model in rows} <= {row[0] for row in CLIP_REPOSITORIES}
    assert {file.name for model in rows for file in model.files if file.name.endswith(".safetensors")} <= set(CLIP_FILES)


def test_groups_are_rows_and_repositories_are_names_too() -> None:
    table = model_table()
    for group in ("cpu", "gpu", "ras"):
        assert len(table.choose(group)) >= 3
        assert not any(model.non_commercial for model in table.choose(group)), "a profile must not surprise with its licence"
    assert table.choose("Qwen/Qwen3-VL-4B-Instruct") == table.choose("qwen3-vl-4b")
    with pytest.raises(InputError, match="no model and no group.*clip, whisper"):
        table.choose("nonesuch")


# ---- patterns


REPOSITORY = PinnedModel(
    "classifier", "text", "hub/someone/classifier", tuple(map(ModelFile, ("*.json", "*.txt", "*.safetensors"))), 1, "MIT",
    repository="someone/classifier", revision="abcdef01" * 5,
)  # fmt: skip
CONTENTS = {
    "config.json": b'{"model_type": "roberta"}', "merges.txt": b"a b", "model.safetensors": CONTENT,
    "pytorch_model.bin": b"pickle", "modeling_custom.py": b"raise SystemExit", "README.md": b"words",
    "training_args.json.py": b"code", "onnx/config.json": b"{}", "checkpoint-7/model.safetensors": b"older",
}  # fmt: skip
FETCHED = ["config.json", "merges.txt", "model.safetensors"]


def write_repository(folder: Path) -> Path:
    for name, content in CONTENTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_patterns_take_configs_and_safetensors_and_nothing_that_runs() -> None:
    assert [file.name for file in resolve(REPOSITORY, list(CONTENTS))] == FETCHED, "the weights come last"
    pickles = replace(REPOSITORY, files=(ModelFile("*"),))
    assert not {"pytorch_model.bin", "modeling_custom.py"} & {file.name for file in resolve(pickles, list(CONTENTS))}
    asked_for = replace(REPOSITORY, files=(ModelFile("config.json"), ModelFile("*.bin")), weights_only=True)
    assert [file.name for file in resolve(asked_for, list(CONTENTS))] == ["config.json", "pytorch_model.bin"]


def test_a_repository_without_weights_or_without_a_named_file() -> None:
    with pytest.raises(WeightsError, match=r"classifier has no weights \(\*.safetensors\) in someone/classifier"):
        resolve(REPOSITORY, ["config.json", "pytorch_model.bin"])
    with pytest.raises(WeightsError, match="has no file vocab.json in someone/classifier"):
        resolve(replace(REPOSITORY, files=(*REPOSITORY.files, ModelFile("vocab.json"))), FETCHED)


def test_patterns_from_a_mirror(tmp_path: Path, store: Path) -> None:
    write_repository(tmp_path / "mirror" / "someone" / "classifier")
    folder = fetch(REPOSITORY, tmp_path / "mirror")
    assert left(folder) == FETCHED
    assert is_here(REPOSITORY)
    (folder / "merges.txt").write_bytes(b"b a")
    (folder / "config.json").unlink()
    problems = " ".join(item.problem for item in verify({REPOSITORY.name: REPOSITORY}))
    assert "merges.txt has changed" in problems
    assert "config.json is gone" in problems
    assert "model.safetensors" not in problems
    assert not is_here(REPOSITORY)


def test_another_commit_in_the_table_is_another_model(tmp_path: Path) -> None:
    write_repository(tmp_path / "mirror" / "someone" / "classifier")
    fetch(REPOSITORY, tmp_path / "mirror")
    newer = replace(REPOSITORY, revision="12345678" * 5)
    assert not is_here(newer)
    problems = [item.problem for item in verify({newer.name: newer}) if item.problem]
    assert problems == [
        f"classifier was fetched at revision {REPOSITORY.revision}, the table has {newer.revision}; "
        "run 'dyad models download classifier'."
    ]
    fetch(newer, tmp_path / "mirror")
    assert is_here(newer)


def test_what_the_first_download_brought_is_asked_for_from_then_on(
    tmp_path: Path, store: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(REPOSITORY, revision="main", unpinned="commit and digests")
    hub = write_repository(tmp_path / "hub")
    first = repository_files(hub, row.repository, NEWEST)
    with files_server(repository_files(hub, row.repository, "main")) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetch(row)
    remove(row)
    (hub / "model.safetensors").write_bytes(CONTENT[::-1])
    moved = repository_files(hub, row.repository, "main")
    with files_server(first | {path: content for path, content in moved.items() if path.startswith("/api")}) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        folder = fetch(row)  # the branch has moved on; the commit of the first time is still there
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    remove(row)
    shutil.copytree(hub, tmp_path / "mirror" / row.repository)
    known = store / "known" / "classifier.json"
    with pytest.raises(WeightsError, match=f"model.safetensors of classifier .*another file.*remove {known}"):
        fetch(row, tmp_path / "mirror")
    known.unlink()
    fetch(row, tmp_path / "mirror")
    assert (folder / "model.safetensors").read_bytes() == CONTENT[::-1]


def test_removing_takes_only_what_was_fetched(tmp_path: Path, store: Path, mirror: Path) -> None:
    write_repository(tmp_path / "mirror" / "someone" / "classifier")
    fetch(REPOSITORY, mirror)
    fetch(SMALL, mirror)
    (store / "whisper" / "mine.pt").write_bytes(b"mine")
    assert remove(REPOSITORY) == sum(len(CONTENTS[name]) for name in FETCHED)
    assert remove(SMALL) == len(CONTENT)
    assert remove(SMALL) == 0
    assert left(store) == ["whisper/mine.pt"]
    assert not (store / "hub").exists()


# ---- room on the disk


Usage = namedtuple("Usage", "total used free")


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    tmp_path: Path, store: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**9, 10**9, 500_000))
    with pytest.raises(WeightsError, match=r"small needs 0.0 GB and the disk of .*store has 0.0 GB free; make room.*DYAD_MODELS"):
        fetch(SMALL, mirror)
    assert not store.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**12, 0, 10**10))
    assert missing_space(model_table().choose("cpu")) == ""
    assert "qwen2.5-vl-7b needs 19.5 GB" in missing_space(model_table().choose("ras"))
    fetch(SMALL, mirror)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(1, 1, 0))
    assert missing_space([SMALL]) == "", "what is here needs no room"


# ---- from a mirror


def test_a_mirror_gives_a_clip_that_dyad_finds_and_loads(mirror: Path, store: Path) -> None:
    folder = fetch(CLIP, mirror)
    found = find_clip().found
    assert found is not None
    assert found.path == folder / "open_clip_model.safetensors"
    assert clip.load_clip(found.path, found.architecture).source.backend == "open_clip"
    assert [item.problem for item in verify({CLIP.name: CLIP})] == ["", ""]
    assert not [name for name in left(store) if ".downloads" in name]


def test_a_file_that_is_not_the_pinned_one_never_gets_its_name(mirror: Path, store: Path) -> None:
    (mirror / "whisper" / "small.pt").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="small.pt of small arrived damaged or is another file"):
        fetch(SMALL, mirror)
    assert not left(store)
    assert find_whisper().found is None
    (mirror / "whisper" / "small.pt").write_bytes(CONTENT)
    fetch(SMALL, mirror)
    found = find_whisper().found
    assert found is not None
    assert found.name == "small"


def test_an_interrupted_copy_leaves_nothing_that_looks_whole(
    mirror: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(source: BinaryIO, copy: BinaryIO, piece: int) -> None:
        copy.write(source.read(1000))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(SMALL, mirror)
    assert not left(store)
    assert not is_here(SMALL)
    assert fetch(SMALL, mirror) == store / "whisper"
    assert is_here(SMALL)
    shutil.rmtree(mirror)
    fetch(SMALL, mirror)  # what is here is not copied again


def test_an_archive_from_a_mirror(mirror: Path, store: Path) -> None:
    files = (ModelFile("encoder.whl", hashlib.sha256(CONTENT).hexdigest()),)
    archive = replace(SMALL, name="encoder", folder="archives", files=files)
    (mirror / "archives").mkdir()
    (mirror / "archives" / "encoder.whl").write_bytes(CONTENT)
    assert left(fetch(archive, mirror)) == ["encoder.whl"]
    assert is_here(archive)


def test_a_mirror_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="mirror has no .*laion.*open_clip_config.json.*unset DYAD_MIRROR"):
        fetch(CLIP, tmp_path)


def test_what_has_changed_on_the_disk_is_noticed(mirror: Path, store: Path) -> None:
    fetch(CLIP, mirror)
    weights, config = store / CLIP.folder / "open_clip_model.safetensors", store / CLIP.folder / "open_clip_config.json"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    config.unlink()
    problems = [item.problem for item in verify({CLIP.name: CLIP})]
    assert f"{config} is gone; run 'dyad models download {CLIP.name}'." in problems
    assert any("has changed since it was fetched" in problem for problem in problems)
    assert not list(verify({SMALL.name: SMALL})), "what was never fetched is not looked at"


# ---- from the network


def test_a_broken_download_goes_on_where_it_stopped(store: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    with files_server({"/small.pt": CONTENT}, cut=300_000) as (address, asked):
        fetch(replace(SMALL, url=f"{address}/small.pt"))
    assert [begin for _, _, begin in asked] == ["", "bytes=300000-"]
    assert (store / "whisper" / "small.pt").read_bytes() == CONTENT


def test_a_download_that_was_killed_goes_on_at_the_next_try(store: Path, online: None) -> None:
    begun = store / ".downloads" / "small" / "small.pt"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(CONTENT[:500_000])
    with files_server({"/small.pt": CONTENT}) as (address, asked):
        fetch(replace(SMALL, url=f"{address}/small.pt"))
    assert [begin for _, _, begin in asked] == ["bytes=500000-"]
    assert (store / "whisper" / "small.pt").read_bytes() == CONTENT


def test_a_server_that_has_gone_is_a_sentence(store: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with files_server({}) as (address, _):
        pass
    with pytest.raises(WeightsError, match="small could not be fetched.*goes on where it stopped.*DYAD_MIRROR"):
        fetch(replace(SMALL, url=f"{address}/small.pt"))
    assert not left(store)


def test_an_address_that_gives_something_else(store: Path, online: None) -> None:
    with files_server({"/small.pt": b"<html>Sign in</html>"}) as (address, _):
        with pytest.raises(WeightsError, match="arrived damaged or is another file"):
            fetch(replace(SMALL, url=f"{address}/small.pt"))
        with pytest.raises(WeightsError, match="404"):
            fetch(replace(SMALL, url=f"{address}/none.pt"))
    assert not left(store)


def clip_on_hub(mirror: Path) -> dict[str, bytes]:
    return repository_files(mirror / CLIP.repository, CLIP.repository, CLIP.revision)


def test_the_hub_library_fetches_pinned_files(mirror: Path, store: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with files_server(clip_on_hub(mirror)) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetch(CLIP)
    receipt = json.loads((store / "receipts" / f"{CLIP.name}.json").read_text())
    assert receipt["revision"] == CLIP.revision
    assert [item.problem for item in verify({CLIP.name: CLIP})] == ["", ""]
    assert find_clip().found is not None


@pytest.fixture
def served(tmp_path: Path) -> dict[str, bytes]:
    return repository_files(write_repository(tmp_path / "hub"), REPOSITORY.repository, REPOSITORY.revision)


def test_patterns_are_looked_up_on_the_hub(
    served: dict[str, bytes], store: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with files_server(served) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        folder = fetch(REPOSITORY)
    assert left(folder) == FETCHED
    assert {path.rsplit("/", 1)[-1] for method, path, _ in asked if method == "GET" and "/resolve/" in path} == set(FETCHED)
    receipt = json.loads((store / "receipts" / "classifier.json").read_text())
    assert receipt["sha256"]["model.safetensors"] == hashlib.sha256(CONTENT).hexdigest()
    assert receipt["revision"] == REPOSITORY.revision


def test_a_branch_is_noted_as_the_commit_that_it_was(
    tmp_path: Path, store: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(REPOSITORY, revision="refs/pr/1")
    with files_server(repository_files(write_repository(tmp_path / "hub"), request.repository, "refs/pr/1")) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetch(request)
    assert json.loads((store / "receipts" / "classifier.json").read_text())["revision"] == NEWEST


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_what_the_hub_lists(
    name: str, served: dict[str, bytes], store: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/{REPOSITORY.repository}/resolve/{REPOSITORY.revision}/{name}"
    right, served[path] = served[path], served[path][:-1] + b"?"
    with files_server(served) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(WeightsError, match=f"{name} of classifier arrived damaged or is another file"):
            fetch(REPOSITORY)
        assert not (store / REPOSITORY.folder).exists()
        served[path] = right
        fetch(REPOSITORY)
    assert is_here(REPOSITORY)


def test_weights_that_are_not_the_pinned_ones(served: dict[str, bytes], online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = replace(REPOSITORY, files=(*REPOSITORY.files, ModelFile("model.safetensors", "0" * 64)))
    with files_server(served) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(WeightsError, match="model.safetensors of classifier arrived damaged.*not 000000000000"):
            fetch(pinned)


def test_a_repository_goes_on_after_the_file_that_broke(
    served: dict[str, bytes], store: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = f"/{REPOSITORY.repository}/resolve/{REPOSITORY.revision}/model.safetensors"
    lacking = {path: content for path, content in served.items() if path != weights}
    with files_server(lacking) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(WeightsError, match="goes on where it stopped"):
            fetch(REPOSITORY)
        assert not (store / REPOSITORY.folder).exists()
        lacking[weights] = served[weights]
        asked.clear()
        fetch(REPOSITORY)
    assert not [path for method, path, _ in asked if method == "GET" and path.endswith("config.json")], "it was here already"
    assert is_here(REPOSITORY)


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with files_server({"/small.pt": CONTENT}) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        for model in (REPOSITORY, CLIP, replace(SMALL, url=f"{address}/small.pt")):
            with pytest.raises(WeightsError, match=f"{model.name} is not on this machine and HF_HUB_OFFLINE forbids the network"):
                fetch(model)
    assert not asked


def test_a_hub_without_the_model_is_a_sentence(store: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with files_server({}) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(WeightsError, match="could not be fetched from laion.*name a folder that holds the files"):
            fetch(CLIP)
    assert not find_clip().found


def test_a_fetched_repository_is_found_and_loaded(
    tmp_path: Path, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    row = model_table().models["emotion-distilroberta"]
    saved = save_tiny_classifier(tmp_path / "saved")
    (saved / "training_args.bin").write_bytes(b"a pickle that nobody asked for")
    with files_server(repository_files(saved, row.repository, row.revision)) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetch(row)
    folder = require_repository("emotion-distilroberta", row.revision)
    assert not (folder / "training_args.bin").exists()
    ours, original = load_text_classifier(folder).network.state_dict(), load_text_classifier(saved).network.state_dict()
    assert all(torch.equal(tensor, original[name]) for name, tensor in ours.items())
