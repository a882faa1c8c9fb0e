import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_models import TINY_CLIP, save_tiny_clip

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.frames import Frame
from data.windows import make_windows
from modalities import scene_labels
from modalities.local_models import CLIP_REPOSITORIES, find_clip, hub_cache, models_folder

PROMPTS_FILE = Path(__file__).resolve().parents[1] / "configs" / "prompts" / "scene_labels.yaml"
PROMPTS = yaml.safe_load(PROMPTS_FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> scene_labels.SceneLabels:
    return scene_labels.load(checkpoint, "", PROMPTS)


def pictures(seconds: float, rate: float = 5.0, start: float = 0.0) -> Iterator[Frame]:
    """A clip of random pictures, each different, wider than high."""
    for number in range(round(seconds * rate)):
        noise = np.random.default_rng(number).integers(0, 256, (48, 96, 3), np.uint8)
        yield Frame(number, start + number / rate, noise)


def test_numbers_are_those_of_open_clip_called_directly(checkpoint: Path, model: scene_labels.SceneLabels) -> None:
    import open_clip
    from PIL import Image

    direct, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{checkpoint.parent}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint.parent}")
    direct.eval()
    frames = list(pictures(3.0, rate=1.0))
    with torch.no_grad():
        means = [direct.encode_text(tokenizer(PROMPTS["basic"][label]), normalize=True).mean(0) for label in BASIC_EMOTIONS]
        texts = torch.nn.functional.normalize(torch.stack(means))
        images = direct.encode_image(torch.stack([preprocess(Image.fromarray(f.rgb)) for f in frames]), normalize=True)
        expected = (direct.logit_scale.exp() * images @ texts.T).softmax(1).mean(0).numpy()
    scores = scene_labels.recognise(model, frames, make_windows(3.0))
    np.testing.assert_allclose(scores.probabilities[0], expected, atol=1e-4)
    assert scores.features is not None
    np.testing.assert_allclose(scores.features[0], images.mean(0).numpy(), atol=1e-4)
    assert np.ptp(expected) > 1e-3


def test_a_window_is_the_mean_of_its_pictures_and_each_is_encoded_once(model: scene_labels.SceneLabels) -> None:
    windows = make_windows(10.0)
    scores = scene_labels.recognise(model, pictures(10.0), windows)
    assert scores.present.all()
    used = [frame.rgb for frame in pictures(10.0) if frame.time_s == int(frame.time_s)]
    single = scene_labels.probabilities_of(model.basic, scene_labels.encode_pictures(model, used), model.temperature)
    for row, (start, end) in zip(scores.probabilities, windows.astype(int), strict=True):
        np.testing.assert_allclose(row, single[start:end].mean(0), atol=1e-5)
    encoded: list[int] = []
    handle = model.network.visual.register_forward_hook(lambda *call: encoded.append(len(call[1][0])))
    scene_labels.recognise(model, pictures(10.0), windows)
    handle.remove()
    assert sum(encoded) == len(used)


def test_a_window_without_a_picture_is_absent(model: scene_labels.SceneLabels) -> None:
    windows = np.array([[0.0, 2.0], [2.0, 4.0], [4.2, 4.4], [4.4, 4.8]])
    times = [0.0, 4.0, 4.3, 4.5]
    frames = [Frame(frame.frame, time, frame.rgb) for time, frame in zip(times, pictures(0.8), strict=True)]
    scores = scene_labels.recognise(model, frames, windows)
    assert scores.present.tolist() == [True, False, True, True]
    assert set(scores.evidence["window"]) == {0, 2, 3}
    nothing = scene_labels.recognise(model, [], windows)
    assert nothing.is_absent
    assert nothing.reason == "The clip has no picture."


