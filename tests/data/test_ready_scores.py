"""Probabilities that a user brings, in the spellings in which tables of them are written."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import InputError
from data.ready_scores import read_ready_scores, read_ready_table
from data.scores import Scores
from data.windows import make_windows

EMOTIONS = "neutral,anger,disgust,fear,happiness,sadness,surprise"
ANSWERS = (
    [0.1, 0.7, 0.05, 0.05, 0.05, 0.03, 0.02],
    [0.1, 0.05, 0.05, 0.05, 0.7, 0.03, 0.02],
    [0.1, 0.05, 0.05, 0.7, 0.05, 0.03, 0.02],
)
"""Anger, happiness, fear."""
TIMES = ("0,4", "2,6", "4,8")


def ready(
    path: Path, header: str, times: Sequence[str] = TIMES, write: Callable[[float], str] = str, between: str = ","
) -> Scores:
    """The scores of an 8 s clip from a table that somebody wrote in his way."""
    rows = [between.join([*time.split(","), *map(write, row)]) for time, row in zip(times, ANSWERS, strict=True)]
    path.write_text("\n".join([header.replace(",", between), *rows]) + "\n")
    return read_ready_scores(path, "voice", make_windows(8.0), 25.0)


def comma(value: float) -> str:
    return f"{value}".replace(".", ",")


def test_scores_are_the_same_in_every_spelling(tmp_path: Path) -> None:
    good = ready(tmp_path / "good.csv", f"start,end,{EMOTIONS}")
    assert good.probabilities.argmax(1).tolist() == [1, 4, 3]
    spelled = {
        "upper": ready(tmp_path / "upper.csv", f"Start,END (s),{EMOTIONS.title()}"),
        "semicolon": ready(tmp_path / "semi.csv", f"start,end,{EMOTIONS}", write=comma, between=";"),
        "quoted": ready(tmp_path / "quoted.csv", f"start,end,{EMOTIONS}", write=lambda x: f'"{x}"'.replace(".", ",")),
        "percent": ready(tmp_path / "percent.csv", f"start,end,{EMOTIONS}", write=lambda x: f"{100 * x:.0f}%"),
        "clock": ready(tmp_path / "clock.csv", f"start,end,{EMOTIONS}", ("00:00:00,00:00:04", "2,0:06", "00:00:04:00,8 s")),
        "milliseconds": ready(tmp_path / "millis.csv", f"start,end,{EMOTIONS}", ("0,4000", "2000,6000", "4000,8000")),
        "windows": ready(tmp_path / "windows.csv", f"window,{EMOTIONS}", ("0", "1", "2")),
        "windows from 1": ready(tmp_path / "one.csv", f"window,{EMOTIONS}", ("1", "2", "3")),
    }
    for name, scores in spelled.items():
        np.testing.assert_allclose(scores.probabilities, good.probabilities, atol=1e-6, err_msg=name)
    assert "are milliseconds" in spelled["milliseconds"].notes[0]
    assert "counts windows from 1" in spelled["windows from 1"].notes[0]
    assert not spelled["semicolon"].notes


@pytest.mark.parametrize(
    ("header", "times", "complaint"),
    [
        (f"start,end,{EMOTIONS}", ("0,4", ",", "4,8"), "line 3: the cell in the column 'start' is empty"),
        (f"start,end,{EMOTIONS}", ("0,4", "late,6", "4,8"), "line 3: 'late' in the column 'start' is not a time"),
        (f"start,end,{EMOTIONS}", ("0,100", "50,150", "100,200"), "rows lie beyond the clip .8 s.*milliseconds or frames"),
        (f"start,end,{EMOTIONS}", ("3600,3604", "3602,3606", "3604,3608"), "count from 01:00:00"),
        (f"window,{EMOTIONS}", ("1", "2", "2"), "may count from 0 or from 1"),
        (f"window,{EMOTIONS}", ("0", "1", "3"), "line 4: '3' in the column 'window' is not valid"),
        (f"start,end,{EMOTIONS},joy", TIMES, "line 2: it has 9 cells, the first line 10"),
        (f"start,{EMOTIONS}", TIMES, "line 2: it has 9 cells, the first line 8"),
    ],
)
def test_scores_that_would_be_read_wrong_are_refused(tmp_path: Path, header: str, times: Sequence[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ready(tmp_path / "bad.csv", header, times)


def test_a_number_that_is_none_is_refused_and_empty_cells_are_an_absent_answer(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(f"start,end,{EMOTIONS}\n0,4,,,,,,,\n2,6,{','.join(['NaN'] * 7)}\n")
    with pytest.raises(InputError, match=r"line 3: 'NaN' in the column 'neutral' is not a number; leave all seven cells empty"):
        read_ready_table(table)
    arrow = {"start": [0.0, 2.0], "end": [4.0, 6.0], **dict.fromkeys(EMOTIONS.split(","), [None, float("nan")])}
    pq.write_table(pa.table(arrow), tmp_path / "scores.parquet")
    with pytest.raises(InputError, match=r"scores.parquet, row 2: 'nan' in the column 'neutral' is not a number"):
        read_ready_table(tmp_path / "scores.parquet")
    table.write_text(f"start,end,{EMOTIONS}\n0,4,,,,,,,\n2,6,{','.join(['1'] * 7)}\n")
    assert np.isnan(read_ready_table(table).values[0]).all()


def test_two_columns_of_one_emotion_are_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text(f"start,end,{EMOTIONS},joy\n0,4,1,0,0,0,0,0,0,1\n")
    with pytest.raises(InputError, match="more than one column for happiness .'happiness' and 'joy'."):
        read_ready_scores(tmp_path / "twice.csv", "voice", make_windows(8.0))
