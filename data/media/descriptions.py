"""Descriptions of scenes that a user brings in place of a model's: any table with times, or windows, and text."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.given_tables import GivenTable, read_given_table
from data.media.clip import clip_id_of
from data.times import FASTEST, place
from data.windows import Windows

THOUGHT = re.compile(
    r"[<\[◁]\|?(?P<end>/)?(?:\w+:)?(?:think|thinking|thought|reasoning)\|?[>\]▷]|<\|(?:begin|(?P<over>end))_of_thought\|>"
    r"|<\|channel\|>(?:analysis|commentary|(?P<final>final))<\|message\|>|<unused9(?:4|(?P<unused>5))>",
    re.IGNORECASE,
)
"""Where a model begins and ends (a named group) to think, as Qwen, Mistral, Kimi, Seed, gpt-oss, MedGemma and others write it."""
_TOKEN = re.compile(r"<\|[A-Za-z_]{2,30}\|>")
"""What a template puts around an answer, such as `<|im_end|>` and `<|begin_of_box|>`."""
AUTHOR_COLUMNS = ("author", "source")
"""Columns that say who wrote a description."""


def without_thoughts(answer: str) -> str:
    """What a model says, without what it thinks: all before the last closing tag (templates hold the opening one), and all after
    an opening one that is not closed."""
    tags = list(THOUGHT.finditer(answer))
    begin = max((tag.end() for tag in tags if tag.lastgroup), default=0)
    end = min((tag.start() for tag in tags if not tag.lastgroup and tag.start() >= begin), default=len(answer))
    return _TOKEN.sub("", answer[begin:end]).strip()


def read_described_table(path: Path, rate: float | None = FASTEST) -> GivenTable:
    """A table of descriptions, checked as far as that needs no clip: `text`, and `window` or `start` and `end`; InputError."""
    table = read_given_table(path, "table of descriptions").checked("give a row for each description")
    table.required("text")
    for name in ("window",) if "window" in table else ("start", "end"):
        table.required(name)
    if "clip" not in table:  # rows about another clip are nobody's concern
        _times_of(table.kept(_told(table)), rate)
    return table


def read_descriptions(path: Path, clip_stem: str, windows: Windows, rate: float = 0.0) -> pd.DataFrame:
    """Read the descriptions of one clip from a table with `text` and either `window` (0, 1, ...) or `start`, `end`.

    Where there is a column `clip` only the rows of this clip count: its file name with or without suffix, or its clip_id.
    Returns `start`, `end` (s), `text` and `author` or `source` if given; empty when no row is about this clip; `attrs["notes"]`
    has sentences about how it was read. `rate`: the clip's frames a second. InputError, naming the file, the line and the remedy,
    when the table is not of that form, or is about times beyond the clip.
    """
    every = read_described_table(path, rate or None)
    mine = _told(every)
    if "clip" in every:
        mine = mine & every.text("clip").map(lambda name: _is_clip(name, clip_stem)).to_numpy(bool)
    table = every.kept(mine)
    notes = every.notes + _all_thoughts(every)
    if not len(table):
        starts, ends = np.zeros(0), np.zeros(0)
    elif "window" in table:
        numbers, counted = table.window_numbers(len(windows), every)
        starts, ends, notes = windows[numbers, 0], windows[numbers, 1], notes + counted
    else:
        plain = table.are_whole("start", "end")
        placed = place(*_times_of(table, rate or None), float(windows[-1, 1]), table.source, "descriptions", rate, plain)
        if placed.problem:
            raise InputError(placed.problem)
        starts, ends, notes = placed.start, placed.end, notes + placed.notes
    others = {name: table.text(name) for name in AUTHOR_COLUMNS if name in table}
    read = pd.DataFrame({"start": starts, "end": ends, "text": _said(table), **others}).reset_index(drop=True)
    read.attrs["notes"] = notes
    return read


def _told(table: GivenTable) -> NDArray[np.bool_]:
    """The rows that say something."""
    return (_said(table) != "").to_numpy(bool)


def _said(table: GivenTable) -> pd.Series:
    """What each row says; answers of models without what these thought."""
    return table.text("text").map(without_thoughts)


def _all_thoughts(table: GivenTable) -> tuple[str, ...]:
    """A sentence where rows hold nothing but what a model thought."""
    rows = np.flatnonzero((table.text("text") != "").to_numpy(bool) & ~_told(table))
    if not len(rows):
        return ()
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return (f"{table.where(int(rows[0]))}{more}: only what a model thought, no description; left out.",)


def _times_of(table: GivenTable, rate: float | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and end (s) of each row; InputError where one is missing, no time, or the end is not after the start."""
    if "window" in table:
        return table.numbers("window", missing="write the window's number, from 0"), np.zeros(0)
    starts, ends = (table.times(name, rate=rate, missing="write seconds from 0 on") for name in ("start", "end"))
    for row in map(int, np.flatnonzero(ends <= starts)):
        raise InputError(f"{table.where(row)}: the end is not after the start; correct one of the two times.")
    return starts, ends


def _is_clip(name: str, clip_stem: str) -> bool:
    """Whether `name` (a file name with or without suffix and folder, or a clip_id) means the clip."""
    bare, stem = (unicodedata.normalize("NFC", text) for text in (Path(name.strip()).name, clip_stem))
    clip_id = re.escape(clip_id_of(stem, "")) + "[0-9a-f]{8}(?:-[0-9a-f]{6})?"
    return stem in (bare, Path(bare).stem) or bool(re.fullmatch(clip_id, bare))
