"""Transcripts: the words of a clip and their times, read from SubRip, WebVTT, plain text or CSV, written as WebVTT."""

import codecs
import csv
import html
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import accumulate
from pathlib import Path
from typing import TypedDict

import pandas as pd

from data.errors import InputError

SUFFIXES: tuple[str, ...] = (".vtt", ".srt", ".csv", ".txt")
"""Transcript files, the best-timed first."""

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,3})?)"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$")
_SPEAKER = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_BREAK = re.compile(r"\\[Nnh]|<br\s*/?>")
_STAMP = re.compile(rf"<{_CLOCK}>")
_MARKUP = re.compile(r"</?[A-Za-z0-9][^>]*>|\{\\[^}]*\}")


class TimedWord(TypedDict):
    """A word with the space before it, where there is one, and its time (s)."""

    word: str
    start: float
    end: float


def read_transcript(path: Path, duration: float | None = None) -> pd.DataFrame:
    """Read a transcript: start, end (s), text, speaker ('' where unknown), sorted by start; empty cues are left out.

    A column `words` (a list of `{"word", "start", "end"}` a row, the space before a word kept, empty where unknown) is there
    when a WebVTT has times inside its cues. Plain text and CSVs without times have NaN for start and end, or one row over the
    whole clip when `duration` (s) is given. Reads UTF-8, UTF-16 with a byte order mark, and Windows-1252. InputError, naming
    file and line, for the rest.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is not a transcript that Dyad reads; give one of: {' '.join(sorted(SUFFIXES))}.")
    text = _text_of(path)
    match path.suffix.lower():
        case ".csv":
            table = _from_csv(text, path)
        case ".txt":
            table = _table([(float("nan"), float("nan"), " ".join(text.split()), "")])
        case _:
            table = _timed_table(list(_cues(text, path)))
    table = table[table["text"] != ""]
    if table.empty:
        raise InputError(f"{path} holds no words; give a transcript with text, or remove the file.")
    return _placed(table, duration).sort_values("start", kind="stable", ignore_index=True)


def sidecar_transcript(media: Path) -> Path | None:
    """The transcript beside a media file: `name.vtt`, else `name.en.vtt` and the like; None without one."""
    stem, folder = media.stem, media.parent
    with os.scandir(folder) as entries:  # folders of data sets hold ten thousands of files: only names are looked at first
        near = [entry for entry in entries if entry.name.lower().startswith(f"{stem.lower()}.") and entry.name != media.name]
    names = sorted(entry.name for entry in near if entry.is_file())
    for suffix in SUFFIXES:
        exact = [name for name in names if name.lower() == f"{stem}{suffix}".lower()]
        pattern = re.compile(rf"{re.escape(stem)}\.[\w-]+{re.escape(suffix)}", re.IGNORECASE)
        tagged = [name for name in names if pattern.fullmatch(name)]
        if exact or tagged:
            return folder / (exact + tagged)[0]
    return None


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
        words = stamped or _escaped(str(row["text"]))
        voice = f"<v {html.escape(speaker, quote=False)}>" if speaker else ""
        cues.append(f"{_clock(row['start'])} --> {_clock(row['end'])}\n{voice}{words}\n")
    return "\n".join(cues)


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)


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


def _text_of(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no transcript {path}; check the name.") from None
    except OSError as error:
        raise InputError(f"The transcript {path} cannot be read ({error.strerror}); check its permissions.") from error
    text = _unicode(raw)
    if "\0" in text:
        raise InputError(f"{path} is not a text file; give a transcript in {', '.join(SUFFIXES)}.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unicode(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _cues(text: str, path: Path) -> Iterator[tuple[float, float, str]]:
    """Cues of SubRip and WebVTT alike: a line of times, then text up to an empty line; all else is left out."""
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if "-->" not in line:
            continue
        start, end = _times(line, path, number)
        begin = number
        while number < len(lines) and lines[number].strip():
            number += 1
        yield start, end, " ".join(lines[begin:number])


def _timed_table(cues: list[tuple[float, float, str]]) -> pd.DataFrame:
    """Cues (start, end, text with markup) as a table, with the column `words` when there are times inside any of them."""
    table = _table([(start, end, *plain_words(marked)) for start, end, marked in cues])
    words = [_timed_words(*cue) for cue in cues]
    return table.assign(words=pd.Series(words, table.index, object)) if any(words) else table


def _timed_words(start: float, end: float, marked: str) -> list[TimedWord]:
    """The words of a cue by the times inside it; between two times words are spread evenly. Empty without such times."""
    stamps = list(_STAMP.finditer(marked))
    begins = [0, *(stamp.end() for stamp in stamps)]
    ends = [*(stamp.start() for stamp in stamps), len(marked)]
    times = [start, *(_seconds(stamp.group(1, 2, 3)) for stamp in stamps), end]
    times = [min(time, end) for time in accumulate(times, max)]
    words: list[TimedWord] = []
    space = ""
    for part in range(len(begins) if stamps else 0):
        plain = space + _plain(marked[begins[part] : ends[part]])
        found = re.findall(r"\s*\S+", plain)
        space = " " if plain[-1:].isspace() else ""
        step = (times[part + 1] - times[part]) / max(len(found), 1)
        for number, word in enumerate(found):
            said = times[part] + step * number
            words.append({"word": " " * word[:1].isspace() + word.strip(), "start": said, "end": said + step})
    return words


def _times(line: str, path: Path, number: int) -> tuple[float, float]:
    found = _TIMES.match(line)
    if found is None:
        raise InputError(f"{path}, line {number}: '{line.strip()[:60]}' is no span; write 00:01.000 --> 00:02.500.")
    start, end = _seconds(found.group(1, 2, 3)), _seconds(found.group(4, 5, 6))
    if end < start:
        raise InputError(f"{path}, line {number}: the cue ends before it starts; correct its times.")
    return start, end


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds = parts
    return round(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float((seconds or "0").replace(",", ".")), 3)


def plain_words(marked: str) -> tuple[str, str]:
    """A cue's text without markup (HTML-like tags, ASS overrides), and the speaker that a `<v Name>` tag names, else ''."""
    speaker = _SPEAKER.search(marked)
    return " ".join(_plain(marked).split()), html.unescape(speaker.group(1)).strip() if speaker else ""


