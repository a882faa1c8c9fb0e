"""Labels of other people's models in our seven emotions."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS
from data.errors import InputError
from modalities.label_maps import OPEN, TABLE, basic_matrix, covered, label_names, meanings_of, missing_note, to_basic

GO_EMOTIONS = {
    "anger": "anger annoyance disapproval", "disgust": "disgust", "fear": "fear nervousness",
    "happiness": "joy amusement approval excitement gratitude love optimism relief pride admiration desire caring",
    "sadness": "sadness disappointment embarrassment grief remorse", "surprise": "surprise realization confusion curiosity",
    "neutral": "neutral",
}  # fmt: skip


def meant(label: str, where: str = "somebody/model") -> dict[str, float]:
    """What one label means, told beside two that are known."""
    row = basic_matrix([label, "happy", "sad"], where)[0]
    return {emotion: float(share) for emotion, share in zip(BASIC_EMOTIONS, row, strict=True) if share}


@pytest.mark.parametrize(
    ("labels", "emotions"),
    [
        ("anger disgust fear joy neutral sadness surprise", "anger disgust fear happiness neutral sadness surprise"),
        ("neu hap ang sad", "neutral happiness anger sadness"),
        ("angry calm fearful neutral surprised", "anger neutral fear neutral surprise"),
        ("female_angry male_happy Female-Fear", "anger happiness fear"),
        ("gioia rabbia paura tristezza", "happiness anger fear sadness"),
        ("колесо/радость гнев", "happiness anger"),
        ("生气/angry 开心/happy 吃惊/surprised", "anger happiness surprise"),
        ("colère joie dégoût", "anger happiness disgust"),
    ],
)
def test_labels_of_published_models(labels: str, emotions: str) -> None:
    matrix = basic_matrix(labels.split(), "somebody/model")
    assert [BASIC_EMOTIONS[place] for place in matrix.argmax(1)] == emotions.split()
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix.sum(1), 1)


def test_go_emotions_fall_into_the_grouping_of_its_authors() -> None:
    for emotion, labels in GO_EMOTIONS.items():
        for label in labels.split():
            assert meant(label) == {emotion: 1.0}, label
    assert sum(len(labels.split()) for labels in GO_EMOTIONS.values()) == 28


def test_labels_outside_the_seven_and_between_them() -> None:
    for label in ("other", "Others", "contempt", "boredom", "No Face", "<unk>"):
        assert meant(label) == {}, label
    assert meant("no_emotion") == meant("No Emotion") == {"neutral": 1.0}
    assert meant("hate") == {"anger": 0.5, "disgust": 0.5}
    assert meant("Happily Surprised") == {"happiness": 0.5, "surprise": 0.5}


def test_parts_of_a_label_share_it() -> None:
    assert meant("anger/disgust") == {"anger": 0.5, "disgust": 0.5}
    assert meant("Fear/angry/生气") == {"fear": 0.5, "anger": 0.5}
    assert meant("anger/contempt") == {"anger": 0.5}
    assert meant("anger/hate") == {"anger": 0.75, "disgust": 0.25}
    with pytest.raises(InputError, match="'yes/no'"):
        meant("yes/no")


def test_every_word_of_the_table_means_one_thing_and_is_said_once() -> None:
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    words = [word for words in table["words"].values() for word in words] + list(table["mixed"])
    assert all(isinstance(word, str) for word in words), "YAML read a word as something else: quote it"
    assert len(set(words)) == len(words)
    assert not set(words) & set(EMOTION_WORDS), "data/emotions.py has them already"
    assert set(table["words"]) == {*BASIC_EMOTIONS, "none"}


@pytest.mark.parametrize("where", ["ras-scene", "/models/ras-scene", "C:\\models\\ras-scene"])
def test_numbered_labels_have_the_meaning_of_their_model(where: str) -> None:
    numbered = [f"LABEL_{number}" for number in range(8)]
    np.testing.assert_array_equal(basic_matrix(numbered, where), np.eye(8, 7, dtype=np.float32))


def test_a_model_in_the_hubs_cache_is_known_by_its_repository() -> None:
    folder = "/cache/models--cardiffnlp--twitter-roberta-base-emotion/snapshots/0123456789ab"
    assert covered(basic_matrix(["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"], folder)) == ("anger", "happiness", "sadness")


@pytest.mark.parametrize(
    "names", ["LABEL_0 LABEL_1 LABEL_2 LABEL_3", "joy optimism anger sadness", "anger joy optimism sadness"]
)
def test_outputs_of_a_model_with_wrong_names_are_read_by_position(names: str) -> None:
    matrix = basic_matrix(names.split(), "cardiffnlp/twitter-roberta-base-emotion")
    assert [BASIC_EMOTIONS[index] for index in matrix.argmax(1)] == ["anger", "happiness", "happiness", "sadness"]


def test_a_list_of_meanings_does_not_hold_for_other_outputs() -> None:
    matrix = basic_matrix(["joy", "fear"], "mine/twitter-roberta-base-emotion")
    assert [BASIC_EMOTIONS[index] for index in matrix.argmax(1)] == ["happiness", "fear"]


def test_what_a_model_cannot_answer_is_said() -> None:
    matrix = basic_matrix(["neu", "hap", "ang", "sad"], "superb/hubert-large-superb-er")
    assert covered(matrix) == ("neutral", "anger", "happiness", "sadness")
    assert missing_note(matrix) == "cannot answer disgust, fear, surprise"
    assert missing_note(np.eye(7, dtype=np.float32)) == ""
    with pytest.raises(InputError, match="fewer than two"):
        basic_matrix(["happy", "joy", "other"], "somebody/model")


def test_unknown_labels_give_a_table_that_can_be_filled_in_and_used(tmp_path: Path) -> None:
    labels = ["happy", "LABEL_1", "yes", "colon: here", "contempt", "hate"]
    with pytest.raises(InputError, match="'LABEL_1', 'yes', 'colon: here'") as caught:
        basic_matrix(labels, "somebody/model")
    table = yaml.safe_load(str(caught.value).split(":\n\n")[1])
    assert list(table) == labels
    assert table["happy"] == "happiness"
    assert table["contempt"] == "none"
    assert table["yes"] == OPEN
    own = tmp_path / "labels.yaml"
    own.write_text(yaml.safe_dump(table), encoding="utf-8")
    with pytest.raises(InputError, match="is not valid"):
        basic_matrix(labels, "somebody/model", own)
    filled = table | {"LABEL_1": "angry", "yes": {"fear": 1, "surprise": 3}, "colon: here": "none"}
    own.write_text(yaml.safe_dump(filled), encoding="utf-8")
    matrix = basic_matrix(labels, "somebody/model", own)
    assert matrix[1].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert matrix[2].tolist() == [0, 0, 0, 0.25, 0, 0, 0.75]
    assert not matrix[3].any()


def test_the_users_table_goes_first_and_may_be_partial(tmp_path: Path) -> None:
    own = tmp_path / "labels.yaml"
    own.write_text("LOVE: {happiness: 0.5}\ncontempt: disgust\n", encoding="utf-8")
    matrix = basic_matrix(["love", "Contempt", "fear"], "somebody/model", own)
    assert matrix.sum(1).tolist() == [0.5, 1, 1]
    assert matrix[1, BASIC_EMOTIONS.index("disgust")] == 1
    with pytest.raises(InputError, match=r"put it into .*labels\.yaml"):
        basic_matrix(["love", "what"], "somebody/model", own)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- anger\n", "must hold a table"), ("", "must hold a table"), ("a: [", "is not valid YAML"),
        ("a: bliss\n", "'bliss' for the label 'a'"), ("a: {anger: -1}\n", "the share -1"),
        ("a: {anger: .nan}\n", "the share nan"), ("a: {anger: much}\n", "the share 'much'"), ("a: [anger]\n", "is not valid"),
    ],
)  # fmt: skip
def test_tables_that_say_nothing_usable(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "labels.yaml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        meanings_of(own)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml cannot be read"):
        basic_matrix(["happy", "sad"], "somebody/model", tmp_path / "nowhere.yaml")


def test_probabilities_are_renormalised_over_the_seven() -> None:
    matrix = basic_matrix(["happy", "sad", "other", "hate"], "somebody/model")
    basic = to_basic(np.array([[0.2, 0.2, 0.4, 0.2], [0, 0, 1, 0], [np.nan] * 4]), matrix)
    assert basic.dtype == np.float32
    np.testing.assert_allclose(basic[0], [0, 1 / 6, 1 / 6, 0, 1 / 3, 1 / 3, 0], rtol=1e-6)
    assert np.isnan(basic[1:]).all()
    assert to_basic(np.empty((0, 4)), matrix).shape == (0, 7)


def test_labels_stand_in_the_order_of_the_outputs() -> None:
    assert label_names({"10": "sad", "2": "angry", "0": "happy"}) == ["happy", "angry", "sad"]
