"""Scores, tables, the run folder and ready probabilities: what goes to disk comes back, whole or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.emotions import BASIC_EMOTIONS, Compound, basic_emotion
from data.errors import InputError
from data.files import atomic_path, write_text
from data.metrics import calibration_error, per_class_recall, scores_of, scores_of_counts
from data.ready_scores import read_ready_scores
from data.run_folder import RunFolder
from data.scores import Scores, Source
from data.tables import read_notes, read_scores, read_table, write_scores, write_table
from data.windows import make_windows, windows_of

WINDOWS = make_windows(9.0)


def some_scores() -> Scores:
    """Three windows of nine seconds: the first and the last have an answer."""
    probabilities = np.full((len(WINDOWS), 7), np.nan, np.float32)
    present = np.array([True, False, True, True])
    probabilities[present] = np.random.default_rng(7).dirichlet(np.ones(7), 3)
    evidence = pd.DataFrame({"window": [0, 2], "text": ["ah & oh", "<b>ünï</b>"]})
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    return Scores("text", WINDOWS, probabilities, present, Source("embedded", "m", "r", "p"), "", "", features, evidence)


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    folder, scores = RunFolder(tmp_path), some_scores()
    write_scores(folder.scores("text"), folder.evidence("text"), scores)
    back = read_scores(folder.scores("text"), folder.evidence("text"))
    assert (back.modality, back.source, back.reason) == (scores.modality, scores.source, scores.reason)
    np.testing.assert_array_equal(back.probabilities, scores.probabilities)
    np.testing.assert_array_equal(back.present, scores.present)
    np.testing.assert_array_equal(back.features, scores.features)
    pd.testing.assert_frame_equal(back.evidence, scores.evidence)


def test_evidence_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_scores(folder.scores("text"), folder.evidence("text"), some_scores())
    absent = Scores.absent("text", WINDOWS, "There are no words.", "Say some.")
    write_scores(folder.scores("text"), folder.evidence("text"), absent)
    assert not folder.evidence("text").exists()
    back = read_scores(folder.scores("text"))
    assert back.is_absent
    assert (back.reason, back.remedy) == ("There are no words.", "Say some.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modality": "smell"}, "not a modality"),
        ({"present": np.ones(4, bool)}, "do not sum to 1"),
        ({"present": np.zeros(4, bool)}, "must be NaN"),
        ({"probabilities": np.ones((4, 8), np.float32)}, "scores for 4 windows"),
        ({"features": np.ones((2, 3), np.float32)}, "features for 4 windows"),
    ],
)
def test_scores_that_make_no_sense_are_refused(change: dict[str, object], words: str) -> None:
    good = some_scores()
    fields = {name: getattr(good, name) for name in ("modality", "windows", "probabilities", "present", "features")}
    with pytest.raises(ValueError, match=words):
        Scores(**{**fields, **change})


def test_notes_travel_with_a_table(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", pd.DataFrame({"a": [1, 2]}), {"origin": "ünï"})
    assert read_table(tmp_path / "t.parquet")["a"].tolist() == [1, 2]
    assert read_notes(tmp_path / "t.parquet") == {"origin": "ünï"}
    write_table(tmp_path / "plain.parquet", pd.DataFrame({"a": [1]}))
    assert read_notes(tmp_path / "plain.parquet") == {}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_markers_of_finished_stages(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "clip")
    folder.create()
    assert not folder.is_done("voice", "key")
    folder.mark_failed("voice", "It broke.")
    assert folder.finished("voice") == {"failed": "It broke."}
    folder.mark_done("voice", "key", 1.5, {"absent": "no speech"})
    assert folder.is_done("voice", "key")
    assert not folder.is_done("voice", "another")
    folder.marker("voice").write_text("{ damaged")
    assert folder.finished("voice") == {}
    folder.forget()
    folder.clear_work()
    assert [path.name for path in folder.root.iterdir()] == [".stages"]
    assert list(folder.stages.iterdir()) == []


def test_ready_scores_are_averaged_over_the_overlap(tmp_path: Path) -> None:
    path = tmp_path / "ready.csv"
    path.write_text(
        "start,end,neutral,angry,disgust,fear,joy,sadness,surprise\n"
        "0,2,1,0,0,0,0,0,0\n"
        "2,4,0,0,0,0,2,0,0\n"
        "4,6,,,,,,,\n"
    )
    scores = read_ready_scores(path, "voice", WINDOWS)
    assert scores.present.tolist() == [True, True, False, False]
    assert scores.probabilities[0, BASIC_EMOTIONS.index("happiness")] == pytest.approx(2 / 3)
    assert scores.probabilities[1, BASIC_EMOTIONS.index("happiness")] == pytest.approx(1)


def test_ready_scores_by_window_number_and_as_parquet(tmp_path: Path) -> None:
    path = tmp_path / "ready.parquet"
    pd.DataFrame({"window": [0, 3], **{emotion: [None, 1.0] for emotion in BASIC_EMOTIONS}}).to_parquet(path)
    scores = read_ready_scores(path, "text", WINDOWS)
    assert scores.present.tolist() == [False, False, True, True]  # the row counts in each window that it overlaps
    np.testing.assert_allclose(scores.probabilities[3], 1 / 7, rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("start,end,neutral\n0,1,1\n", "no column for anger"),
        ("neutral,anger,disgust,fear,happiness,sadness,surprise\n1,0,0,0,0,0,0\n", "needs the columns start and end"),
        ("window,neutral,anger,disgust,fear,happiness,sadness,surprise\n0,-1,0,0,0,0,0,0\n", "line 2"),
        ("window,neutral,anger,disgust,fear,happiness,sadness,surprise\n0,1,x,0,0,0,0,0\n", "line 2"),
        ("", "has no rows"),
    ],
)
def test_tables_that_are_no_scores_say_why(table: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(table)
    with pytest.raises(InputError, match=words):
        read_ready_scores(path, "text", WINDOWS)


def test_windows_of_a_time() -> None:
    inside = windows_of(np.array([0.0, 3.0, 4.0, 9.0]), WINDOWS)
    assert inside.sum(0).tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("duration", "length", "shift", "count"), [(10.0, 2.0, 0.1, 81), (6.9, 2.0, 0.7, 8), (12.0, 4.0, 2.0, 5), (12.5, 4.0, 2.0, 6)]
)
def test_windows_start_at_whole_multiples_of_the_shift(duration: float, length: float, shift: float, count: int) -> None:
    windows = make_windows(duration, length, shift)
    assert len(windows) == count
    np.testing.assert_array_equal(windows[:, 0], np.arange(count) * shift)
    assert windows[-1, 1] == duration
    assert (windows[:-1, 1] < duration).all()


def test_words_for_emotions() -> None:
    assert basic_emotion(" Joy ") == "happiness"
    with pytest.raises(InputError, match="'hangry' is not a known emotion word"):
        basic_emotion("hangry")
    assert Compound("sadly_angry", "sadness", "anger").pair == (5, 1)


def test_metrics_agree_with_hand_counts() -> None:
    figures = scores_of([0, 0, 1, 1], [0, 1, 1, 1], classes=[0, 1])
    assert figures["war"] == 0.75
    assert figures["uar"] == 0.75
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert per_class_recall([0, 0, 1], [0, 1, 1], 3)[:2].tolist() == [0.5, 1.0]
    assert np.isnan(per_class_recall([0], [0], 2)[1])
    sure = np.array([[0.9, 0.1], [0.9, 0.1]])
    assert calibration_error(sure, [0, 1]) == pytest.approx(0.4)


def test_weighted_f1_counts_a_class_as_often_as_it_is_true() -> None:
    truth, predicted = [0, 0, 0, 1], [0, 0, 1, 1]
    figures = scores_of(truth, predicted)
    assert figures["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert figures["weighted_f1"] == pytest.approx((3 * 0.8 + 2 / 3) / 4)
    assert scores_of_counts([[2, 1], [0, 1]]) == pytest.approx(figures)


def test_answers_outside_the_classes_are_wrong_ones() -> None:
    truth, predicted = [0, 0, 1, 1], [0, 2, 1, 2]
    figures = scores_of(truth, predicted, classes=[0, 1])
    assert figures["war"] == 0.5
    assert figures["uar"] == 0.5
    assert scores_of_counts([[1, 0, 1], [0, 1, 1]]) == pytest.approx(figures)  # the last column: no answer


def test_classes_without_an_example_do_not_count() -> None:
    truth, predicted = [0, 0, 1, 1], [0, 2, 1, 1]
    figures = scores_of(truth, predicted, classes=range(7))
    assert figures["uar"] == 0.75
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores_of_counts([[1, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0]]) == pytest.approx(figures)


def test_bins_of_the_calibration_error_count_by_their_answers() -> None:
    probabilities = np.array([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.61, 0.39]])
    assert calibration_error(probabilities, [0, 0, 0, 1]) == pytest.approx((3 * 0.01 + 0.61) / 4)
