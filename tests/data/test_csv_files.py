"""CSV for people: what a spreadsheet would execute is text there, and comes back as it was."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from data.csv_files import as_given, harmless, write_csv
from data.manifest.manifest import manifest_of_table, read_manifest, write_manifest

FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\r=1", "\n=1", "=", "-")
PLAIN = ("", "anger", "clip.mp4", "-0.5", "+3", "-1e-05", "'quoted'", "' =1", "a=b", "1-2")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_and_comes_back(text: str) -> None:
    assert harmless(text) == f"'{text}"
    for given in (text, f"'{text}", f"''{text}"):
        assert as_given(str(harmless(given))) == given


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_and_numbers_stay(text: str) -> None:
    assert as_given(text) == harmless(text) == text
    assert harmless(-0.5) == -0.5
    assert harmless(None) is None


def test_a_table_has_harmless_cells_and_names(tmp_path: Path) -> None:
    table = pd.DataFrame({"clip": ["=HYPERLINK()", "b"], "=n": [-1.5, 2.0], "missing": [None, "-x"]})
    write_csv(tmp_path / "table.csv", table)
    with (tmp_path / "table.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["clip", "'=n", "missing"], ["'=HYPERLINK()", "-1.5", ""], ["b", "2.0", "'-x"]]


def test_a_manifest_of_ours_is_read_as_it_was(tmp_path: Path) -> None:
    names = ["=1+1.mp4", "-clip.mp4", "@home.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    table = pd.DataFrame({"path": names, "speaker": ["+ann", "ben", "'=c"], "label": ["anger"] * 3})
    write_manifest(manifest_of_table(table, tmp_path, "three"), tmp_path / "manifest.csv")
    assert "'=1+1.mp4" in (tmp_path / "manifest.csv").read_text()
    read = read_manifest(tmp_path / "manifest.csv")
    assert list(read.table["path"]) == names
    assert list(read.table["speaker"]) == ["+ann", "ben", "'=c"]
