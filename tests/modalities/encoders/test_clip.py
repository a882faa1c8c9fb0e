"""Opening CLIPs of every layout, and encoding with them as open_clip does."""

import json
import logging
import os
from pathlib import Path

import av
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from data.errors import WeightsError
from modalities.encoders.clip import (
    ClipEncoder,
    each_picture,
    encode_pictures,
    encode_texts,
    load_clip,
    named_config,
    names_of,
    picture_features,
    prepared,
    resized_shape,
    shrunk,
)
from modalities.loading.batching import in_batches
from modalities.model_store.local import CLIP_REPOSITORIES, find_clip, hub_cache, models_folder
from tests.tiny_models import TINY_CLIP, TINY_SIGLIP, save_tiny_clip, save_tiny_siglip

TEXTS = ["a photo of an angry person", "happy", "a sad face " * 40]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_siglip(tmp_path_factory.mktemp("clip") / "tiny-siglip")


@pytest.fixture(scope="module")
def clip(checkpoint: Path) -> ClipEncoder:
    return load_clip(checkpoint, precision="float32")


def pictures(*shapes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Smooth random pictures of these heights and widths."""
    random = np.random.default_rng(0)
    small = (Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)) for _ in shapes)
    return [np.asarray(picture.resize((width, height))) for picture, (height, width) in zip(small, shapes, strict=True)]


@pytest.mark.parametrize("kind", ["checkpoint", "siglip"])
def test_embeddings_are_those_of_open_clip_called_directly(kind: str, request: pytest.FixtureRequest) -> None:
    file: Path = request.getfixturevalue(kind)
    direct, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{file.parent}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{file.parent}")
    ours = load_clip(file, precision="float32")
    shown = pictures((64, 64), (64, 64), (64, 64))
    with torch.no_grad():
        features = direct.eval().encode_image(torch.stack([preprocess(Image.fromarray(picture)) for picture in shown]))
        texts = direct.encode_text(tokenizer(TEXTS), normalize=True)
    np.testing.assert_allclose(picture_features(ours, shown), features, atol=1e-4 * float(features.norm(dim=1).max()))
    np.testing.assert_allclose(encode_pictures(ours, shown), torch.nn.functional.normalize(features), atol=1e-4)
    np.testing.assert_allclose(encode_texts(ours, TEXTS), texts, atol=1e-4)
    assert ours.width == features.shape[1] == texts.shape[1]
    assert ours.logit_scale == pytest.approx(direct.logit_scale.exp().item())
    assert np.ptp(encode_pictures(ours, shown), axis=0).max() > 1e-2


def test_a_siglip_brings_its_bias_and_its_own_tokenizer(siglip: Path, clip: ClipEncoder) -> None:
    ours = load_clip(siglip.parent)
    assert ours.logit_bias == -10
    assert clip.logit_bias is None
    tokens = ours.tokenizer(["A happy person!"])
    assert tokens.shape == (1, 16)
    assert torch.equal(tokens, ours.tokenizer(["a happy person"]))
    assert list(tokens[0]).count(1) == 1


def test_without_its_tokenizer_a_siglip_is_refused_in_a_sentence(siglip: Path, tmp_path: Path) -> None:
    file = save_tiny_siglip(tmp_path / "bare")
    (file.parent / "tokenizer.json").write_text("{broken")
    with pytest.raises(WeightsError, match=r"tokenizer of .*bare.* cannot be read"):
        load_clip(file)
    for other in file.parent.glob("tokenizer*"):
        other.unlink()
    with pytest.raises(WeightsError, match=r"is not on this machine; put the tokenizer files of 'timm/tiny-siglip'"):
        load_clip(file)
    with pytest.raises(WeightsError, match="tokenizer files of 'timm/ViT-B-16-SigLIP'"):
        load_clip(file, "ViT-B-16-SigLIP")


def test_a_named_architecture_takes_the_tokenizer_beside_its_weights(siglip: Path) -> None:
    config = siglip.with_name("tiny-siglip-of-the-tests.json")
    config.write_text(json.dumps(TINY_SIGLIP))
    open_clip.add_model_config(config)
    named = load_clip(siglip, "tiny-siglip-of-the-tests", precision="float32")
    ours = load_clip(siglip, precision="float32")
    np.testing.assert_array_equal(encode_texts(named, TEXTS), encode_texts(ours, TEXTS))
    assert named.source.model == "tiny-siglip-of-the-tests"


def test_a_text_network_described_elsewhere_needs_its_config(siglip: Path) -> None:
    with pytest.raises(WeightsError, match=r"described elsewhere \('roberta-base'\); put its config.json"):
        load_clip(siglip, "roberta-ViT-B-32")


def test_a_text_network_of_transformers_opens_with_its_config_beside_it(tmp_path: Path) -> None:
    from transformers import RobertaConfig

    from tests.tiny_models import save_tiny_tokenizer

    sizes = {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    RobertaConfig(**sizes, pad_token_id=0).save_pretrained(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_tokenizer_name": "x", "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    config = {"model_cfg": {**TINY_CLIP, "text_cfg": {**text, "context_length": 32}}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_tiny_tokenizer(tmp_path)
    network = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False, pretrained_text=False).eval()
    save_file(network.state_dict(), tmp_path / "open_clip_model.safetensors")
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "roberta-base"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    ours = load_clip(tmp_path, precision="float32")
    with torch.no_grad():
        expected = network.encode_text(ours.tokenizer(TEXTS), normalize=True)
    np.testing.assert_allclose(encode_texts(ours, TEXTS), expected, atol=1e-4)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(64, 64), (48, 64)])
def test_pictures_are_prepared_as_open_clip_does(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    file = save_tiny_clip(tmp_path)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= {"resize_mode": mode, "interpolation": "bicubic", "std": [1.0, 1.0, 1.0]}
    config["model_cfg"]["vision_cfg"] = {**TINY_CLIP["vision_cfg"], "image_size": size}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    tensors = load_file(file)
    grid = size[0] // 16 * size[1] // 16 + 1
    save_file({**tensors, "visual.positional_embedding": tensors["visual.positional_embedding"][:grid].clone()}, file)
    ours = load_clip(tmp_path)
    for shape in ((48, 96), (301, 97), (64, 64), (500, 700)):
        # Pillow 13 resizes the height first where it shrinks more, so that other roundings happen on the way
        most, mean = (2.01, 0.02) if shape != (301, 97) else (8.01, 0.4)
        noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
        for picture in (noise, *pictures(shape)):
            expected, found = ours.preprocess(Image.fromarray(picture)), prepared(ours, [picture])[0]
            assert found.shape == expected.shape == (3, *size)
            levels = (found - expected).abs() * 255
            assert levels.max() <= most
            assert levels.mean() <= mean


def test_frames_of_a_video_are_prepared_as_open_clip_does(clip: ClipEncoder, shared: Path) -> None:
    with av.open(shared / "datasets" / "media" / "single_face.mp4") as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)][::20]
    reference = torch.stack([clip.preprocess(Image.fromarray(frame)) for frame in frames])
    std = clip.network.visual.preprocess_cfg["std"][0]
    assert (prepared(clip, frames) - reference).abs().max() * std <= 1e-2
    with torch.no_grad():
        expected = clip.network.encode_image(reference, normalize=True)
    np.testing.assert_allclose(encode_pictures(clip, frames), expected, atol=1e-4)


def test_a_batch_gives_what_single_items_give(clip: ClipEncoder, siglip: Path) -> None:
    shown = pictures((48, 96), (100, 70), (48, 96), (64, 64), (100, 70))
    for model in (clip, load_clip(siglip, precision="float32")):
        alone = np.concatenate([encode_pictures(model, [picture]) for picture in shown])
        np.testing.assert_allclose(encode_pictures(model, shown), alone, atol=1e-5)
        np.testing.assert_allclose(np.stack(list(in_batches(each_picture, model, shown, 2))), alone, atol=1e-5)
        words = np.concatenate([encode_texts(model, [text]) for text in TEXTS])
        np.testing.assert_allclose(encode_texts(model, TEXTS), words, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
    assert encode_pictures(clip, []).shape == picture_features(clip, []).shape == encode_texts(clip, []).shape == (0, 64)


@pytest.mark.parametrize("shape", [(90, 160, 3), (64, 64, 3), (200, 50, 3)])
def test_a_picture_that_its_clip_has_shrunk_is_the_same_to_the_network(
    clip: ClipEncoder, siglip: Path, shape: tuple[int, ...]
) -> None:
    picture = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    for model in (clip, load_clip(siglip, precision="float32")):
        small = shrunk(model, picture)
        assert small.dtype == np.uint8
        assert small.shape == (64, 64, 3)
        np.testing.assert_array_equal(prepared(model, [small]), prepared(model, [picture]))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_close_and_keeps_the_scale(checkpoint: Path, siglip: Path, precision: str) -> None:
    shown = pictures((48, 96), (100, 70))
    for file in (checkpoint, siglip):
        full, half = load_clip(file, precision="float32"), load_clip(file, precision=precision)  # type: ignore[arg-type]
        assert next(half.network.parameters()).dtype == half.dtype == getattr(torch, precision)
        assert half.logit_scale == full.logit_scale
        assert encode_pictures(half, shown).dtype == np.float32
        for ours, exact in ((encode_pictures, encode_pictures), (encode_texts, encode_texts)):
            items = shown if ours is encode_pictures else TEXTS
            assert (ours(half, items) * exact(full, items)).sum(1).min() > 0.999  # type: ignore[operator]


def test_sizes_before_the_crop_are_those_of_open_clip() -> None:
    assert resized_shape((360, 640), (224, 224), "shortest") == (224, 398)
    assert resized_shape((640, 360), (224, 224), "shortest") == (398, 224)
    assert resized_shape((360, 640), (224, 224), "longest") == (126, 224)
    assert resized_shape((360, 640), (336, 224), "squash") == (336, 224)


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_both_layouts_of_the_hub_give_the_same(file: str, clip: ClipEncoder, tmp_path: Path) -> None:
    environment = {"DYAD_MODELS": str(tmp_path)}
    saved = save_tiny_clip(models_folder(environment) / "open_clip" / "mine", file=file)
    found = find_clip(environment=environment).found
    assert found is not None
    assert (found.path, found.architecture) == (saved, "")
    for path in (found.path, found.path.parent):
        again = load_clip(path, found.architecture, precision="float32")
        np.testing.assert_allclose(encode_texts(again, TEXTS), encode_texts(clip, TEXTS), atol=1e-6)
        assert again.source.model == "mine"
        assert again.source.revision != ""


@pytest.mark.slow
def test_a_name_opens_plain_weights(checkpoint: Path, clip: ClipEncoder, tmp_path: Path) -> None:
    (tmp_path / "tiny-clip-of-the-tests.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path / "tiny-clip-of-the-tests.json")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(checkpoint.read_bytes())
    named = load_clip(weights, "tiny-clip-of-the-tests", precision="float32")
    np.testing.assert_allclose(encode_texts(named, TEXTS), encode_texts(clip, TEXTS), atol=1e-6)
    for architecture, message in (
        ("", "architecture of .*weights.safetensors is not known"),
        ("RN50", "weights.safetensors does not hold the weights of RN50"),
        ("ViT-Z", "no architecture 'ViT-Z'"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_clip(weights, architecture)


def test_weights_in_the_hubs_cache_are_links_to_files_without_a_suffix(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    snapshot = folder / "snapshots" / "aaa"
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "blobs" / "0123abcd").write_bytes(checkpoint.read_bytes())
    (snapshot / checkpoint.name).symlink_to("../../blobs/0123abcd")
    (snapshot / "open_clip_config.json").write_bytes(checkpoint.with_name("open_clip_config.json").read_bytes())
    assert load_clip(snapshot).width == 64


def test_a_tag_says_how_pictures_are_normalised(checkpoint: Path) -> None:
    known = named_config(checkpoint, "ViT-B-16-SigLIP", "webli")["preprocess_cfg"]
    assert (known["mean"], known["resize_mode"]) == ((0.5, 0.5, 0.5), "squash")
    assert named_config(checkpoint, "ViT-B-16-SigLIP", "")["preprocess_cfg"] == {}


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
    assert names_of(file) == ("MobileCLIP2-S0", "dfndr2b")
    assert names_of(file, "MobileCLIP2-S0") == ("MobileCLIP2-S0", "dfndr2b")
    assert names_of(file, "ViT-B-32") == ("ViT-B-32", "")
    assert names_of(checkpoint) == ("", "")
    assert names_of(Path("weights.safetensors"), "RN50", "openai") == ("RN50", "openai")


def test_every_known_repository_is_one_that_open_clip_loads_with_these_settings() -> None:
    for repository, architecture, tag in CLIP_REPOSITORIES:
        known, config = open_clip.get_pretrained_cfg(architecture, tag), open_clip.get_model_config(architecture)
        assert known["hf_hub"].rstrip("/") == repository
        assert bool(known.get("quick_gelu")) == config.get("quick_gelu", False), repository


def test_openais_script_archives_are_passed_over_with_the_reason(tmp_path: Path) -> None:
    archive = tmp_path / ".cache" / "clip" / "ViT-B-32.pt"
    archive.parent.mkdir(parents=True)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(archive))
    search = find_clip(environment={"HOME": str(tmp_path)})
    assert search.found is None
    assert "ViT-B-32.pt was passed over: it is a TorchScript archive" in search.passed_over[0]
    with pytest.raises(WeightsError, match="TorchScript archive"):
        load_clip(archive, "ViT-B-32")


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
            load_clip(folder / checkpoint.name)
    (folder / checkpoint.name).unlink()
    torch.save({"state_dict": Harm(tmp_path / "harmed")}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError, match="does not hold the weights"):
        load_clip(folder)
    assert not (tmp_path / "harmed").exists()
    (folder / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(WeightsError, match="open_clip_config.json is not a configuration of open_clip"):
        load_clip(folder)
    (folder / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="no CLIP weights in .*bad; it should hold one of: open_clip_model.safetensors"):
        load_clip(folder)
    with pytest.raises(WeightsError, match="no CLIP checkpoint at"):
        load_clip(tmp_path / "missing.safetensors")


def test_weights_of_another_shape_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = save_tiny_clip(tmp_path / "other").parent
    tensors = load_file(checkpoint)
    tensors["visual.conv1.weight"] = tensors["visual.conv1.weight"][:32].clone()
    save_file(tensors, folder / checkpoint.name)
    with pytest.raises(WeightsError, match="architecture in its config"):
        load_clip(folder / checkpoint.name)


def test_loading_leaves_the_log_of_the_process_alone(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = list(logging.root.handlers), list(logging.root.filters)
    load_clip(checkpoint)
    assert (logging.root.handlers, logging.root.filters) == before
    assert not caplog.records
