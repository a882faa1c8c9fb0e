"""Transcripts: the words of a clip and their times, read from subtitles, plain text or tables, written as WebVTT."""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import InputError
from data.given_tables import GivenTable, decoded_text, read_given_table
from data.media.cues import (
    Cue,
    Cues,
    Said,
    TimedWord,
    is_convention,
    read_cues,
    read_lrc,
    read_sbv,
    read_stamped,
    read_substation,
    said_in,
)
from data.times import FASTEST, Placed, place

SUFFIXES: tuple[str, ...] = (".vtt", ".srt", ".ass", ".ssa", ".sbv", ".lrc", ".csv", ".tsv", ".txt")
"""Transcript files, the best-timed first."""
TABLES = (".csv", ".tsv")
SUBSTATION = (".ass", ".ssa")
_BRACKETED = re.compile(r"^[^\S\n]*\[[^\S\n]*[\d:.,]+\s*-+>\s*[\d:.,]+\s*\]", re.MULTILINE)
"""How whisper.cpp and others write times into plain text."""


def read_transcript(path: Path, duration: float | None = None, rate: float = 0.0) -> pd.DataFrame:
    """Read a transcript: start, end (s), text, speaker ('' where unknown), sorted by start; empty cues are left out.

    A column `words` (a list of `{"word", "start", "end"}` a row, the space before a word kept, empty where unknown) is there
    when there are times inside cues. Plain text and tables without times have NaN for start and end, or one row over the whole
    clip when its `duration` (s) is given, with which times are compared then (`data.times.place`; `rate`: frames a second).

    `attrs["notes"]` and `attrs["problems"]` are sentences about how it was read, and about what of it could not be;
    `attrs["timed"]` tells whether the file itself has times. Reads UTF-8, UTF-16 and Windows-1252. InputError, naming file and
    line, where nothing can be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = " ".join(sorted(SUFFIXES))
        raise InputError(f"{path} is not a transcript that Dyad reads ({known}); save it as .srt or .vtt.")
    notes: list[str] = []
    problems: list[str] = []
    plain = False
    if suffix in TABLES:
        given = read_given_table(_there(path), "transcript").checked("give a row for each sentence")
        table = _from_table(given, FASTEST if duration is None else rate or None)
        notes += given.notes
        plain = "start" in given and given.are_whole("start", "end")
        if "start" not in given:
            notes.append(f"{path} has no columns start and end; its words are spread over the clip.")
    else:
        text = _text_of(path, notes)
        is_plain = suffix == ".txt" and not _BRACKETED.search(text)
        stamped, how = read_stamped(text, str(path), duration) if is_plain else (None, ())
        notes += how
        if stamped is not None:
            table = _of_cues(stamped, problems)
        elif is_plain:
            table = table_of([said for line in text.split("\n") if line.strip() for said in _untimed(line)])
            if (table["speaker"] == "").all():
                table = table_of([Said(np.nan, np.nan, " ".join(table["text"]))])
        else:
            table = _of_cues(cues_of(text, path, FASTEST if duration is None else rate or None), problems)
    table = table[table["text"] != ""]
    if table.empty:
        raise InputError(f"{path} holds no words; give a transcript with text, or remove the file.")
    timed = bool(table["start"].notna().any())
    if duration is not None:
        start, end = (table[name].to_numpy(np.float64) for name in ("start", "end"))
        end = np.where(np.isnan(end), np.maximum(start, duration), end)  # the last line of lyrics goes on until the end
        placed = place(start, end, duration, str(path), "cues", rate, plain)
        table, untimed = _placed(table, placed, duration)
        notes += placed.notes
        notes += [f"{path}: {untimed} rows have no times; they are spread over the whole clip."] if untimed else []
        problems += [f"{placed.problem} They are left out."] if placed.problem else []
    read = table.sort_values("start", kind="stable", ignore_index=True)
    read.attrs.update(notes=tuple(notes), problems=tuple(problems), timed=timed)
    return read


def to_vtt(table: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """WebVTT of a transcript (start, end, text, perhaps speaker and words); rows without times are left out.

    Where a row has `words`, their times stand inside the cue: `Hello<00:00:01.500> world`. Each of `notes` becomes a comment
    before the first cue, which players do not show.
    """
    cues = ["WEBVTT\n", *(f"NOTE {' '.join(note.split()).replace('-->', '→')}\n" for note in notes)]
    for row in table.dropna(subset=["start", "end"]).to_dict("records"):
        speaker = str(row.get("speaker") or "")
        timed = row.get("words")
        stamped = _stamped(timed, row["start"], row["end"]) if isinstance(timed, Iterable) else ""
        words = stamped or _as_words(str(row["text"]))
        voice = f"<v {html.escape(speaker, quote=False)}>" if speaker else ""
        cues.append(f"{_clock(row['start'])} --> {_clock(row['end'])}\n{voice}{words}\n")
    return "\n".join(cues)


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)


def _as_words(text: str) -> str:
    """A cue's text so that its beginning is read as words again, not as who speaks or as a remark."""
    first = f"&#{ord(text.lstrip()[0])};" if is_convention(text) else ""
    return first + _escaped(text.lstrip()[1:] if first else text)