def test_the_evidence_says_which_labels_and_texts_fit(model: scene_labels.SceneLabels) -> None:
    scores = scene_labels.recognise(model, pictures(6.0), make_windows(6.0))
    evidence = scores.evidence
    assert list(evidence.columns) == ["window", "kind", "label", "probability", "similarity", "text"]
    for (window, kind), rows in evidence.groupby(["window", "kind"]):
        assert rows["probability"].sum() == pytest.approx(1.0, abs=1e-5)
        assert rows["probability"].is_monotonic_decreasing
        assert all(text in PROMPTS[kind][label] for label, text in zip(rows["label"], rows["text"], strict=True))
        if kind == "basic":
            assert rows["label"].iloc[0] == BASIC_EMOTIONS[scores.probabilities[window].argmax()]
    assert set(evidence.loc[evidence["kind"] == "compound", "label"]) == {compound.name for compound in ABAW_COMPOUNDS}


def test_the_temperature_is_the_networks_own_unless_given(checkpoint: Path, model: scene_labels.SceneLabels) -> None:
    assert model.temperature == pytest.approx(0.07, abs=1e-4)
    flat = scene_labels.load(checkpoint, "", PROMPTS, temperature=1.0)
    frames, windows = list(pictures(2.0)), make_windows(2.0)
    own, even = (scene_labels.recognise(m, frames, windows).probabilities[0] for m in (model, flat))
    assert own.max() / own.min() > (even.max() / even.min()) ** 2
    assert own.argmax() == even.argmax()


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_both_layouts_of_the_hub_give_the_same(file: str, model: scene_labels.SceneLabels, tmp_path: Path) -> None:
    environment = {"DYAD_MODELS": str(tmp_path)}
    saved = save_tiny_clip(models_folder(environment) / "open_clip" / "mine", file=file)
    found = find_clip(environment=environment).found
    assert found is not None
    assert (found.path, found.architecture) == (saved, "")
    again = scene_labels.load(found.path, found.architecture, PROMPTS)
    np.testing.assert_allclose(again.basic.vectors, model.basic.vectors, atol=1e-6)
    assert again.source.model == "mine"
    assert again.source.revision != ""


