"""Scene labels: prompt files of every kind, their numbers, and clips scored with them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.frames import Frame
from data.windows import make_windows
from modalities.encoders.clip import ClipEncoder, encode_pictures, encode_texts
from modalities.loading.batching import answer_batch
from modalities.scene_labels import zero_shot as scene_labels
from modalities.scene_labels.prompts import (
    LabelTexts,
    bank_of,
    pooled_probabilities,
    probabilities_of,
    read_label_texts,
    seven_of,
    softmax,
)
from tests.parity import assert_parity, read_parity
from tests.tiny_models import save_tiny_clip, save_tiny_siglip

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "prompts"
PROMPTS = yaml.safe_load((FOLDER / "scene_labels.yaml").read_text(encoding="utf-8"))
FILES = ["scene_labels", *(f"scene_labels_{kind}" for kind in ("words", "templates", "actions", "contrast"))]
COMPOUNDS = [compound.name for compound in ABAW_COMPOUNDS]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> scene_labels.SceneLabels:
    return scene_labels.load(checkpoint, "", PROMPTS, precision="float32")


@pytest.fixture(scope="module")
def clip(model: scene_labels.SceneLabels) -> ClipEncoder:
    return model.clip


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
    scores = scene_labels.recognise(model, frames, make_windows(3.0), frames_per_second=1.0)
    np.testing.assert_allclose(scores.probabilities[0], expected, atol=1e-4)
    assert scores.features is not None
    np.testing.assert_allclose(scores.features[0], images.mean(0).numpy(), atol=1e-4)
    assert np.ptp(expected) > 1e-3


def test_a_window_is_the_mean_of_its_pictures_and_each_is_encoded_once(model: scene_labels.SceneLabels) -> None:
    windows = make_windows(10.0)
    scores = scene_labels.recognise(model, pictures(10.0), windows, frames_per_second=1.0)
    assert scores.present.all()
    used = [frame.rgb for frame in pictures(10.0) if frame.time_s == int(frame.time_s)]
    single = probabilities_of(model.basic, encode_pictures(model.clip, used), model.temperature)
    for row, (start, end) in zip(scores.probabilities, windows.astype(int), strict=True):
        np.testing.assert_allclose(row, single[start:end].mean(0), atol=1e-5)
    encoded: list[int] = []
    handle = model.network.visual.register_forward_hook(lambda *call: encoded.append(len(call[1][0])))
    scene_labels.recognise(model, pictures(10.0), windows, frames_per_second=1.0)
    handle.remove()
    assert sum(encoded) == len(used)


def test_a_window_without_a_picture_is_absent(model: scene_labels.SceneLabels) -> None:
    windows = np.array([[0.0, 2.0], [2.0, 4.0], [4.2, 4.4], [4.4, 4.8]])
    times = [0.0, 4.0, 4.3, 4.5]
    frames = [Frame(frame.frame, time, frame.rgb) for time, frame in zip(times, pictures(0.8), strict=True)]
    scores = scene_labels.recognise(model, frames, windows, frames_per_second=1.0)
    assert scores.present.tolist() == [True, False, True, True]
    assert set(scores.evidence["window"]) == {0, 2, 3}
    nothing = scene_labels.recognise(model, [], windows, frames_per_second=1.0)
    assert nothing.is_absent
    assert nothing.reason == "The clip has no picture."


def test_the_evidence_says_which_labels_and_texts_fit(model: scene_labels.SceneLabels) -> None:
    scores = scene_labels.recognise(model, pictures(6.0), make_windows(6.0), frames_per_second=1.0)
    evidence = scores.evidence
    assert list(evidence.columns) == ["window", "kind", "label", "probability", "similarity", "text"]
    for (window, kind), rows in evidence.groupby(["window", "kind"]):
        assert rows["probability"].sum() == pytest.approx(1.0, abs=1e-5)
        assert rows["probability"].is_monotonic_decreasing
        assert all(text in PROMPTS[kind][label] for label, text in zip(rows["label"], rows["text"], strict=True))
        if kind == "basic":
            assert rows["label"].iloc[0] == BASIC_EMOTIONS[scores.probabilities[window].argmax()]
    assert set(evidence.loc[evidence["kind"] == "compound", "label"]) == {compound.name for compound in ABAW_COMPOUNDS}


def test_the_temperature_is_the_networks_own_unless_given(model: scene_labels.SceneLabels) -> None:
    assert model.temperature == pytest.approx(0.07, abs=1e-4)
    flat = scene_labels.attach_texts(model.clip, PROMPTS, temperature=1.0)
    frames, windows = list(pictures(2.0)), make_windows(2.0)
    own, even = (scene_labels.recognise(m, frames, windows, frames_per_second=1.0).probabilities[0] for m in (model, flat))
    assert own.max() / own.min() > (even.max() / even.min()) ** 2
    assert own.argmax() == even.argmax()


@pytest.mark.parametrize("name", FILES)
def test_every_prompt_file_scores_a_clip(name: str, clip: ClipEncoder) -> None:
    model = scene_labels.attach_texts(clip, FOLDER / f"{name}.yaml")
    scores = scene_labels.recognise(model, pictures(6.0), make_windows(6.0), frames_per_second=1.0)
    assert scores.present.all()
    assert scores.probabilities.shape == (2, 7)
    assert np.ptp(scores.probabilities, axis=1).min() > 1e-4
    evidence = scores.evidence
    np.testing.assert_allclose(evidence.groupby(["window", "kind"])["probability"].sum(), 1, atol=1e-5)
    assert sorted(evidence.loc[evidence["window"].eq(0) & evidence["kind"].eq("compound"), "label"]) == sorted(COMPOUNDS)
    shown = set(evidence["text"])
    assert shown <= {text for bank in (model.basic, model.compound) for text in bank.texts}


def test_the_papers_settings_give_the_papers_numbers(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ras_clip_label_matching.json")
    every, texts = sheet.inputs["image_features"], sheet.inputs["text_features"]
    used = every[:: sheet.arguments["frame_rate"]]
    sets = read_label_texts(FOLDER / "scene_labels_words.yaml")
    known = dict(zip([text for entry in (*sets.basic, *sets.compound) for text in entry.positive], texts, strict=True))
    order = ["neutral", "angry", "disgusted", "fearful", "happy", "sad", "surprised", "other"]
    assert list(known)[:8] == order
    unit = {text: vector / np.linalg.norm(vector) for text, vector in known.items()}
    banks = [bank_of(entries, lambda some: np.stack([unit[text] for text in some])) for entries in (sets.basic, sets.compound)]
    embeddings = used / np.linalg.norm(used, axis=1, keepdims=True)
    shares = np.full((1, len(used)), 1 / len(used), np.float32)
    assert (sets.together, sets.temperature) == (True, 1.0)
    basic, compound = pooled_probabilities(*banks, embeddings, shares, sets.temperature, sets.together)
    ours = {"basic_predictions": basic[0], "compound_predictions": compound[0], "image_features": (shares @ embeddings)[0]}
    assert_parity(ours, sheet)
    np.testing.assert_allclose(seven_of(banks[0], basic)[0], basic[0, :7] / basic[0, :7].sum(), rtol=1e-5)


def test_a_labels_texts_are_averaged_after_each_has_unit_length(clip: ClipEncoder) -> None:
    words = {label: ["angry", "a furious man"] for label in (*BASIC_EMOTIONS, "other")}
    model = scene_labels.attach_texts(clip, {"basic": words, "compound": {"a": ["x"], "b": ["y"]}})
    mean = encode_texts(clip, ["angry", "a furious man"]).mean(0)
    np.testing.assert_allclose(model.basic.vectors[3], mean / np.linalg.norm(mean), atol=1e-6)
    assert model.basic.labels == (*BASIC_EMOTIONS, "other")


def test_templates_hold_every_word_of_a_label() -> None:
    basic = {label: ["angry", "sad"] for label in BASIC_EMOTIONS}
    templates = ["a {adjective} person", "somebody {}", "{word}!"]
    sets = read_label_texts({"templates": templates, "basic": basic, "compound": {"a": ["x"], "b": ["Y"]}})
    assert sets.basic[0].positive == (
        "an angry person", "somebody angry", "angry!", "a sad person", "somebody sad", "sad!"
    )  # fmt: skip
    assert sets.compound[1].positive == ("a Y person", "somebody Y", "Y!")


def test_negative_texts_give_the_log_odds_of_a_choice_between_two(clip: ClipEncoder) -> None:
    entries = [LabelTexts("calm", ("calm", "at rest"), ("nervous",)), LabelTexts("glad", ("glad",), ("sorry", "gloomy"))]
    bank = bank_of(entries, lambda texts: encode_texts(clip, texts))
    embeddings = encode_pictures(clip, [frame.rgb for frame in pictures(1.0)])
    odds = []
    for entry in entries:
        sides = [encode_texts(clip, side).mean(0) for side in (entry.positive, entry.negative)]
        cosines = embeddings @ np.stack([side / np.linalg.norm(side) for side in sides]).T
        yes, no = softmax(cosines / 0.01).T
        odds.append(yes / no)
    expected = np.stack(odds, axis=1)
    np.testing.assert_allclose(
        probabilities_of(bank, embeddings, 0.01), expected / expected.sum(1, keepdims=True), rtol=2e-3, atol=1e-5
    )
    assert bank.texts == ("calm", "at rest", "glad")


def test_one_softmax_over_both_sets_weighs_pictures_by_their_share(clip: ClipEncoder) -> None:
    apart, joint = (scene_labels.attach_texts(clip, {**PROMPTS, "together": together}) for together in (False, True))
    one, two = pictures(2.0, rate=1.0)
    for frames in ([one], [one, two]):
        first, second = (scene_labels.recognise(m, frames, make_windows(2.0), frames_per_second=1.0).probabilities[0]
                         for m in (apart, joint))
        assert np.allclose(first, second, atol=1e-6) is (len(frames) == 1)
    embeddings = encode_pictures(clip, [one.rgb, two.rgb])
    rows = np.concatenate([joint.basic.vectors, joint.compound.vectors])
    mean = softmax(embeddings @ rows.T / joint.temperature).mean(0)[:7]
    np.testing.assert_allclose(second, mean / mean.sum(), atol=1e-6)


def test_other_takes_its_share_and_is_left_out_of_the_seven(clip: ClipEncoder) -> None:
    model = scene_labels.attach_texts(clip, {**PROMPTS, "basic": {**PROMPTS["basic"], "other": ["a photo of a landscape"]}})
    scores = scene_labels.recognise(model, pictures(2.0), make_windows(2.0), frames_per_second=1.0)
    rows = scores.evidence[scores.evidence["kind"] == "basic"].set_index("label")["probability"]
    assert rows["other"] > 0
    assert rows.sum() == pytest.approx(1, abs=1e-5)
    seven = rows[list(BASIC_EMOTIONS)].to_numpy()
    np.testing.assert_allclose(scores.probabilities[0], seven / seven.sum(), atol=1e-6)


def test_a_temperature_given_goes_before_the_files_and_that_before_the_networks(clip: ClipEncoder) -> None:
    own = scene_labels.attach_texts(clip, PROMPTS)
    files = scene_labels.attach_texts(clip, {**PROMPTS, "temperature": 0.5})
    given = scene_labels.attach_texts(clip, {**PROMPTS, "temperature": 0.5}, temperature=0.2)
    assert (own.temperature, files.temperature, given.temperature) == (1 / clip.logit_scale, 0.5, 0.2)
    assert files.source.preprocessing.endswith("temperature 0.5")
    assert own.clip is files.clip is clip


def test_a_siglip_gives_scores_with_its_own_scale(tmp_path: Path) -> None:
    model = scene_labels.load(save_tiny_siglip(tmp_path / "siglip"), "", PROMPTS)
    scores = scene_labels.recognise(model, pictures(2.0), make_windows(2.0), frames_per_second=1.0)
    assert model.temperature == pytest.approx(0.07, abs=1e-4)
    np.testing.assert_allclose(scores.probabilities.sum(1), 1, atol=1e-5)


def test_batches_of_any_kind_give_the_same(model: scene_labels.SceneLabels) -> None:
    windows = make_windows(8.0)
    plain = scene_labels.recognise(model, pictures(8.0), windows, frames_per_second=1.0)

    def all_at_once(work: Any, model: Any, items: Any, size: int) -> Iterator[Any]:
        everything = list(items)
        assert size == 5
        yield from answer_batch(work, model, everything)

    for batches in ({"batch": 3}, {"batches": all_at_once, "batch": 5}):
        again = scene_labels.recognise(model, pictures(8.0), windows, frames_per_second=1.0, **batches)  # type: ignore[arg-type]
        np.testing.assert_allclose(again.probabilities, plain.probabilities, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["talking_1.mp4", "expressive_1.mp4", "no_face.mp4", "face_then_none.mov"])
def test_real_clips_are_scored_in_order(name: str, model: scene_labels.SceneLabels, shared: Path) -> None:
    with av.open(shared / "datasets" / "media" / name) as video:
        read = enumerate(video.decode(video=0))
        frames = [Frame(number, frame.time or 0.0, frame.to_ndarray(format="rgb24")) for number, frame in read]
    windows = make_windows(frames[-1].time_s)
    scores = scene_labels.recognise(model, frames, windows, frames_per_second=2.0)
    assert scores.probabilities.shape == (len(windows), 7)
    assert scores.present.all()
    assert scores.features is not None
    assert scores.features.shape == (len(windows), 64)
    last = [frame for frame in frames if frame.time_s >= windows[-1, 0]]
    alone = scene_labels.recognise(model, last, windows[-1:], frames_per_second=2.0)
    np.testing.assert_allclose(alone.probabilities[0], scores.probabilities[-1], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("basic: {anger: [x]}", "'basic' must have texts for exactly: neutral, .* 'neutral' is missing"),
        ("basic: {joy: [x]}", "'joy' is none of them"),
        ("compound: {sadly_angry: [x]}", "at least two compounds"),
        ("compound: {sadly_angry: a sadly angry person, other: [x]}", "'compound': 'sadly_angry' must be a list"),
        ("compound: {sadly_angry: [], other: [x]}", "'sadly_angry' must be a list of one or more texts"),
        ("compound: {sadly_angry: [3], other: [x]}", "'sadly_angry' must be a list of one or more texts"),
        ("compound: {sadly_angry: {positive: [x]}, other: [x]}", "'sadly_angry' must have a list of texts, or"),
        ("compound: {a: {positive: [x], negative: []}, b: [x]}", "'a': 'negative' must be a list"),
        ("compound: {a: {positive: [x], negative: [y]}, b: [x]}", "'b' has no negative texts though other labels have"),
        ("compound: [a, b]", "'compound' must hold labels with their texts"),
        ("templates: a {} person", "'templates' must be a list"),
        ("templates: [a person]", "template 'a person' must have exactly one gap"),
        ("templates: ['{a} and {b}']", "must have exactly one gap"),
        ("templates: ['{a']", "must have exactly one gap"),
        ("temperature: warm", "'temperature' must be a number above 0, not 'warm'"),
        ("temperature: 0", "'temperature' must be a number above 0"),
        ("together: 3", "'together' must be true or false"),
        ("basics: {}", "'basics' is no part of a prompt file; known are: templates"),
    ],
)
def test_malformed_prompts_are_refused_with_file_and_label(change: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**PROMPTS, **yaml.safe_load(change)}), encoding="utf-8")
    with pytest.raises(InputError, match=f"^{file}: .*{message}"):
        read_label_texts(file)
    with pytest.raises(InputError, match=f"^The prompts: .*{message}"):
        read_label_texts(yaml.safe_load(file.read_text(encoding="utf-8")))


def test_files_that_are_no_prompts_are_refused(tmp_path: Path) -> None:
    for content, message in (("- a\n- b", "must hold 'basic' and 'compound'"), ("a: [", "is not valid YAML")):
        (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_label_texts(tmp_path / "mine.yaml")
    with pytest.raises(InputError, match="missing.yaml cannot be read"):
        read_label_texts(tmp_path / "missing.yaml")


def test_malformed_prompts_are_told_before_the_network_is_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'basic' must have texts"):
        scene_labels.load(tmp_path / "missing.safetensors", "", {})
    with pytest.raises(WeightsError, match="no CLIP checkpoint at"):
        scene_labels.load(tmp_path / "missing.safetensors", "", PROMPTS)
