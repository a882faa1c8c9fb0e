"""Descriptions to emotions: reading the table, scoring what was written, and windows that descriptions overlap."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.media.descriptions import read_descriptions
from data.metrics import scores_of
from data.windows import make_windows
from modalities.scene_context import embedded as scene_context

HAPPY = "A woman smiles broadly and laughs; her eyes are bright and the mood is joyful and warm."
SAD = "A man lowers his head with tears in his eyes; his shoulders are slumped and the scene is sad and full of grief."
WINDOWS = make_windows(10.0)  # 0-4, 2-6, 4-8, 6-10


@pytest.fixture(scope="module")
def model() -> scene_context.SceneContext:
    return scene_context.load()


def csv(folder: Path, text: str) -> Path:
    path = folder / "said.csv"
    path.write_text(text, encoding="utf-8")
    return path


def descriptions(*rows: tuple[float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["start", "end", "text"])


# ---- reading


def test_a_table_by_window_for_one_clip(tmp_path: Path) -> None:
    read = read_descriptions(csv(tmp_path, f'window,text,author\n0,{SAD},hand\n2,"{HAPPY}",hand\n'), "film", WINDOWS)
    assert read[["start", "end"]].to_numpy().tolist() == [[0, 4], [4, 8]]
    assert read["text"].tolist() == [SAD, HAPPY]
    assert read["author"].tolist() == ["hand", "hand"]


def test_a_table_by_time_for_several_clips(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "\ufeffClip,Start,End,Text\nfilm.mp4,0,2.5,one\nother.mp4,x,2,two\nfilm,2.5,4,three\n"
        "clips/film.mov,4,5,four\nfilm-0123abcd,5,6,five\nfilm2,0,1,six\nfilm,6,7,\n",
    )
    assert read_descriptions(path, "film", WINDOWS)["text"].tolist() == ["one", "three", "four", "five"]
    assert read_descriptions(path, "nowhere", WINDOWS).empty


def test_the_clip_id_of_an_odd_name_is_recognised(tmp_path: Path) -> None:
    path = csv(tmp_path, "clip,window,text\nmy_film_1_a-00ff00ff,0,yes\nmy_film-00ff00ff,0,no\n")
    assert read_descriptions(path, "my film (1).a", WINDOWS)["text"].tolist() == ["yes"]


def test_what_a_model_thought_is_no_description(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        'window,text\n0,"<think>Is he\nfurious?</think>\nHe laughs."\n1,Is he angry?</think> She smiles.\n2,<think>Is she a\n'
        "3,I think they wait.\n",
    )
    read = read_descriptions(path, "film", WINDOWS)
    assert read[["start", "text"]].to_numpy().tolist() == [[0, "He laughs."], [2, "She smiles."], [6, "I think they wait."]]
    assert "line 6: only what a model thought" in read.attrs["notes"][0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("window,words\n0,hello\n", "no column 'text'.*first line"),
        ("start,text\n0,hello\n", "no column 'end'"),
        ("clip,text\nfilm,hello\n", "no column 'start'"),
        ("window,text\n0,hello\nfour,bye\n", "line 3: 'four' in the column 'window' is not a number"),
        ("window,text\n4,hello\n", "line 2: '4' in the column 'window'"),
        ("window,text\n0.5,hello\n", "line 2: '0.5'"),
        ('start,end,text\n0,1,"two\nlines"\n1,soon,bye\n', "line 4: 'soon' in the column 'end'.*seconds"),
        ("start,end,text\n0,nan,hello\n", "line 2: the cell in the column 'end' is empty"),
        ("start,end,text\n40,44,hello\n", "all descriptions lie beyond the clip .10 s."),
        ("window,text\n1,hello\n2,bye\n", "may count from 0 or from 1"),
        ("start,end,text\n3,2,hello\n", "line 2: the end is not after the start"),
        ("", "has no rows"),
        ('window,text\n0,"hello\n', "line 2: a double quote is not closed"),
    ],
)
def test_bad_tables_are_named_with_line_and_remedy(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_descriptions(csv(tmp_path, table), "film", WINDOWS)
    assert "said.csv" in str(raised.value)


def test_windows_that_are_counted_from_one_are_told(tmp_path: Path) -> None:
    read = read_descriptions(csv(tmp_path, "Window;Text\n" + "".join(f"{n};w{n}\n" for n in (1, 2, 3, 4))), "film", WINDOWS)
    assert read[["start", "text"]].to_numpy().tolist() == [[0, "w1"], [2, "w2"], [4, "w3"], [6, "w4"]]
    assert "counts windows from 1" in read.attrs["notes"][0]


def test_a_missing_or_foreign_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no table of descriptions"):
        read_descriptions(tmp_path / "none.csv", "film", WINDOWS)
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="it is not text"):
        read_descriptions(tmp_path / "picture.csv", "film", WINDOWS)


# ---- scoring


@pytest.mark.parametrize(
    ("description", "emotion"),
    [
        (HAPPY, "happiness"),
        (SAD, "sadness"),
        ("His face is relaxed and neutral, a calm conversation at a desk without strong emotion.", "neutral"),
        ("She is disgusted and wrinkles her nose.", "disgust"),
        ("She looks surprised, with an open mouth.", "surprise"),
        ("He shouts in anger with clenched fists, a furious and aggressive confrontation.", "anger"),
        ("Her eyes are wide with terror; she is frightened, backing away in fear of the danger.", "fear"),
    ],
)
def test_plain_descriptions(model: scene_context.SceneContext, description: str, emotion: str) -> None:
    scores = scene_context.score_texts(model, [description])[0]
    assert BASIC_EMOTIONS[int(scores.argmax())] == emotion


@pytest.mark.slow
def test_descriptions_without_words_have_no_answer(model: scene_context.SceneContext) -> None:
    scores = scene_context.score_texts(model, ["", "!?", "一个男人在哭", HAPPY, HAPPY * 200])
    assert np.isnan(scores).all(1).tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(scores[3:].sum(1), 1, atol=1e-5)
    assert scene_context.score_texts(model, []).shape == (0, 7)


def test_windows_mix_the_descriptions_that_overlap_them(model: scene_context.SceneContext) -> None:
    happy, sad = scene_context.score_texts(model, [HAPPY, SAD])
    scores = scene_context.recognise(model, descriptions((0, 5, HAPPY), (5, 6, SAD)), WINDOWS)
    assert scores.present.tolist() == [True, True, True, False]
    np.testing.assert_allclose(scores.probabilities[0], happy, atol=1e-5)
    np.testing.assert_allclose(scores.probabilities[1], (3 * happy + sad) / 4, atol=1e-5)
    assert scores.evidence["window"].tolist() == [0, 1, 1, 2, 2]
    assert scores.evidence["text"].tolist()[1:3] == [HAPPY, SAD]
    assert scores.features is not None
    assert np.isfinite(scores.features[:3]).all()


def test_the_author_of_a_description_is_kept_as_evidence(model: scene_context.SceneContext, tmp_path: Path) -> None:
    read = read_descriptions(csv(tmp_path, f'window,text,source\n0,,\n1,"{HAPPY}",written by hand\n'), "film", WINDOWS)
    evidence = scene_context.recognise(model, read, WINDOWS).evidence
    assert evidence["source"].tolist()[0] == "written by hand"


@pytest.mark.parametrize("given", [descriptions(), descriptions((0, 4, "")), descriptions((40, 44, HAPPY))])
def test_without_descriptions_the_modality_is_absent(model: scene_context.SceneContext, given: pd.DataFrame) -> None:
    scores = scene_context.recognise(model, given, WINDOWS)
    assert scores.is_absent
    assert scores.reason.endswith(".")
    assert "--descriptions" in scores.remedy


def test_weights_of_another_modality(tmp_path: Path) -> None:
    from modalities.loading.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "other.safetensors", {}, {}, {"modality": "voice"})
    with pytest.raises(WeightsError, match="scene context"):
        scene_context.load(tmp_path / "other.safetensors")


def test_the_network_reads_sixty_descriptions_together(model: scene_context.SceneContext) -> None:
    texts = [f"{HAPPY} The person number {number} looks to the left." for number in range(60)]
    sizes: list[int] = []
    counting = model.encoder.network.register_forward_hook(lambda network, given, made: sizes.append(len(given[0])))
    scene_context.score_texts(model, texts)
    counting.remove()
    assert sum(sizes) == len({HAPPY, *texts})
    assert len(sizes) <= 2


@pytest.mark.long
def test_held_out_clips(model: scene_context.SceneContext, shared: Path) -> None:
    table = pd.read_csv(shared / "datasets/scene/afew_dev_qwen2.5-vl-32b_prompt1.csv")
    truth = table[[emotion.capitalize() for emotion in BASIC_EMOTIONS]].to_numpy().argmax(1)
    reached = scores_of(truth, scene_context.score_texts(model, table["text"].tolist()).argmax(1))
    assert reached["uar"] > 0.40
    assert reached["macro_f1"] > 0.40
