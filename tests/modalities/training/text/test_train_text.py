"""Training of text and scene context: reading the corpora, honest splits, and short trainings that write loadable weights."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from modalities.loading.checkpoint import Card
from modalities.scene_context import embedded as scene_context
from modalities.text import embedded as text
from modalities.text.heads import EmotionHead
from modalities.training import scene_context as train_scene
from modalities.training.common import Progress
from modalities.training.text import corpora as text_corpora
from modalities.training.text import dialogue as text_dialogue
from modalities.training.text import measures as text_measures
from modalities.training.text import train as train_text


@pytest.fixture(autouse=True)
def two_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


SAID = {
    "joy": "I love this wonderful happy day number {}",
    "anger": "I hate you, get out, number {}",
    "neutral": "The train leaves at {}",
    "sadness": "He died and I cry, {} tears",
    "fear": "I am afraid of the dark, {} times",
    "disgust": "That is gross and makes me sick {}",
    "surprise": "Wow, what, {}? I did not expect that",
}


def small_corpora(folder: Path, sentences: int = 12) -> Path:
    """Files in the corpora's own layout, with so many sentences of each emotion."""
    rows = [(text.format(number), label, f"{label}{number}") for label, text in SAID.items() for number in range(sentences)]
    (folder / "text").mkdir(parents=True)
    for split in ("train", "dev"):
        go = pd.DataFrame(rows, columns=["text", "labels", "id"])
        go.loc[0, "labels"] = "joy|surprise"
        go.to_csv(folder / f"text/goemotions_ekman_{split}.csv", index=False)
        meld = pd.DataFrame({"Utterance": go["text"], "Emotion": [row[1] for row in rows], "Dialogue_ID": range(len(rows))})
        meld["Dialogue_ID"] //= 3
        meld.to_csv(folder / f"text/meld_{split}.csv", index=False)
    isear = pd.DataFrame({"label": ["joy", "shame"], "text": ["When I passed.", "When I lied."]})
    isear.to_csv(folder / "text/isear.csv", index=False)
    return folder


def small_descriptions(folder: Path) -> Path:
    words = {"Neutral": "calm", "Anger": "angry", "Disgust": "disgusted", "Fear": "afraid", "Happiness": "happy",
             "Sadness": "sad", "Surprise": "surprised"}  # fmt: skip
    (folder / "scene").mkdir(parents=True)
    for split, first in (("train", 0), ("dev", 90)):
        rows = [
            {"video_name": f"{first + number}___{label}_0000.avi", "text": f"The person is {word}. It is a room {number}."}
            | {other: float(other == label) for other in words}
            for label, word in words.items()
            for number in range(8)
        ]
        for size in train_scene.SIZES:
            for prompt in train_scene.PROMPTS:
                pd.DataFrame(rows).to_csv(folder / f"scene/afew_{split}_qwen2.5-vl-{size}_prompt{prompt}.csv", index=False)
    return folder


# ---- text


def test_corpora_become_our_seven_emotions(tmp_path: Path) -> None:
    examples = text_corpora.read_corpora(small_corpora(tmp_path) / "text", "train")
    assert examples.labels.shape == (12 * 7 * 2 + 1, 7)
    assert examples.labels[0].tolist() == [0, 0, 0, 0, 1, 0, 1]
    assert (examples.labels[1:].sum(1) == 1).all()
    assert set(examples.corpus) == {"goemotions", "meld", "isear"}
    assert 0 < examples.held.mean() < 0.3


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="goemotions_ekman_train.csv is missing.*--data"):
        train_text.train(tmp_path, tmp_path)


@pytest.mark.slow
def test_a_short_training_writes_weights_a_card_and_nothing_else(tmp_path: Path) -> None:
    seen: list[Progress] = []
    data = small_corpora(tmp_path / "data", sentences=6)
    card = train_text.train(data, tmp_path / "out", epochs=1, report=seen.append)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["text.md", "text.safetensors"]
    assert Card.read(tmp_path / "out/text.md") == card
    assert card.command == f"dyad train text --data {data} --seed 7 --epochs 1"
    assert [(progress.step, progress.total) for progress in seen] == [(1, 2), (2, 2)]
    model = text.load(tmp_path / "out/text.safetensors")
    assert model.centroids.shape == (7, 384)
    assert model.dialogue is not None
    assert np.isfinite(text.score_texts(model, ["I love this"])).all()


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_ends_alike(tmp_path: Path) -> None:
    data = small_corpora(tmp_path / "data", sentences=6)
    whole = train_text.train(data, tmp_path / "whole", epochs=2)
    for last in (1, 3):  # in the first part, and in that of dialogues

        def stop(progress: Progress, last: int = last) -> None:
            if progress.step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_text.train(data, tmp_path / "parts", epochs=2, report=stop)
    steps: list[int] = []
    parts = train_text.train(data, tmp_path / "parts", epochs=2, report=lambda progress: steps.append(progress.step))
    assert steps == [4]
    assert parts.metrics == whole.metrics