def _stamped(words: Iterable[TimedWord], start: float, end: float) -> str:
    """A cue's words with their times; WebVTT wants each time later than the one before it and inside the cue."""
    parts: list[str] = []
    latest, last = (round(time * 1000) for time in (start, end))
    for word in words:
        space = " " if str(word["word"])[:1].isspace() and parts else ""
        stamps = ["", ""]
        for side, time in enumerate((word["start"], word["end"])):
            if latest < round(time * 1000) < last:
                stamps[side], latest = f"<{_clock(time)}>", round(time * 1000)
        parts += [stamps[0], space + _escaped(str(word["word"])), stamps[1]]
    return "".join(parts)


def _clock(seconds: float) -> str:
    milliseconds = round(max(seconds, 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _there(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"There is no transcript {path}; check the name.")
    return path


def _text_of(path: Path, notes: list[str]) -> str:
    try:
        text, foreign = decoded_text(_there(path).read_bytes())
    except OSError as error:
        raise InputError(f"The transcript {path} cannot be read ({error.strerror}); check its permissions.") from error
    except ValueError:
        raise InputError(f"{path} is not a text file; give a transcript in UTF-8: {' '.join(sorted(SUFFIXES))}.") from None
    if foreign:
        notes.append(f"{path} is not in UTF-8: it was read as Windows-1252.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cues_of(text: str, path: Path, rate: float | None = FASTEST) -> Cues:
    """The cues of a subtitle file's text, in the form that its name says; `rate`: frames a second of times that count frames."""
    suffix = path.suffix.lower()
    if suffix in SUBSTATION:
        return read_substation(text, str(path))
    if suffix == ".lrc":
        return read_lrc(text, str(path))
    return read_sbv(text, str(path), rate) if suffix == ".sbv" else read_cues(text, str(path), rate)


def _of_cues(cues: Cues, problems: list[str]) -> pd.DataFrame:
    """What is said in cues as a table; InputError with the first problem where there is nothing else."""
    table = table_of(said_in(cues.cues))
    if table.empty and cues.problems:
        raise InputError(cues.problems[0])
    problems += cues.problems
    return table


def table_of(said: Sequence[Said]) -> pd.DataFrame:
    """What is said as a table: start, end, text, speaker, and `words` where any has the times of its words."""
    rows = [(one.start, one.end, one.text, one.speaker) for one in said]
    table = pd.DataFrame(rows, columns=["start", "end", "text", "speaker"])
    words = [list(one.words) for one in said]
    return table.assign(words=pd.Series(words, table.index, object)) if any(words) else table


def _untimed(line: str) -> list[Said]:
    return said_in([Cue(float("nan"), float("nan"), (line,))])


def _from_table(table: GivenTable, rate: float | None) -> pd.DataFrame:
    text, timed = table.text("text").str.split().str.join(" "), [name for name in ("start", "end") if name in table]
    if len(timed) == 1:
        raise InputError(f"{table.source} has only one of the columns start and end; give both or neither.")
    times = {name: table.times(name, rate=rate) if timed else np.full(len(table), np.nan) for name in ("start", "end")}
    for row in map(int, np.flatnonzero(times["end"] < times["start"])):
        raise InputError(f"{table.where(row)}: the row ends before it starts; correct its times.")
    for row in map(int, np.flatnonzero((np.isnan(times["start"]) != np.isnan(times["end"])) & (text != "").to_numpy(bool))):
        raise InputError(f"{table.where(row)}: only one of the cells start and end has a time; give both or neither.")
    speaker = table.text("speaker") if "speaker" in table else pd.Series("", table.rows.index)
    return pd.DataFrame({**times, "text": text, "speaker": speaker})


def _placed(table: pd.DataFrame, placed: Placed, duration: float) -> tuple[pd.DataFrame, int]:
    """The rows that are of the clip, with its times; those without times are spread over it, and counted if others have some."""
    table = table.assign(start=placed.start, end=placed.end)
    untimed = table["start"].isna()
    if untimed.all():
        return spread_rows(table, duration), 0
    timed = table[~untimed & placed.inside]
    if not untimed.any():
        return timed, 0
    return pd.concat([timed, spread_rows(table[untimed], duration)]), int(untimed.sum())


def spread_rows(table: pd.DataFrame, duration: float) -> pd.DataFrame:
    """Rows without times over `duration` s: what one speaker says in a row as one, each as long as its share of the words."""
    turns = (table["speaker"] != table["speaker"].shift()).cumsum()
    spoken = table.groupby(turns, as_index=False).agg({"text": " ".join, "speaker": "first"})
    ends = np.cumsum([float(max(len(text.split()), 1)) for text in spoken["text"]])
    ends *= duration / ends[-1]
    return spoken.assign(start=np.concatenate([[0.0], ends[:-1]]), end=ends)[["start", "end", "text", "speaker"]]
