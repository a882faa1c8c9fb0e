"""Temporal heads of the dynamic face: the authors' numbers, loading from bare state dicts, and whole clips through CLIP."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.media.crops import CropWriter
from data.windows import make_windows
from modalities.dynamic_face.clip_temporal import ClipDynamicFace, load, recognise, sample_frames
from modalities.dynamic_face.temporal_heads import answer_sequences, load_head
from modalities.dynamic_face.video_former import VideoFormer
from modalities.dynamic_face.video_mamba import MambaBlock, VideoMamba, VideoMambaShape
from modalities.encoders.clip import ClipEncoder, load_clip, picture_features
from tests.parity import assert_parity, read_parity
from tests.tiny_faces import TINY_FORMER, TINY_MAMBA, faces_of, save_head, tiny_head
from tests.tiny_models import save_tiny_clip


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_video_mamba_gives_the_authors_numbers(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ras_videomamba.json")
    network = VideoMamba(TINY_MAMBA).eval()
    network.load_state_dict(sheet.state_dict())
    with torch.inference_mode():
        answer, short = (network(sheet.tensors()[name]) for name in ("sequences", "short"))
    assert_parity({"logits": answer.logits, "features": answer.features, "logits_short": short.logits}, sheet)


def test_a_mamba_block_gives_the_authors_numbers(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ras_mamba_block.json")
    block = MambaBlock(TINY_MAMBA).eval()
    block.load_state_dict(sheet.state_dict())
    with torch.inference_mode():
        x = sheet.tensors()["seq"]
        seen, states = block.state_space(x)
        assert_parity({"out": block(x), "ssm_out": seen, "ssm_hidden": states}, sheet)


@pytest.mark.parametrize(("file", "positions"), [("ras_videoformer", False), ("ras_videoformer_pe", True)])
def test_video_former_gives_the_authors_numbers(shared: Path, file: str, positions: bool) -> None:
    sheet = read_parity(shared / "parity" / f"{file}.json")
    network = VideoFormer(TINY_FORMER._replace(positions=positions)).eval()
    missing = network.load_state_dict(sheet.state_dict(), strict=False)
    assert (sorted(missing.missing_keys), missing.unexpected_keys) == (sheet.unsupplied, [])
    with torch.inference_mode():
        assert_parity({"logits": network(sheet.tensors()["sequences"]).logits}, sheet)


def test_full_size_has_the_published_number_of_parameters(shared: Path) -> None:
    sizes = json.loads((shared / "parity" / "ras_videomamba.json").read_text())["full_size"]
    assert parameters_of(VideoMamba()) == sizes["repo config d=512"]["params"]
    smaller = VideoMamba(VideoMambaShape(width=128, rank=8))
    assert parameters_of(smaller) == sizes["d=128 (probable final)"]["params"]
    former = json.loads((shared / "parity" / "ras_videoformer.json").read_text())["full_size"]
    assert parameters_of(VideoFormer()) == former["params"]


@pytest.mark.parametrize("network", [VideoMamba(TINY_MAMBA), VideoFormer(TINY_FORMER)], ids=["mamba", "former"])
def test_padding_does_not_change_the_answer(network: nn.Module) -> None:
    torch.manual_seed(3)
    network.eval()
    sequences, mask = torch.randn(2, 12, 24), torch.ones(2, 12, dtype=torch.bool)
    mask[1, 5:] = False
    with torch.inference_mode():
        together = network(sequences, mask)
        alone = network(sequences[1:, :5])
    torch.testing.assert_close(together.logits[1:], alone.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.features[1:], alone.features, atol=1e-5, rtol=1e-5)


def test_the_two_discretisations_differ_and_the_exponential_one_is_mambas() -> None:
    torch.manual_seed(4)
    published = MambaBlock(TINY_MAMBA).eval()
    right = MambaBlock(TINY_MAMBA._replace(discretisation="exponential")).eval()
    right.load_state_dict(published.state_dict())
    x = torch.randn(1, 6, 32)
    with torch.inference_mode():
        (_, theirs), (_, ours) = published.state_space(x), right.state_space(x)
        step = nn.functional.softplus(right.D + right.s_D(x))[..., None]
        state = torch.zeros(32, 4)
        for t in range(6):
            state = torch.exp(-right.A * step[0, t]) * state + step[0, t] * x[0, t, :, None] * right.s_B(x)[0, t]
    torch.testing.assert_close(ours[0, -1], state, atol=1e-5, rtol=1e-5)
    assert (ours - theirs).abs().max() > 1e-3


# ---- loading -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sequences() -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.normal(size=(length, 24)).astype(np.float32) for length in (20, 3, 1, 11)]


def by_hand(network: nn.Module, sequence: np.ndarray) -> np.ndarray:
    """Seven probabilities of one sequence: softmax over the eight, without the last, renormalised."""
    with torch.inference_mode():
        eight = torch.softmax(network(torch.from_numpy(sequence)[None]).logits[0], 0)
    return (eight[:7] / eight[:7].sum()).numpy()


@pytest.mark.parametrize("kind", ["mamba", "former"])
@pytest.mark.parametrize("name", ["head.safetensors", "head.pt", "model_state_dict.pt", "state_dict.pt", "model.pt"])
def test_a_bare_state_dict_is_enough(tmp_path: Path, sequences: list[np.ndarray], kind: str, name: str) -> None:
    network = tiny_head(kind)
    under = name.removesuffix(".pt") if name.startswith(("model", "state")) else ""
    head = load_head(save_head(network, tmp_path / name, under=under))
    assert (head.features, head.width, head.architecture.lower()) == (24, 32, f"video{kind}")
    answers = answer_sequences(head, sequences)
    for sequence, answer in zip(sequences, answers, strict=True):
        np.testing.assert_allclose(answer.probabilities, by_hand(network, sequence), atol=1e-5)
        np.testing.assert_allclose(answer.features, answer_sequences(head, [sequence])[0].features, atol=1e-5)


def test_the_authors_checkpoint_loads_as_it_is(shared: Path, tmp_path: Path) -> None:
    sheet = read_parity(shared / "parity" / "ras_videoformer.json")
    torch.save({f"module.{key}": value for key, value in sheet.state_dict().items()}, tmp_path / "former.pt")
    head = load_head(tmp_path / "former.pt")
    answers = answer_sequences(head, list(sheet.inputs["sequences"]))
    eight = torch.softmax(torch.from_numpy(sheet.outputs["logits"]), 1).numpy()
    expected = eight[:, :7] / eight[:, :7].sum(1, keepdims=True)
    np.testing.assert_allclose([answer.probabilities for answer in answers], expected, atol=1e-4)


def test_what_tensors_cannot_tell_stands_in_the_metadata_or_beside(tmp_path: Path, sequences: list[np.ndarray]) -> None:
    network = tiny_head("former", heads=8)
    inside = load_head(save_head(network, tmp_path / "inside.safetensors", {"heads": "8"}))
    beside = save_head(network, tmp_path / "beside.pt")
    beside.with_suffix(".json").write_text('{"heads": 8}')
    for head in (inside, load_head(beside)):
        np.testing.assert_allclose(answer_sequences(head, sequences)[0].probabilities, by_hand(network, sequences[0]), atol=1e-5)
    right = tiny_head("mamba", discretisation="exponential")
    exponential = load_head(save_head(right, tmp_path / "right.safetensors", {"discretisation": "exponential"}))
    found = answer_sequences(exponential, sequences)[0].probabilities
    np.testing.assert_allclose(found, by_hand(right, sequences[0]), atol=1e-5)
    with_places = load_head(save_head(tiny_head("former", positions=True), tmp_path / "places.safetensors"))
    assert not np.allclose(
        answer_sequences(with_places, [sequences[0]])[0].probabilities,
        answer_sequences(with_places, [sequences[0][::-1].copy()])[0].probabilities,
        atol=1e-5,
    )


def test_classes_in_another_order(tmp_path: Path, sequences: list[np.ndarray]) -> None:
    network = tiny_head("mamba", classes=7)
    plain = answer_sequences(load_head(save_head(network, tmp_path / "ras.pt")), sequences)[0].probabilities
    words = ["Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger"]
    named = save_head(network, tmp_path / "native.pt")
    named.with_suffix(".json").write_text(json.dumps({"classes": words}))
    np.testing.assert_allclose(
        answer_sequences(load_head(named), sequences)[0].probabilities, plain[[0, 6, 5, 4, 1, 2, 3]], atol=1e-6
    )


def test_other_files_are_no_heads(tmp_path: Path) -> None:
    network = tiny_head("mamba")
    files = {
        "no weights at": tmp_path / "none.pt",
        "not a readable file of weights": tmp_path / "damaged.safetensors",
        "neither 'mamba' nor 'transformer'": save_head(nn.Linear(2, 2), tmp_path / "linear.pt"),
        "heads; name 'heads' in a JSON": save_head(tiny_head("former", width=30, heads=3), tmp_path / "odd.pt"),
        "missing or not one of its own": tmp_path / "less.pt",
        "5 classes": save_head(tiny_head("mamba", classes=5), tmp_path / "five.pt"),
        "not readable JSON": save_head(network, tmp_path / "noted.pt"),
    }
    files["not a readable file of weights"].write_bytes(b"no weights")
    torch.save({k: v for k, v in network.state_dict().items() if k != "mamba.1.D"}, files["missing or not one of its own"])
    (tmp_path / "noted.json").write_text("{")
    for sentence, path in files.items():
        with pytest.raises(WeightsError, match=sentence) as caught:
            load_head(path)
        assert path.stem in str(caught.value)
        assert str(caught.value).endswith(".")


def test_half_precision_stays_close(tmp_path: Path, sequences: list[np.ndarray]) -> None:
    path = save_head(tiny_head("mamba"), tmp_path / "head.pt")
    exact, half = (answer_sequences(load_head(path, "cpu", kind), sequences) for kind in ("auto", "bfloat16"))
    for one, other in zip(exact, half, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=0.1)


# ---- whole clips ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipEncoder:
    return load_clip(save_tiny_clip(tmp_path_factory.mktemp("clip")), precision="float32")


@pytest.fixture(scope="module")
def model(clip: ClipEncoder, tmp_path_factory: pytest.TempPathFactory) -> ClipDynamicFace:
    return load(clip, save_head(tiny_head("mamba", clip.width), tmp_path_factory.mktemp("head") / "mamba.safetensors"))


def clip_of(folder: Path, pictures: np.ndarray, frames: list[int], main: list[bool]) -> tuple[Path, pd.DataFrame]:
    """crops.npy and the table of faces of one clip of 5 frames a second."""
    with CropWriter(folder / "crops.npy", pictures.shape[1]) as writer:
        for picture in pictures:
            writer.append(picture)
    columns = {"face": np.arange(len(pictures)), "frame": frames, "time_s": np.array(frames) * 0.2}
    return folder / "crops.npy", pd.DataFrame({**columns, "track_id": [1 if m else 2 for m in main], "main": main})


@pytest.fixture
def drawn() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (32, 48, 48, 3), dtype=np.uint8)


def test_sampling_is_that_of_the_authors(shared: Path) -> None:
    sheet = json.loads((shared / "parity" / "frame_sampling.json").read_text())["ras_select_uniform_frames"]
    for case in sheet["cases"]:
        assert sample_frames(case["n"], sheet["N"]).tolist() == case["positions"]


def test_windows_are_answered_by_the_head_over_clip_features(model: ClipDynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn, list(range(32)), [True] * 32)
    windows = make_windows(12.0)
    scores = recognise(model, crops, faces, windows, batch=5)
    assert scores.present.tolist() == [True, True, True, True, False]
    features = picture_features(model.clip, list(drawn))
    for number, places in enumerate([range(20), range(10, 30), range(20, 32), range(30, 32)]):
        expected = by_hand(model.head.network, features[list(places)])
        np.testing.assert_allclose(scores.probabilities[number], expected, atol=1e-4)
    assert scores.features is not None
    assert scores.features.shape == (5, 32)
    assert list(scores.evidence.columns) == ["window", "frame", "time_s", "track_id", "attention"]
    np.testing.assert_allclose(scores.evidence.groupby("window")["attention"].sum(), 1, atol=1e-5)
    assert scores.evidence[scores.evidence["window"] == 1]["frame"].tolist() == list(range(10, 30))


def test_each_crop_is_encoded_once_and_only_those_that_count(model: ClipDynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    from modalities.loading.batching import in_batches

    asked: list[tuple[str, int]] = []

    def counted(work, network, items, size):  # type: ignore[no-untyped-def]
        items = list(items)
        asked.append((work.__name__, len(items)))
        return in_batches(work, network, items, size)

    crops, faces = clip_of(tmp_path, drawn, list(range(32)), [True] * 32)
    faces["time_s"] = faces["frame"] * 0.1
    recognise(model, crops, faces, np.array([[0.0, 3.2], [1.6, 3.2]]), batches=counted)
    shown = set(sample_frames(32)) | set(range(16, 32))
    assert asked == [("encode_crops", len(shown)), ("answer_sequences", 2)]


def test_faces_of_one_frame_are_averaged(model: ClipDynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn[:4], [0, 0, 1, 2], [True, False, True, True])
    features = picture_features(model.clip, list(drawn[:4]))
    everyone = recognise(model, crops, faces, make_windows(2.0), which="all")
    merged = np.stack([features[:2].mean(0), features[2], features[3]])
    np.testing.assert_allclose(everyone.probabilities[0], by_hand(model.head.network, merged), atol=1e-4)
    np.testing.assert_allclose(everyone.evidence["attention"], [1 / 6, 1 / 6, 1 / 3, 1 / 3], atol=1e-6)
    main = recognise(model, crops, faces, make_windows(2.0))
    np.testing.assert_allclose(main.probabilities[0], by_hand(model.head.network, features[[0, 2, 3]]), atol=1e-4)


def test_without_faces_dynamic_face_is_absent(model: ClipDynamicFace, drawn: np.ndarray, tmp_path: Path) -> None:
    crops, faces = clip_of(tmp_path, drawn[:2], [0, 1], [False, False])
    assert recognise(model, crops, faces, make_windows(4.0)).reason.startswith("No face belongs")
    assert recognise(model, crops, faces[:0], make_windows(4.0)).reason.startswith("No face was found")
    elsewhere = recognise(model, crops, faces, np.array([[50.0, 54.0], [60.0, 64.0]]), which="all")
    assert elsewhere.reason == "No face lies in any window."


def test_a_head_over_another_clip_is_refused(clip: ClipEncoder, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"reads features of length 24, but .* gives 64"):
        load(clip, save_head(tiny_head("mamba"), tmp_path / "head.pt"))


def test_a_real_clip(model: ClipDynamicFace, shared: Path, tmp_path: Path) -> None:
    crops, faces, windows = faces_of(shared / "datasets" / "media" / "single_face.mp4", tmp_path)
    scores = recognise(model, crops, faces, windows)
    assert scores.present.any()
    np.testing.assert_allclose(scores.probabilities[scores.present].sum(1), 1, atol=1e-5)
    assert scores.probabilities.shape == (len(windows), len(BASIC_EMOTIONS))