@pytest.mark.slow
def test_learning_lowers_the_loss(tmp_path: Path) -> None:
    examples = text_corpora.read_corpora(small_corpora(tmp_path) / "text", "train")
    torch.manual_seed(0)
    learner = train_text.start_learner(steps=12)
    losses = [train_text.learn_epoch(learner, examples, np.random.default_rng(epoch)) for epoch in range(4)]
    assert losses[-1] < 0.8 * losses[0]


def test_dialogues_stay_whole_and_are_heard_in_order(tmp_path: Path) -> None:
    examples = text_corpora.read_corpora(small_corpora(tmp_path) / "text", "train")
    spoken = text_dialogue.dialogues_of(examples)
    assert [len(lines) for lines in spoken] == [3] * 28
    written = np.flatnonzero(examples.dialogue < 0)
    batches = list(text_dialogue.batches_of(spoken, written, np.random.default_rng(1)))
    assert sorted(np.concatenate([lines for lines, _, _ in batches])) == sorted(np.concatenate(spoken))
    assert sorted(np.concatenate([beside for *_, beside in batches])) == sorted(written)
    for lines, earlier, _ in batches:
        heard = earlier[:, 0] >= 0
        before = lines[earlier[heard, 0]]
        np.testing.assert_array_equal(before, lines[heard.numpy()] - 1)
        np.testing.assert_array_equal(examples.dialogue[before], examples.dialogue[lines[heard.numpy()]])
    assert examples.earlier()[spoken[0]].tolist() == [[-1, -1, -1], [84, -1, -1], [85, 84, -1]]


@pytest.mark.slow
def test_learning_dialogues_tells_lines_from_comments(tmp_path: Path) -> None:
    examples = text_corpora.read_corpora(small_corpora(tmp_path) / "text", "train")
    kept = {f"head.{name}": value for name, value in EmotionHead().state_dict().items()}
    size = text_dialogue.Size(blocks=1, rank=2, hidden=32, narrow=8, comments=24)
    tensors = text_dialogue.learn_dialogues(
        kept, examples, seed=1, epochs=16, unfinished=tmp_path / "part.pt", size=size
    )  # fmt: skip
    logits, features = text_dialogue.predict(tensors, examples)
    assert features.shape == (len(examples.tokens), 384)
    lines = examples.dialogue >= 0
    assert (logits.argmax(1) == examples.labels.argmax(1))[lines].mean() > 0.5
    assert {name.split(".")[0] for name in tensors} == {"adapters", "head", "dialogue"}


@pytest.mark.slow
def test_thresholds_and_temperature_are_fitted() -> None:
    labels = np.eye(7, dtype=np.float32)[np.arange(70) % 7]
    certain = labels * 8
    assert text_measures.best_temperature(certain, labels) < 0.5
    random = np.random.default_rng(0).normal(size=(70, 7)).astype(np.float32) * 5
    assert text_measures.best_temperature(random, labels) > 2
    thresholds = np.array(text_measures.best_thresholds(text_measures.softmax(certain), labels))
    assert ((text_measures.softmax(certain) >= thresholds) == labels.astype(bool)).all()


# ---- scene context


@pytest.mark.slow
def test_a_scene_training_learns_and_writes_what_loads(tmp_path: Path) -> None:
    card = train_scene.train(small_descriptions(tmp_path / "data"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scene_context.md", "scene_context.safetensors"]
    assert card.metrics["afew_dev_32b_prompt1_uar"] > 0.9
    assert card.metrics["cross_validation_uar"] > 0.9
    model = scene_context.load(tmp_path / "out/scene_context.safetensors")
    assert BASIC_EMOTIONS[int(scene_context.score_texts(model, ["The person is angry."]).argmax())] == "anger"
    assert model.centroids.shape == (7, 384)


def test_shots_stay_together_and_apart_from_the_dev_files(tmp_path: Path) -> None:
    described = train_scene.read_described(small_descriptions(tmp_path) / "scene", "train")
    for learn, hold in train_scene.folds_of(described, seed=7):
        assert not set(described.shots[learn]) & set(described.shots[hold])
    left = train_scene.without_shots(described, {"0", "1"})
    assert len(left.texts) == len(described.texts) * 6 // 8
    assert not {"0", "1"} & set(left.shots)


def test_missing_descriptions_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="afew_dev_qwen2.5-vl-3b_prompt1.csv are missing"):
        train_scene.train(tmp_path, tmp_path / "out")


def test_finished_embeddings_are_not_made_again(tmp_path: Path) -> None:
    from modalities.encoders.sentence_encoder import load_encoder

    encoder, texts, kept = load_encoder(), ["The person is sad.", "A calm room."], tmp_path / "kept.npz"
    first = train_scene.embed_all(encoder, texts, kept)
    np.savez(kept, done=first + 1, key=np.load(kept)["key"])
    np.testing.assert_array_equal(train_scene.embed_all(encoder, texts, kept), first + 1)
    assert train_scene.embed_all(encoder, texts[:1], kept).shape == (1, 384)
