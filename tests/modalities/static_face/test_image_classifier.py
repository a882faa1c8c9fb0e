"""Static face by image classifiers of transformers: folders as save_pretrained writes them, compared with its pipeline."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.crops import CropWriter, iterate_crops
from data.windows import make_windows
from modalities.static_face.image_classifier import (
    ImageClassifier,
    describe_images,
    load_image_classifier,
    recognise,
    score_images,
)
from tests.tiny_faces import FACE_LABELS, faces_of, save_classifier

KINDS = ("vit", "swin", "beit", "resnet", "convnext")
OURS = [FACE_LABELS.index(word) for word in ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classifiers")
    return {kind: save_classifier(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def model(folders: dict[str, Path]) -> ImageClassifier:
    return load_image_classifier(folders["vit"], precision="float32")


@pytest.fixture
def drawn() -> np.ndarray:
    coarse = np.random.default_rng(7).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def by_pipeline(folder: Path, pictures: Any) -> np.ndarray:
    """What transformers' own pipeline says of each picture, in the order of our seven."""
    from PIL import Image
    from transformers import pipeline

    classify = pipeline("image-classification", model=str(folder), device="cpu")
    answers = []
    for picture in pictures:
        said = {answer["label"]: answer["score"] for answer in classify(Image.fromarray(picture), top_k=len(FACE_LABELS))}
        answers.append([said[FACE_LABELS[place]] for place in OURS])
    return np.array(answers)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_pipeline(folders: dict[str, Path], drawn: np.ndarray, kind: str) -> None:
    model = load_image_classifier(folders[kind], precision="float32")
    answers = score_images(model, drawn, batch=5)
    np.testing.assert_allclose(answers, by_pipeline(folders[kind], drawn), atol=1e-4)
    assert answers.std(0).max() > 1e-3, "the answers should depend on the picture"


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_last_layer_reads(folders: dict[str, Path], drawn: np.ndarray, kind: str) -> None:
    from transformers import AutoModelForImageClassification

    model = load_image_classifier(folders[kind], precision="float32")
    answers = describe_images(model, list(drawn))
    plain = AutoModelForImageClassification.from_pretrained(folders[kind])
    last = next(layer for layer in reversed(list(plain.modules())) if isinstance(layer, torch.nn.Linear))
    features = torch.from_numpy(np.stack([answer.features for answer in answers]))
    assert features.shape[1] == model.width > 0
    logits = last(features).detach()
    given = np.stack([answer.probabilities for answer in answers])
    np.testing.assert_allclose(torch.softmax(logits, 1)[:, OURS], given, atol=1e-4)


def test_attention_is_fused_where_there_is_some(folders: dict[str, Path]) -> None:
    assert load_image_classifier(folders["vit"]).network.config._attn_implementation == "sdpa"