def test_a_name_opens_plain_weights(checkpoint: Path, model: scene_labels.SceneLabels, tmp_path: Path) -> None:
    import open_clip

    (tmp_path / "tiny-clip-of-the-tests.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path / "tiny-clip-of-the-tests.json")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(checkpoint.read_bytes())
    named = scene_labels.load(weights, "tiny-clip-of-the-tests", PROMPTS)
    np.testing.assert_allclose(named.compound.vectors, model.compound.vectors, atol=1e-6)
    with pytest.raises(WeightsError, match="architecture of .*weights.safetensors is not known"):
        scene_labels.load(weights, "", PROMPTS)
    with pytest.raises(WeightsError, match="weights.safetensors does not hold the weights of RN50"):
        scene_labels.load(weights, "RN50", PROMPTS)
    with pytest.raises(WeightsError, match="no architecture 'ViT-Z'"):
        scene_labels.load(weights, "ViT-Z", PROMPTS)
    with pytest.raises(WeightsError, match="tokenizer of 'ViT-B-16-SigLIP'"):
        scene_labels.load(weights, "ViT-B-16-SigLIP", PROMPTS)


def test_known_repositories_are_found_in_the_hubs_cache(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert find_clip(environment=environment).found is None
    folder = hub_cache(environment) / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert folder.is_relative_to(tmp_path / ".cache" / "huggingface" / "hub")
    for revision in ("aaa", "bbb", "ccc"):
        (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "snapshots" / "aaa" / "open_clip_pytorch_model.bin").touch()
    (folder / "snapshots" / "bbb" / "open_clip_pytorch_model.bin").touch()
    (folder / "snapshots" / "ccc" / "open_clip_model.safetensors").symlink_to(tmp_path / "never finished")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("bbb")
    found = find_clip(environment=environment).found
    assert found is not None
    assert found.path == folder / "snapshots" / "bbb" / "open_clip_pytorch_model.bin"
    assert (found.architecture, found.tag) == ("ViT-B-32", "laion2b_s34b_b79k")


def test_a_file_in_the_hubs_cache_names_its_architecture_and_normalisation(checkpoint: Path) -> None:
    file = Path("hub/models--timm--MobileCLIP2-S0-OpenCLIP/snapshots/aaa/open_clip_model.safetensors")
    assert scene_labels.names_of(file) == ("MobileCLIP2-S0", "dfndr2b")
    assert scene_labels.names_of(file, "MobileCLIP2-S0") == ("MobileCLIP2-S0", "dfndr2b")
    assert scene_labels.names_of(file, "ViT-B-32") == ("ViT-B-32", "")
    assert scene_labels.names_of(checkpoint) == ("", "")
    assert scene_labels.names_of(Path("weights.safetensors"), "RN50", "openai") == ("RN50", "openai")


def test_every_known_repository_is_one_that_open_clip_loads_with_these_settings() -> None:
    import open_clip

    for repository, architecture, tag in CLIP_REPOSITORIES:
        known, config = open_clip.get_pretrained_cfg(architecture, tag), open_clip.get_model_config(architecture)
        assert known["hf_hub"].rstrip("/") == repository
        assert bool(known.get("quick_gelu")) == config.get("quick_gelu", False), repository
        assert "hf_tokenizer_name" not in config["text_cfg"]


def test_openais_script_archives_are_passed_over_with_the_reason(tmp_path: Path) -> None:
    archive = tmp_path / ".cache" / "clip" / "ViT-B-32.pt"
    archive.parent.mkdir(parents=True)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(archive))
    search = find_clip(environment={"HOME": str(tmp_path)})
    assert search.found is None
    assert "ViT-B-32.pt was passed over: it is a TorchScript archive" in search.passed_over[0]
    with pytest.raises(WeightsError, match="TorchScript archive"):
        scene_labels.load(archive, "ViT-B-32", PROMPTS)


class Harm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_damaged_or_harmful_files_are_refused_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    folder = save_tiny_clip(tmp_path / "bad").parent
    for content in (b"", checkpoint.read_bytes()[:1000], b"text"):
        (folder / checkpoint.name).write_bytes(content)
        with pytest.raises(WeightsError, match="does not hold the weights"):
            scene_labels.load(folder / checkpoint.name, "", PROMPTS)
    (folder / checkpoint.name).unlink()
    torch.save({"state_dict": Harm(tmp_path / "harmed")}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError, match="does not hold the weights"):
        scene_labels.load(folder / "open_clip_pytorch_model.bin", "", PROMPTS)
    assert not (tmp_path / "harmed").exists()
    with pytest.raises(WeightsError, match="no CLIP checkpoint at"):
        scene_labels.load(tmp_path / "missing.safetensors", "", PROMPTS)


def test_weights_of_another_shape_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = save_tiny_clip(tmp_path / "other").parent
    tensors = load_file(checkpoint)
    tensors["visual.conv1.weight"] = tensors["visual.conv1.weight"][:32].clone()
    save_file(tensors, folder / checkpoint.name)
    with pytest.raises(WeightsError, match="architecture in its config"):
        scene_labels.load(folder / checkpoint.name, "", PROMPTS)


def test_prompts_must_name_the_seven_basic_emotions() -> None:
    assert [compound.name for compound in ABAW_COMPOUNDS] == list(PROMPTS["compound"])
    scene_labels.check_prompts(PROMPTS)
    fewer = {**PROMPTS, "basic": {label: ["text"] for label in BASIC_EMOTIONS[1:]}}
    single = {**PROMPTS, "compound": {"sadly_angry": "a sadly angry person", "other": ["text"]}}
    for wrong, message in ((fewer, "exactly: neutral"), ({}, "exactly"), (single, "'sadly_angry' must be a list")):
        with pytest.raises(InputError, match=message):
            scene_labels.check_prompts(wrong)


def test_loading_leaves_the_log_of_the_process_alone(checkpoint: Path) -> None:
    before = list(logging.root.handlers)
    scene_labels.load(checkpoint, "", PROMPTS)
    assert logging.root.handlers == before
