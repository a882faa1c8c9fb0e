"""Text classifiers of transformers, and RAS's text network, from folders that `save_pretrained` wrote."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data.emotions import BASIC_EMOTIONS, basic_emotion
from data.errors import DyadError, InputError, WeightsError
from data.windows import make_windows
from modalities.scene_context.classifier import recognise_descriptions  # fmt: skip
from modalities.text.classifier import pieces_of, recognise, score_texts
from modalities.text.models import TextClassifier, load_mean_pooled_text, load_text_classifier
from tests.parity import assert_parity, read_parity
from tests.tiny_text import KINDS, SENTENCES, draw_far, save_tiny_classifier, save_tiny_tokenizer, tiny_config

LONG = " ".join(SENTENCES * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_classifier(tmp_path_factory.mktemp("classifier") / "tiny-roberta")


@pytest.fixture(scope="module")
def model(folder: Path) -> TextClassifier:
    return load_text_classifier(folder, precision="float32")


def by_pipeline(folder: Path, texts: list[str], **more: Any) -> np.ndarray:
    """Our seven from what the library's own pipeline answers."""
    from transformers import pipeline

    answers = pipeline("text-classification", model=str(folder), tokenizer=str(folder), top_k=None, **more)(texts)
    scores = np.zeros((len(texts), 7))
    for row, answer in enumerate(answers):
        for entry in answer:
            scores[row, BASIC_EMOTIONS.index(basic_emotion(entry["label"]))] += entry["score"]
    return scores / scores.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_library(tmp_path: Path, kind: str) -> None:
    saved = save_tiny_classifier(tmp_path, kind)
    ours = score_texts(load_text_classifier(saved, precision="float32"), SENTENCES)
    theirs = by_pipeline(saved, SENTENCES)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(theirs, axis=0).max() > 0.05, "the texts must differ for the comparison to say anything"


def test_labels_with_probabilities_of_their_own(tmp_path: Path) -> None:
    labels = ["joy", "love", "anger", "sadness", "contempt"]
    saved = save_tiny_classifier(tmp_path, labels=labels, problem_type="multi_label_classification")
    classifier = load_text_classifier(saved, precision="float32")
    assert classifier.multilabel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    coded = AutoTokenizer.from_pretrained(saved)(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        joy, love, anger, sadness, _ = AutoModelForSequenceClassification.from_pretrained(saved)(**coded).logits.sigmoid().T
    expected = torch.stack([anger, joy + love, sadness], 1)
    ours = score_texts(classifier, SENTENCES)
    np.testing.assert_allclose(ours[:, [1, 4, 5]], expected / expected.sum(1, keepdim=True), atol=1e-5)
    assert classifier.source.preprocessing.endswith("cannot answer neutral, disgust, fear, surprise")


def test_a_batch_of_many_equals_one_by_one(model: TextClassifier) -> None:
    texts = [*SENTENCES, LONG, "Yes."]
    together = score_texts(model, texts)
    np.testing.assert_allclose(together, [score_texts(model, [text])[0] for text in texts], atol=1e-6)
    np.testing.assert_allclose(together, score_texts(model, texts, batch=3), atol=1e-6)


def test_texts_without_words_are_absent(model: TextClassifier) -> None:
    texts = ["", "  ", "...", "Yes.", "<i></i>"]
    assert np.isnan(score_texts(model, texts)[:, 0]).tolist() == [True, True, True, False, True]
    assert score_texts(model, []).shape == (0, 7)
    assert score_texts(model, [""]).shape == (1, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_averaged_over_pieces_that_the_network_takes(tmp_path: Path, kind: str) -> None:
    classifier = load_text_classifier(save_tiny_classifier(tmp_path, kind, positions=24), precision="float32")
    assert classifier.longest == 24
    pieces, owner, weight = pieces_of(classifier, ["Yes.", LONG])
    assert max(len(piece) for piece in pieces) <= 24
    assert owner[:2] == [0, 1]
    assert sum(weight[1:]) == pytest.approx(1)
    words = [token for piece in pieces[1:] for token in piece[1:-1]]
    assert words == classifier.tokenizer.encode(LONG).ids[1:-1]
    parts = np.array([one_piece(classifier, piece) for piece in pieces[1:]])
    expected = np.average(parts, axis=0, weights=weight[1:]) @ classifier.matrix
    np.testing.assert_allclose(score_texts(classifier, [LONG])[0], expected, atol=1e-5)


def one_piece(classifier: TextClassifier, piece: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return classifier.network(input_ids=torch.tensor([piece])).logits[0].softmax(0).numpy()


def test_the_tokenizers_own_limit_counts_too(tmp_path: Path) -> None:
    settings = save_tiny_classifier(tmp_path) / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 12}))
    assert load_text_classifier(tmp_path).longest == 12