def _plain(marked: str) -> str:
    return html.unescape(_MARKUP.sub("", _BREAK.sub(" ", marked)))


def _from_csv(text: str, path: Path) -> pd.DataFrame:
    read = _cells(text, path)
    if "text" not in read:
        raise InputError(f"{path} has no column 'text'; name the columns start,end,text.")
    if ("start" in read) != ("end" in read):
        raise InputError(f"{path} has only one of the columns start and end; give both or neither.")
    table = pd.DataFrame({name: _numbers(read, name, path) for name in ("start", "end")})
    for row in table.index[table["end"] < table["start"]]:
        raise InputError(f"{path}, line {row}: the row ends before it starts; correct its times.")
    table["text"] = read["text"].str.split().str.join(" ")
    table["speaker"] = read["speaker"].str.strip() if "speaker" in read else ""
    return table


def _cells(text: str, path: Path) -> pd.DataFrame:
    """The cells as text, columns in lower case; the index is the line in the file, blank lines are left out."""
    reader = csv.reader(StringIO(text), delimiter=_separator(text), skipinitialspace=True)
    rows: dict[int, list[str]] = {}
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows[reader.line_num] = row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; check its quotes.") from error
    header = [name.strip().lower() for name in rows.pop(min(rows))] if rows else []
    for line, row in rows.items():
        if len(row) > len(header):
            raise InputError(f"{path}, line {line}: more cells than the header has; put quotes around the text.")
        row += [""] * (len(header) - len(row))
    return pd.DataFrame.from_dict(rows, orient="index", columns=header, dtype=str)


def _separator(text: str) -> str:
    """The one of comma, semicolon and tab that the header uses most."""
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _numbers(read: pd.DataFrame, name: str, path: Path) -> pd.Series:
    """A column of seconds; '12,5' and clock times such as 00:01:02.5 are understood."""
    if name not in read:
        return pd.Series(float("nan"), index=read.index)
    seconds = [_number(value, path, line) for line, value in zip(read.index, read[name], strict=True)]
    return pd.Series(seconds, index=read.index, dtype=float)


def _number(value: str, path: Path, line: int) -> float:
    clock = re.fullmatch(_CLOCK, value.strip())
    try:
        seconds = _seconds(clock.groups()) if clock else float(value.strip().replace(",", "."))
    except ValueError:
        seconds = float("nan")
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{path}, line {line}: '{value}' is not a time in seconds; write for example 12.5.")
    return seconds


def _table(rows: Iterator[tuple[float, float, str, str]] | list[tuple[float, float, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["start", "end", "text", "speaker"])


def _placed(table: pd.DataFrame, duration: float | None) -> pd.DataFrame:
    """Untimed rows joined into one over the whole clip, when its duration is known."""
    untimed = table["start"].isna()
    if duration is None or not untimed.any():
        return table
    whole = _table([(0.0, duration, " ".join(table["text"][untimed]), "")])
    return whole if untimed.all() else pd.concat([table[~untimed], whole])