def test_pictures_of_any_sizes_one_by_one_or_together(model: ImageClassifier, drawn: np.ndarray) -> None:
    pictures = [drawn[0], drawn[1, :40], drawn[2, :, :31], drawn[3]]
    together = score_images(model, pictures)
    alone = np.concatenate([score_images(model, [picture]) for picture in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert score_images(model, []).shape == (0, 7)
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        score_images(model, drawn[..., 0])


def test_half_precision_stays_close(folders: dict[str, Path], model: ImageClassifier, drawn: np.ndarray) -> None:
    half = load_image_classifier(folders["vit"], precision="bfloat16")
    assert next(half.network.parameters()).dtype == torch.bfloat16
    np.testing.assert_allclose(score_images(half, drawn), score_images(model, drawn), atol=0.05)


def test_a_processor_without_torchvision_prepares_the_same(
    model: ImageClassifier, folders: dict[str, Path], drawn: np.ndarray
) -> None:
    from dataclasses import replace

    from transformers import AutoImageProcessor

    plain = replace(model, processor=AutoImageProcessor.from_pretrained(folders["vit"], backend="pil"))
    assert plain.processor.backend == "pil"
    np.testing.assert_allclose(score_images(plain, drawn), score_images(model, drawn), atol=0.02)


def test_labels_that_are_none_of_the_seven_are_left_out(tmp_path: Path, drawn: np.ndarray) -> None:
    labels = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
    model = load_image_classifier(save_classifier(tmp_path / "affectnet-8", labels=labels), precision="float32")
    answers = score_images(model, drawn)
    with torch.inference_mode():
        pixels = model.processor(images=list(drawn), return_tensors="pt")["pixel_values"]
        eight = torch.softmax(model.network(pixel_values=pixels).logits[:, :8], 1).numpy()
    seven = eight[:, [labels.index(emotion.title()) for emotion in BASIC_EMOTIONS]]
    np.testing.assert_allclose(answers, seven / seven.sum(1, keepdims=True), atol=1e-5)


def test_unknown_labels_are_asked_for(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "pets", labels=("happy", "sad", "LABEL_2"))
    with pytest.raises(InputError, match="LABEL_2"):
        load_image_classifier(folder)
    table = tmp_path / "labels.yaml"
    table.write_text("happy: happiness\nsad: sadness\nLABEL_2: neutral\n")
    model = load_image_classifier(folder, labels=table)
    assert model.matrix[2].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert "cannot answer anger" in model.source.preprocessing


def test_labels_that_do_not_exclude_each_other(folders: dict[str, Path], tmp_path: Path, drawn: np.ndarray) -> None:
    folder = edited(folders["vit"], tmp_path / "several", problem_type="multi_label_classification")
    each = by_pipeline(folder, drawn)
    answers = score_images(load_image_classifier(folder, precision="float32"), drawn)
    np.testing.assert_allclose(answers, each / each.sum(1, keepdims=True), atol=1e-4)


def test_a_network_without_one_last_layer_has_no_features(tmp_path: Path, drawn: np.ndarray) -> None:
    """DeiT with distillation answers by the mean of two layers."""
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher, ViTImageProcessor

    config = DeiTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=32,
                        patch_size=8, id2label=dict(enumerate(FACE_LABELS)))  # fmt: skip
    DeiTForImageClassificationWithTeacher(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = load_image_classifier(tmp_path, precision="float32")
    assert describe_images(model, [drawn[0]])[0].features.shape == (model.width,) == (0,)
    np.testing.assert_allclose(score_images(model, drawn), by_pipeline(tmp_path, drawn), atol=1e-4)


# ---- whole clips ---------------------------------------------------------------------------------------------------------


def clip_of(folder: Path, pictures: np.ndarray, frames: list[int], main: list[bool]) -> tuple[Path, pd.DataFrame]:
    with CropWriter(folder / "crops.npy", pictures.shape[1]) as writer:
        for picture in pictures:
            writer.append(picture)
    columns = {"face": np.arange(len(pictures)), "frame": frames, "time_s": np.array(frames) * 0.5}
    return folder / "crops.npy", pd.DataFrame({**columns, "track_id": [1 if m else 2 for m in main], "main": main})


def test_windows_are_means_over_their_frames(model: ImageClassifier, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn, list(range(12)), [True] * 12)
    scores = recognise(model, crops, faces, make_windows(10.0), batch=5)
    each = score_images(model, drawn)
    assert scores.present.tolist() == [True, True, True, False]
    np.testing.assert_allclose(scores.probabilities[1], each[4:].mean(0), atol=1e-5)
    assert scores.features is not None
    assert scores.features.shape == (4, model.width)
    assert list(scores.evidence.columns) == ["frame", "time_s", "track_id", *BASIC_EMOTIONS]
    np.testing.assert_allclose(scores.evidence[list(BASIC_EMOTIONS)], each, atol=1e-5)


def test_faces_of_one_frame_count_as_one(model: ImageClassifier, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn[:3], [0, 0, 1], [True, False, True])
    each = score_images(model, drawn[:3])
    main = recognise(model, crops, faces, make_windows(1.0))
    everyone = recognise(model, crops, faces, make_windows(1.0), which="all")
    np.testing.assert_allclose(main.probabilities[0], each[[0, 2]].mean(0), atol=1e-5)
    np.testing.assert_allclose(everyone.probabilities[0], (each[:2].mean(0) + each[2]) / 2, atol=1e-5)
    assert recognise(model, crops, faces[:0], make_windows(1.0)).reason.startswith("No face was found")


def test_a_real_clip(model: ImageClassifier, folders: dict[str, Path], shared: Path, tmp_path: Path) -> None:
    crops, faces, windows = faces_of(shared / "datasets" / "media" / "single_face.mp4", tmp_path)
    scores = recognise(model, crops, faces, windows)
    assert scores.present.any()
    first = next(iterate_crops(crops, faces["face"].to_numpy()[:4]))
    expected = by_pipeline(folders["vit"], first)
    np.testing.assert_allclose(scores.evidence[list(BASIC_EMOTIONS)].to_numpy()[:4], expected, atol=1e-4)


# ---- folders that are no classifiers -------------------------------------------------------------------------------------


def edited(folder: Path, copy: Path, **entries: Any) -> Path:
    """A copy of a folder with other entries in its config.json."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | entries))
    return copy


def broken_folders(good: Path, root: Path) -> dict[str, Path]:
    """What the error says -> a folder with that fault."""
    from safetensors.torch import load_file, save_file

    folders = {
        "no such folder": root / "nowhere",
        "config.json is not there": root / "empty",
        "not one of a model that transformers knows": edited(good, root / "unknown", model_type="unheard-of"),
        "type 'wav2vec2'": edited(good, root / "voice", model_type="wav2vec2"),
        "no classifier of RGB pictures": edited(good, root / "grey", num_channels=1),
        "image processor in": edited(good, root / "unprepared"),
        "does not prepare pictures": edited(good, root / "other-size"),
        "cannot be loaded": edited(good, root / "damaged"),
        "lack classifier.bias": edited(good, root / "headless"),
        "weights in .* cannot be loaded": edited(good, root / "wider", hidden_size=64),
    }
    folders["config.json is not there"].mkdir()
    (folders["image processor in"] / "preprocessor_config.json").unlink()
    sizes = folders["does not prepare pictures"] / "preprocessor_config.json"
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {"size": {"height": 48, "width": 48}}))
    (folders["cannot be loaded"] / "model.safetensors").write_bytes(b"these are no weights")
    weights = folders["lack classifier.bias"] / "model.safetensors"
    kept = {key: value for key, value in load_file(weights).items() if not key.startswith("classifier")}
    save_file(kept, weights, {"format": "pt"})
    return folders


def test_other_folders_are_refused_in_a_sentence(folders: dict[str, Path], tmp_path: Path) -> None:
    for sentence, folder in broken_folders(folders["vit"], tmp_path).items():
        with pytest.raises(WeightsError, match=sentence) as caught:
            load_image_classifier(folder)
        assert folder.name in str(caught.value)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