def test_a_model_in_the_hubs_cache_is_named_by_its_repository(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--somebody--tiny-roberta" / "snapshots" / "0123456789ab"
    source = load_text_classifier(save_tiny_classifier(snapshot)).source
    assert source.model == "somebody/tiny-roberta"
    assert len(source.revision) == 12


# ---- clips ---------------------------------------------------------------------------------------------------------------


def transcript(*texts: str, **more: Any) -> pd.DataFrame:
    starts = [4.0 * number for number in range(len(texts))]
    return pd.DataFrame({"start": starts, "end": [start + 4 for start in starts], "text": texts, **more})


def test_words_of_a_window_are_scored(model: TextClassifier) -> None:
    windows = make_windows(12.0, shift=4.0)
    scores = recognise(model, transcript(SENTENCES[0], "", SENTENCES[1]), windows, batch=1)
    assert scores.present.tolist() == [True, False, True]
    np.testing.assert_allclose(scores.probabilities[[0, 2]], score_texts(model, SENTENCES[:2]), atol=1e-6)
    assert scores.evidence["text"].tolist() == SENTENCES[:2]
    assert scores.features is not None
    assert scores.features.shape == (3, 32)
    assert np.isnan(scores.features[1]).all()
    assert scores.source == model.source
    assert scores.source.model == "tiny-roberta"


def test_silence_and_foreign_words_are_absent_with_a_reason(model: TextClassifier) -> None:
    windows = make_windows(4.0)
    silent = recognise(model, transcript(), windows)
    assert silent.is_absent
    assert silent.remedy
    german = transcript("Ich freue mich sehr", language=["de"])
    assert not recognise(model, german, windows).is_absent
    assert "English" in recognise(model, german, windows, english_only=True).reason


def test_work_goes_through_the_given_batches(model: TextClassifier) -> None:
    sizes: list[int] = []

    def counted(work: Any, given: Any, items: Any, size: int) -> Iterator[Any]:
        everything = list(items)
        sizes.append(len(everything))
        for item in everything:
            yield from work(given, [item])

    windows = make_windows(12.0, shift=4.0)
    told = transcript(*SENTENCES[:3])
    ours = recognise(model, told, windows, batches=counted)
    assert sizes == [3]
    np.testing.assert_allclose(ours.probabilities, recognise(model, told, windows).probabilities, atol=1e-6)


def test_descriptions_are_averaged_over_their_overlap(model: TextClassifier) -> None:
    windows = make_windows(8.0, shift=4.0)
    described = pd.DataFrame({"start": [0.0, 0.0], "end": [4.0, 8.0], "text": SENTENCES[:2], "author": ["a", "b"]})
    scores = recognise_descriptions(model, described, windows)
    alone = score_texts(model, SENTENCES[:2])
    np.testing.assert_allclose(scores.probabilities, [alone.mean(0), alone[1]], atol=1e-6)
    assert scores.modality == "scene_context"
    assert scores.evidence["author"].tolist() == ["a", "b", "b"]
    assert recognise_descriptions(model, described[:0], windows).is_absent


# ---- RAS's text network --------------------------------------------------------------------------------------------------


def test_the_authors_numbers(shared: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    from modalities.text.mean_pooled import MeanPooledText

    sheet = read_parity(shared / "parity" / "ras_text_roberta_meanpool.json")
    encoder = RobertaModel(RobertaConfig(**sheet.arguments["encoder_config"]))
    network = MeanPooledText(encoder, 32, sheet.arguments["num_labels"]).eval()
    network.load_state_dict(sheet.state_dict())
    given = sheet.tensors()
    with torch.inference_mode():
        logits, mean = network(given["input_ids"], given["attention_mask"])
        states = encoder(**given).last_hidden_state * given["attention_mask"].unsqueeze(-1)
    assert_parity({"logits": logits, "last_hidden": states}, sheet)
    torch.testing.assert_close(mean, states.sum(1) / given["attention_mask"].sum(1, keepdim=True))


def ras_checkpoint(folder: Path, nested: str = "", name: str = "text.pt", classes: int = 8) -> tuple[Path, Path]:
    """A checkpoint of RAS's network and the folder of its encoder, as the authors save and name them."""
    from transformers import AutoModel

    from modalities.text.mean_pooled import MeanPooledText

    torch.manual_seed(1)
    config = tiny_config("roberta", ["a", "b"], positions=40)
    base = save_tiny_tokenizer(folder / "distilroberta")
    config.save_pretrained(base)
    network = MeanPooledText(AutoModel.from_config(config), 32, classes)
    draw_far(network)
    state = network.state_dict() | {"base_model.embeddings.position_ids": torch.arange(42)[None]}
    if name.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(state, folder / name)
    else:
        torch.save({nested: state, "epoch": 3} if nested else state, folder / name)
    return folder / name, base


@pytest.mark.parametrize(
    ("nested", "name"), [("", "text.pt"), ("state_dict", "text.pt"), ("model_state_dict", "text.pth"), ("", "text.safetensors")]
)
def test_checkpoints_of_ras(tmp_path: Path, nested: str, name: str) -> None:
    weights, base = ras_checkpoint(tmp_path, nested, name)
    classifier = load_mean_pooled_text(weights, base, precision="float32")
    ours = score_texts(classifier, [*SENTENCES, LONG])
    tokens = torch.tensor([classifier.tokenizer.encode(SENTENCES[0]).ids])
    with torch.inference_mode():
        logits, _ = classifier.network(tokens, torch.ones_like(tokens))
    np.testing.assert_allclose(ours[0], logits[0, :7].softmax(0), atol=1e-5)  # 'other' is left out
    assert np.isfinite(ours).all()
    scores = recognise(classifier, transcript(SENTENCES[0]), make_windows(4.0))
    np.testing.assert_allclose(scores.probabilities[0], ours[0], atol=1e-6)
    half = score_texts(load_mean_pooled_text(weights, base, precision="bfloat16"), SENTENCES)
    np.testing.assert_allclose(half, ours[: len(SENTENCES)], atol=0.05)


def test_checkpoints_that_are_not_of_ras_or_not_of_this_encoder(tmp_path: Path) -> None:
    weights, base = ras_checkpoint(tmp_path)
    other = tmp_path / "other.pt"
    for tensors, said in (
        ({"weight": torch.zeros(3)}, "is not RAS's text network"),
        ({"classifier.bias": torch.zeros(5)}, "is not RAS's text network"),
        ({"classifier.bias": torch.zeros(8)}, "lacks base_model"),
        (torch.load(weights, weights_only=True) | {"more.weight": torch.zeros(2)}, "has more.weight"),
        (torch.load(weights, weights_only=True) | {"classifier.weight": torch.zeros(8, 3)}, "does not fit"),
    ):
        torch.save(tensors, other)
        with pytest.raises(WeightsError, match=said):
            load_mean_pooled_text(other, base)
    other.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(WeightsError, match="not a readable file of weights alone"):
        load_mean_pooled_text(other, base)
    with pytest.raises(WeightsError, match="There are no weights at"):
        load_mean_pooled_text(tmp_path / "nowhere.pt", base)
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_mean_pooled_text(weights, tmp_path)


# ---- folders that are not what they should be ----------------------------------------------------------------------------


def refused(folder: Path, error: type[DyadError] = WeightsError, **more: Any) -> str:
    """What is said of a folder that cannot be loaded: one paragraph that names it."""
    with pytest.raises(error) as caught:
        load_text_classifier(folder, **more)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_part_is_refused(tmp_path: Path) -> None:
    assert "no config.json" in refused(tmp_path / "nowhere")
    save_tiny_classifier(tmp_path)
    kept = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    assert "tokenizer" in refused(tmp_path)
    (tmp_path / "tokenizer.json").write_text(kept[:200], encoding="utf-8")
    assert "tokenizer" in refused(tmp_path)
    (tmp_path / "tokenizer.json").write_text(kept, encoding="utf-8")
    load_text_classifier(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "The weights in" in refused(tmp_path)


@pytest.mark.slow
def test_damaged_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    weights = save_tiny_classifier(tmp_path) / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:500], whole[:-500], b""):
        weights.write_bytes(damaged)
        assert "The weights in" in refused(tmp_path)
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"hidden_size": 64}, "cannot be loaded"),
        ({"num_hidden_layers": 3}, "lack roberta.encoder.layer.2"),
        ({"model_type": "clip"}, "does not classify texts"),
        ({"model_type": "nonsense"}, "not one of a model that transformers knows"),
        ({"architectures": ["RobertaForMaskedLM"]}, "holds a RobertaForMaskedLM"),
        ({"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"]}, "another kind"),
        ({"problem_type": "regression"}, "another kind"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        assert said in refused(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json" in refused(tmp_path)


def test_a_program_in_a_folder_is_never_run(tmp_path: Path) -> None:
    save_tiny_classifier(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    refused(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_of_a_bigger_model_is_refused(tmp_path: Path) -> None:
    save_tiny_classifier(tmp_path, vocab_size=300)
    assert "the network knows 300 tokens" in refused(tmp_path)


def test_labels_that_nobody_explained(tmp_path: Path) -> None:
    save_tiny_classifier(tmp_path / "own", labels=["LABEL_0", "LABEL_1", "sadness"])
    assert 'LABEL_0: "?"\n' in refused(tmp_path / "own", InputError)
    explained = tmp_path / "labels.yaml"
    explained.write_text("LABEL_0: anger\nLABEL_1: {happiness: 1}\n", encoding="utf-8")
    scores = score_texts(load_text_classifier(tmp_path / "own", labels=explained), SENTENCES)
    assert (scores[:, [1, 4, 5]] > 0).all()
    np.testing.assert_allclose(scores[:, [1, 4, 5]].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_close(folder: Path, model: TextClassifier, precision: Any) -> None:
    half = load_text_classifier(folder, precision=precision)
    assert next(half.network.parameters()).dtype == getattr(torch, precision)
    scores = score_texts(half, SENTENCES)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, score_texts(model, SENTENCES), atol=0.05)
