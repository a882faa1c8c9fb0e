"""Exports as tables, read back by csv, pandas and json."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.csv_files import as_given
from data.errors import InputError
from data.run_folder import RunFolder
from reports.answer import answer_name
from reports.exports import tables as export_tables
from reports.exports.clip import ClipAnswer, Item, Unanswered, read_clip
from reports.exports.tables import arrow_long, arrow_wide, csv_long, csv_wide, json_lines, json_whole, segments
from tests.answers import KINDS, NAMES, asked_for, changed, made, silent

BAD = Unanswered("bad", "films/bad.mp4", "failed", 'It holds text; "not, video".', {"split": "test", "label": ""})


@pytest.fixture(scope="module")
def sample(sample_run: RunFolder) -> ClipAnswer:
    return read_clip(sample_run)


@pytest.fixture(params=list(KINDS), scope="module")
def clip(request: pytest.FixtureRequest, sample: ClipAnswer) -> ClipAnswer:
    return asked_for(sample, request.param)


def read_csv(clips: Iterable[Item]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(csv_wide(clips)), newline="")))


def test_a_wide_table_is_windows_parquet(sample: ClipAnswer, sample_run: RunFolder) -> None:
    read = pd.read_csv(io.StringIO("".join(csv_wide([sample]))))
    windows = pd.read_parquet(sample_run.windows)
    assert (read["clip_id"] == sample.clip_id).all()
    assert set(windows.columns) - {"person"} <= set(read.columns)
    for name in [*sample.result["emotions"], *NAMES, "start", "end", "sureness", "blend"]:
        assert np.allclose(read[name], windows[name], atol=1e-6, equal_nan=True)
    assert read["top"].tolist() == windows["top"].tolist()


def test_tables_leave_what_is_not_known_empty(sample: ClipAnswer) -> None:
    quiet = changed(sample, silent)
    rows = read_csv([quiet])
    assert len(rows) == len(quiet.result["windows"])
    assert {row["top"] + row["anger"] + row[NAMES[0]] for row in rows} == {""}
    assert rows[0]["reason"] == "No modality answers."
    assert len("".join(csv_long([quiet])).splitlines()) == 1


def test_long_rows_add_up_to_distributions(clip: ClipAnswer) -> None:
    table = pd.read_csv(io.StringIO("".join(csv_long([clip]))))
    sums = table.groupby(["window", "source"])["probability"].sum()
    assert np.allclose(sums, 1, atol=1e-4)
    known = sum(row[0] is not None for entry in clip.result["modalities"].values() for row in entry["probabilities"])
    assert (~table["source"].isin(["fused", "compound"])).sum() == 7 * known


def test_json_lines_hold_the_windows(clip: ClipAnswer) -> None:
    lines = "".join(json_lines([clip])).split("\n")
    rows, emotions = [json.loads(line) for line in lines[:-1]], clip.result["emotions"]
    assert lines[-1] == ""
    assert len(rows) == len(clip.result["windows"])
    for place, (row, window) in enumerate(zip(rows, clip.result["windows"], strict=True)):
        assert row["clip_id"] == clip.clip_id
        assert row["window"] == place
        assert window.items() <= row.items()
        for name, entry in clip.result["modalities"].items():
            given = entry["probabilities"][place]
            assert row["modalities"][name] == (None if given[0] is None else dict(zip(emotions, given, strict=True)))


def test_segments_have_ten_fields(clip: ClipAnswer) -> None:
    odd = changed(clip, lambda result: result["clip"].update(clip_id="a clip\tof mine"))
    rows = [line.split(" ") for line in "".join(segments([odd])).splitlines()]
    assert [row[7] for row in rows] == [answer_name(row) for row in clip.result["timeline"]]
    assert all(len(row) == 10 and row[:3] == ["SPEAKER", "a_clip_of_mine", "1"] and float(row[4]) > 0 for row in rows)


def test_tables_of_clips_with_other_columns_are_refused(sample: ClipAnswer) -> None:
    other = changed(sample, lambda result: result["windows"][-1]["compound"].update(new_one=0.1))
    with pytest.raises(InputError, match=r"new_one.*csv-long"):
        list(csv_wide([sample, other]))


def in_set(clip: ClipAnswer, label: str) -> ClipAnswer:
    return ClipAnswer(clip.result, clip.frames, clip.cues, {"split": "train", "label": label, "path": "x"})


@pytest.mark.parametrize("order", [0, 1])
def test_a_clip_without_an_answer_is_a_row_and_no_label(order: int) -> None:
    clips = [BAD, in_set(made(9.0), "sadly_angry")]
    rows = read_csv(clips if order else clips[::-1])
    bad = rows[0] if order else rows[-1]
    filled = {name: value for name, value in bad.items() if value}
    assert filled == {"clip_id": "bad", "split": "test", "present": "False", "reason": 'It holds text; "not, video".'}
    assert [row["label"] for row in rows if row["clip_id"] != "bad"] == ["sadly_angry"] * 4
    assert {row["name"] for row in csv.DictReader(csv_long(clips)) if row["clip_id"] == "bad"} == set()
    assert "".join(segments([BAD])) == ""


def test_a_set_without_any_answer_is_rows_with_reasons() -> None:
    assert read_csv([BAD]) == [
        {"clip_id": "bad", "person": "", "person_name": "", "split": "test", "label": "", "present": "False",
         "reason": 'It holds text; "not, video".'}
    ]  # fmt: skip
    assert read_csv([]) == []


@pytest.mark.slow
def test_parquet_and_csv_say_the_same(clip: ClipAnswer, tmp_path: Any) -> None:
    for arrow, text in ((arrow_wide, csv_wide), (arrow_long, csv_long)):
        table = pa.concat_tables(arrow([BAD, clip])).to_pandas()
        read = pd.read_csv(io.StringIO("".join(text([BAD, clip]))), keep_default_na=True)
        pd.testing.assert_frame_equal(table.replace({None: np.nan}), read.replace({None: np.nan}), check_dtype=False)
        numbers = [name for name in table if name not in export_tables.TEXTS | {"present", "window", "person"}]
        assert (table[numbers].dtypes == "float64").all()


def test_tables_come_in_pieces_of_one_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pa.concat_tables(arrow_long([made(60.0)]))
    monkeypatch.setattr(export_tables, "PIECE", 100)
    pieces = list(arrow_long([made(60.0)]))
    assert max(map(len, pieces)) == 100
    assert len({piece.schema for piece in pieces}) == 1
    assert pa.concat_tables(pieces).equals(whole)


def test_one_json_document_holds_the_results(clip: ClipAnswer) -> None:
    found = json.loads("".join(json_whole([clip, BAD, clip])))
    assert found["clips"] == [clip.result, clip.result]
    assert found["unanswered"] == [{"clip_id": "bad", "path": "films/bad.mp4", "state": "failed", "reason": BAD.reason}]
    assert json.loads("".join(json_whole([]))) == {"clips": [], "unanswered": []}
    last = json.loads("".join(json_lines([clip, BAD])).splitlines()[-1])
    assert (last["clip_id"], last["window"], last["reason"]) == ("bad", None, BAD.reason)


SHORT = made(4.0)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_reason_comes_back_from_csv_and_json(text: str) -> None:
    clip = changed(SHORT, lambda result: result["windows"][0].update(reason=text))
    assert as_given(read_csv([clip])[0]["reason"]) == text
    assert pa.concat_tables(arrow_wide([clip]))["reason"].to_pylist() == [text or None]
    (line,) = json_lines([clip])
    assert json.loads(line)["reason"] == text
