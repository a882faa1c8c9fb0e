"""Quality: how well a window could be seen or heard, the same in a run, in scored tables, in exports and in a fitted fusion."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.ready_scores import read_ready_scores
from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores
from data.tables import read_notes, read_scores, read_table, write_table
from data.windows import make_windows
from fusion.tables.apply import pool_fitted
from fusion.tables.files import apply_table, fit_table
from fusion.tables.fitted import read_fitted
from fusion.tables.long_table import read_long_table
from modalities.quality import face_quality, image_quality, speech_quality, window_quality, words_quality
from reports.exports.clip import read_clip
from reports.exports.formats import FORMATS, text_pieces
from tests.flows.test_flow import ReadResult, again
from tests.fusion.test_fusion import some_scores
from tests.media_makers import colour_card

Dyad = Callable[..., tuple[int, str, str]]


@given(st.floats(1, 4000), st.floats(1e-6, 0.5), st.floats(1.01, 5))
def test_larger_and_sharper_faces_and_more_words_are_better(side: float, sharpness: float, factor: float) -> None:
    assert 0 < face_quality(side, sharpness) < face_quality(side * factor, sharpness) < 1
    assert face_quality(side, sharpness) < face_quality(side, sharpness * factor)
    assert face_quality(64, 0.004) == pytest.approx(0.5)
    assert words_quality(["", "no", "one two three four five"]).tolist() == pytest.approx([0, 1 / 6, 0.5])
    assert speech_quality([0, 2, 9], [4, 4, 4]).tolist() == [0, 0.5, 1]


def test_a_window_s_quality_is_that_of_what_its_answer_rests_on() -> None:
    windows = make_windows(6.0)  # 0 to 4, 2 to 6
    sides, tracks = [64.0, 64, 640, 9], [0, 0, 0, 1]
    faces = pd.DataFrame({"frame": [0, 10, 20, 20], "track_id": tracks, "width": sides, "height": sides, "sharpness": 0.004})
    seen = pd.DataFrame({"frame": [0, 10, 20], "time_s": [0.5, 3.0, 5.0], "track_id": [0, 0, 0]})
    answers = some_scores("static_face", 2, 1)
    assert len(answers.windows) == 2
    quality = window_quality(replace(answers, windows=windows, evidence=seen), faces)
    assert quality.tolist() == pytest.approx([0.5, (0.5 + float(face_quality(640, 0.004))) / 2])
    by_window = seen.assign(window=[0, 0, 1])
    quality = window_quality(replace(some_scores("dynamic_face", 2, 1), windows=windows, evidence=by_window), faces)
    assert quality.tolist() == pytest.approx([0.5, float(face_quality(640, 0.004))])
    heard = pd.DataFrame({"window": [0, 0, 1], "speech_seconds": [3.0, 3.0, 1.0]})
    silent = some_scores("voice", 2, 1, absent=(1,))
    np.testing.assert_allclose(window_quality(replace(silent, windows=windows, evidence=heard), faces), [0.75, np.nan])
    assert np.isnan(window_quality(replace(some_scores("scene_labels", 2, 1), evidence=heard), faces)).all()
    assert np.isnan(window_quality(replace(answers, evidence=seen), faces.head(0))).all(), "faces that nobody measured"


def test_a_run_tells_the_quality_of_every_modality(sample_run: RunFolder, result_of: ReadResult) -> None:
    result, windows = result_of(sample_run), read_table(sample_run.windows)
    scores = {name: read_scores(sample_run.scores(name), sample_run.evidence(name)) for name in MODALITIES}
    for name in ("static_face", "dynamic_face", "text"):
        quality = scores[name].quality
        assert quality is not None
        assert ((quality > 0) & (quality <= 1)).tolist() == scores[name].present.tolist()
        np.testing.assert_allclose(windows[f"quality_{name}"], quality, atol=1e-6)
        np.testing.assert_allclose(np.array(result["modalities"][name]["quality"], float), quality, atol=1e-6)
    words = scores["text"].evidence.set_index("window")["text"]
    assert scores["text"].quality[words.index[0]] == pytest.approx(float(words_quality([words.iloc[0]])[0]))
    assert np.isnan(scores["scene_context"].quality).all()
    assert scores["scene_context"].present.any(), "that descriptions are there says nothing of how good they are"


def test_run_folders_of_older_versions_stay_readable(sample_run: RunFolder, tmp_path: Path) -> None:
    path = sample_run.scores("text")
    write_table(tmp_path / "text.parquet", read_table(path).drop(columns="quality"), read_notes(path))
    old = read_scores(tmp_path / "text.parquet")
    assert old.quality is None
    assert old.present.any()


def table_with_quality(folder: Path) -> Path:
    """A long CSV of 400 clips: a model is right when its quality is high, and sure of something else when it is low."""
    random = np.random.default_rng(5)
    rows = []
    for clip, label in enumerate(random.integers(0, 7, 400)):
        for model in MODALITIES:
            quality = random.uniform(0, 1)
            shown = label if quality > 0.5 else random.integers(0, 7)
            shares = random.dirichlet(np.where(np.arange(7) == shown, 8.0, 0.7))
            rows.append({"clip": clip, "model": model, "label": BASIC_EMOTIONS[label], "quality": quality,
                         **dict(zip(BASIC_EMOTIONS, shares, strict=True))})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)
    return folder / "own.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    fit_table(table_with_quality(folder), folder / "weights.json", "conditional-mhpf")
    return folder / "weights.json"


def test_the_gates_of_a_fit_use_quality_and_contributions_still_add_up(weights: Path) -> None:
    fusion = read_fitted(weights)
    gates = np.asarray(fusion.whole.parameters["gate"])
    assert (gates[:, -1] > 0.3).all(), "a model counts more when it saw well"
    seen = np.array([0.05, 0.95, np.nan], np.float32)
    scores = [replace(some_scores(name, 3, 4), quality=seen if name == "voice" else None) for name in MODALITIES]
    known, unknown = (pool_fitted(each, fusion) for each in (scores, [replace(item, quality=None) for item in scores]))
    assert np.abs(known.basic[:2] - unknown.basic[:2]).max() > 0.01
    np.testing.assert_allclose(known.basic[2], unknown.basic[2], atol=1e-9)
    near = np.einsum("nc,nc->n", known.basic, scores[MODALITIES.index("voice")].probabilities)
    far = np.einsum("nc,nc->n", unknown.basic, scores[MODALITIES.index("voice")].probabilities)
    assert near[0] < far[0]
    assert near[1] > far[1], "nearer to a voice that was heard well"
    np.testing.assert_allclose(known.weighed.sum(1), known.basic, atol=1e-9)


@pytest.mark.slow
def test_a_run_fused_by_such_a_fit_is_what_apply_makes_of_its_exported_table(
    copied_run: RunFolder, weights: Path, tmp_path: Path, result_of: ReadResult
) -> None:
    own = load_settings(overrides={"fusion": {"weights": weights, "none_threshold": 1.0}})
    folder = again(copied_run, settings=own).folder
    result = result_of(folder)
    table = tmp_path / "run.fuse.csv"
    table.write_text("".join(text_pieces(FORMATS["fuse"], [read_clip(folder)])), encoding="utf-8")
    read = read_long_table(table)
    assert read.quality is not None
    assert np.isfinite(read.quality).any(1).all()
    apply_table(weights, table, tmp_path / "fused.csv")
    fused = pd.read_csv(tmp_path / "fused.csv")
    basic = pd.DataFrame([window["basic"] for window in result["windows"]])
    np.testing.assert_allclose(fused[list(BASIC_EMOTIONS)], basic[list(BASIC_EMOTIONS)], atol=2e-5)
    for window in result["windows"]:
        given = sum(value or 0 for value in window["contributions"].values())
        assert given == pytest.approx(window["compound"][window["top"]], abs=1e-4)


def test_a_table_for_fuse_has_the_data_set_s_labels(sample_run: RunFolder) -> None:
    clip = read_clip(sample_run)
    labelled = replace(clip, status={"label": "happiness", "split": "train"})
    compound = replace(clip, status={"label": "sadly_angry", "split": ""})
    rows = [line.split(",") for line in text_pieces(FORMATS["fuse"], [labelled, compound])]
    assert rows[0][:6] == ["clip", "model", "label", "split", "group", "quality"]
    assert {tuple(row[2:4]) for row in rows[1:]} == {("happiness", "train"), ("", "")}


def test_brought_scores_may_bring_their_quality(tmp_path: Path) -> None:
    times = {"start": [0.0, 2, 4], "end": [2.0, 4, 6]}
    rows = pd.DataFrame({**times, "quality": [10.0, 30, np.nan], **dict.fromkeys(BASIC_EMOTIONS, 1 / 7)})
    rows.to_csv(tmp_path / "own.csv", index=False)
    brought = read_ready_scores(tmp_path / "own.csv", "voice", make_windows(6.0))
    assert brought.quality is not None
    assert brought.quality.tolist() == [20.0, 30.0]
    assert window_quality(brought, pd.DataFrame()).tolist() == [20.0, 30.0]
    rows.astype({"quality": str}).replace({"quality": {"30.0": "good"}}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(InputError, match="line 3: 'good' in the column 'quality' is not a number"):
        read_ready_scores(tmp_path / "own.csv", "voice", make_windows(6.0))
    with pytest.raises(ValueError, match="quality of"):
        replace(brought, quality=np.zeros(5, np.float32))


def test_scored_tables_have_the_same_quality(dyad: Dyad, tmp_path: Path) -> None:
    pd.DataFrame({"text": ["What a lovely surprise this is", "", "no"]}).to_csv(tmp_path / "texts.csv", index=False)
    assert dyad("score", "text", tmp_path / "texts.csv", "-o", tmp_path / "out.csv")[0] == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["quality"], [6 / 11, np.nan, 1 / 6], atol=1e-5)
    pictures = np.stack([colour_card(time_s, (90, 90)) for time_s in (0.0, 1.0)])
    np.savez(tmp_path / "faces.npz", images=pictures)
    assert dyad("score", "static-face", tmp_path / "faces.npz", "-o", tmp_path / "faces.csv")[0] == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "faces.csv")["quality"], image_quality(pictures), atol=1e-5)


def test_absent_modalities_have_none() -> None:
    absent = Scores.absent("voice", make_windows(6.0), "Nobody speaks.")
    assert np.isnan(window_quality(absent, pd.DataFrame())).all()
