"""Cues of subtitle files: their times, speakers, words, and what captions carry over from cue to cue.

SubStation and LRC are read by FFmpeg. SubRip, WebVTT and SBV are read here: no parser at hand keeps the times inside cues, reads
files with and without blank lines where people leave them out or put them in, and says in which line something is wrong.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import accumulate, pairwise
from typing import TypedDict

from data.errors import InputError
from data.times import END_SLACK, parse_time

_CLOCK = r"(?:\d{1,6}:)?\d{1,3}:\d{1,2}(?:[.,:;]\d{1,9})?"
_ARROW = r"(?:[-–—−=][-–—−= ]*>|[→⟶➔])"
_SPAN = re.compile(rf"(?:\[\s*)?({_CLOCK})\s*{_ARROW}\s*({_CLOCK})\s*(\])?(.*)")
_LIKE_A_SPAN = (re.compile(rf"^(?:\[\s*)?-?\d[\d:.,;]*\s*{_ARROW}"), re.compile(rf"{_ARROW}\s*\d{{1,6}}:\d"))
"""What shows that a line is meant as a span, also a wrong one."""
_HAS_ARROW = re.compile("[>→⟶➔]")
_SBV = re.compile(r"^(-?\d+:\d[^\s,]*),(-?\d+:\d[^\s,]*)$", re.MULTILINE)
_DASHED = re.compile(r"^[^\S\n]*(\d+:\d+:\d+[.,]\d+)[^\S\n]*[-–—][^\S\n]*(\d+:\d+:\d+[.,]\d+)[^\S\n]*$", re.MULTILINE)
"""Two times and no more than a dash between them."""
_STAMPED = re.compile(rf"[\[(]?({_CLOCK})[\])]?(?:\s*[-–—]\s+|:?\s+|$)(.*)")
_DIALOGUE = re.compile(r"Dialogue:[^,]*,([^,]*),([^,]*),")
_TAG = r"</?(?:v|c|lang|font|span|p|div|a)(?:[.\s][^<>]*)?>|</?[A-Za-z][\w.]*\s?/?>"
_OVERRIDE = r"\{\\[^{}]*\}|\{[A-Za-z]:[^{}]*\}"
_MARKUP = re.compile(rf"{_TAG}|<{_CLOCK}>|{_OVERRIDE}", re.IGNORECASE)
_PEN = re.compile(r"\\p(\d)")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]*)>")
_LABEL = re.compile(
    r"\s*(?:(?:\[([^\][:]{1,40})\]|\(?(SPEAKER[ _]?\d{1,3})\)?)\s*:|[\[(](SPEAKER[ _]?\d{1,3})[\])])\s*", re.IGNORECASE
)
"""How WhisperX and others write who speaks: `[SPEAKER_00]: words`, `[SPEAKER_00] words`."""
_CHEVRONS = re.compile(r"^\s*(?:>>|&gt;&gt;)+>?\s*")
_REMARK = re.compile(r"(?:\[[^\][]*\]|♪+)")
"""What stands alone in a cue and is not said: `[Music]`."""
_BREAK = re.compile(r"\\[Nnh]|<br\s?/?>|\[br\]", re.IGNORECASE)
_STAMP = re.compile(rf"<({_CLOCK})>")
_SCRIPTS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_MARKS = r"\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3\u3099\u309a\u30fc"
_UNSPACED = re.compile(f"[{_SCRIPTS}]")
"""Thai, Lao, Burmese, Khmer, Chinese and Japanese."""
_LETTERS = re.compile(f"[{_SCRIPTS}][{_MARKS}]*|[^{_SCRIPTS}]+")
"""A letter with its marks, or what stands between such letters."""
_BLOCKS = ("NOTE", "STYLE", "REGION")
NEAR = 0.5
"""Seconds between two cues of which the later one may carry on what the earlier one showed."""
MOST_CARRIED = 200
"""Words that a cue may carry over."""


class TimedWord(TypedDict):
    """A word with the space before it, where there is one, and its time (s)."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Cue:
    """From when to when (s) which lines are shown, markup and all, and who speaks them where the file says it."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str = ""


@dataclass
class Cues:
    """What a file holds, and sentences about what in it could not be read."""

    cues: list[Cue] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_cues(text: str, source: str, rate: float | None = None) -> Cues:
    """The cues of a SubRip or WebVTT text, by start; a cue that cannot be read is a sentence in `problems`, with its line.

    `rate`: frames a second of times that count frames, `00:00:01:12`.
    """
    found = Cues()
    lines = _DASHED.sub(r"\1 --> \2", text).split("\n")
    spans = [number for number, line in enumerate(lines) if _HAS_ARROW.search(line) and _is_like_a_span(line.strip())]
    is_webvtt = text.lstrip("\ufeff").startswith("WEBVTT")
    counted = 0
    for number, following in pairwise([*spans, len(lines)]):
        last, counted = _without_index(lines, number, following, is_webvtt, counted)
        body = lines[number + 1 : last]
        if is_webvtt:
            body = _of_webvtt(body)
        match = _SPAN.match(lines[number].strip())
        span = _span_of(found, f"{source}, line {number + 1}", lines[number], match and (match[1], match[2]), rate)
        if match and span:
            same_line = [match[4]] if match[3] else []  # whisper.cpp writes the words behind the times in brackets
            found.cues.append(Cue(*span, tuple(line for line in (*same_line, *body) if line.strip())))
    found.cues.sort(key=lambda cue: cue.start)
    return found


def read_sbv(text: str, source: str, rate: float | None = None) -> Cues:
    """The cues of an SBV text, YouTube's own form (`0:00:01.000,0:00:02.500`); else as `read_cues`."""
    return read_cues(_SBV.sub(r"\1 --> \2", text), source, rate)


def _span_of(
    found: Cues, where: str, line: str, clocks: tuple[str, str] | None, rate: float | None
) -> tuple[float, float] | None:
    """Start and end (s) of a cue from its line; None, and a sentence in `found`, where it has none that can be."""
    try:
        start, end = (_seconds(clock, rate) for clock in clocks or ("", ""))
    except ValueError:
        shown = line.strip()[:60]
        found.problems.append(f"{where}: '{shown}' is no span such as 00:01.000 --> 00:02.500; its cue is left out.")
        return None
    if end < start:
        found.problems.append(f"{where}: the cue ends before it starts; it is left out.")
        return None
    return start, end


def read_substation(text: str, source: str) -> Cues:
    """The cues of a SubStation (.ass, .ssa) text, as FFmpeg reads them; InputError when it is none.

    A cue whose times cannot be read, of which FFmpeg says nothing, is a sentence in `problems`, with its line.
    """
    found = Cues()
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("Dialogue:"):
            match = _DIALOGUE.match(line)
            if not _span_of(found, f"{source}, line {number + 1}", line, match and (match[1].strip(), match[2].strip()), None):
                lines[number] = ""
    found.cues = _of_ffmpeg("\n".join(lines), source, "ass", "SubStation subtitles")
    return found


def read_lrc(text: str, source: str) -> Cues:
    """The lines of an LRC text, as FFmpeg reads them, each until the next one; the end of the last one is unknown (NaN)."""
    cues = _of_ffmpeg(text, source, "lrc", "LRC lyrics")
    return Cues([replace(cue, end=cue.end if cue.end >= cue.start else float("nan")) for cue in cues])


def read_stamped(text: str, source: str, duration: float | None = None) -> tuple[Cues | None, tuple[str, ...]]:
    """Plain text whose lines begin with their times, in brackets or not, or stand below them, as people copy it from YouTube.

    Each is a cue until the next one; the end of the last one is unknown (NaN). None where the numbers must be something else,
    such as those of verses (`3:16`): the text begins without one, most lines have none, they go back, or lie beyond the clip's
    `duration` (s). And a sentence about which it was, where two lines or more begin so.
    """
    starts, said, further, is_first = list[float](), list[list[str]](), 0, True
    for line in filter(None, map(str.strip, text.split("\n"))):
        start, words = _stamp_of(line)
        if start is not None:
            starts.append(start)
            said.append([words] if words else [])
        elif said:
            further += bool(said[-1])
            said[-1].append(line)
        else:
            is_first = False
    if len(starts) < 2:
        return None, ()
    reasons = {
        "the text begins without one": not is_first,
        "most lines have none": further > len(starts),
        "they go back": starts != sorted(starts),
        f"the clip lasts {duration or 0:g} s": duration is not None and max(starts) > duration + END_SLACK,
    }
    if why := next((reason for reason, holds in reasons.items() if holds), ""):
        return None, (f"{source}: {len(starts)} lines begin like times; they were read as words without times, as {why}.",)
    ends = [*starts[1:], float("nan")]
    cues = [Cue(start, end, tuple(lines)) for start, end, lines in zip(starts, ends, said, strict=True)]
    return Cues(cues), (f"{source}: its {len(starts)} lines that begin like times were read as said then.",)


def _stamp_of(line: str) -> tuple[float | None, str]:
    """The time (s) with which a line begins, None without one, and the words behind it."""
    match = _STAMPED.fullmatch(line)
    try:
        return (_seconds(match[1]), match[2]) if match else (None, line)
    except ValueError:
        return None, line


def _of_ffmpeg(text: str, source: str, form: str, what: str) -> list[Cue]:
    """The cues of a text by start, as FFmpeg reads them; InputError when it is not of that form."""
    import av

    cues = []
    try:
        with av.open(BytesIO(text.encode()), format=form) as container:
            stream = container.streams.subtitles[0]
            for packet in container.demux(stream):
                for event in packet.decode() if packet.size else ():
                    if packet.pts is not None:
                        start = float(packet.pts * packet.time_base)
                        length = float((packet.duration or 0) * packet.time_base)
                        cues.append(substation_cue(event.ass.decode("utf-8", errors="replace"), start, start + length))
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise InputError(f"{source} cannot be read as {what} ({error}); save it as .srt or .vtt.") from error
    return sorted(cues, key=lambda cue: cue.start)


def substation_cue(event: str, start: float, end: float) -> Cue:
    """The cue of an event as FFmpeg gives it: eight fields, of which the fourth names the speaker, and the text; no drawings."""
    *fields, words = event.split(",", 8)
    kept, draws = "", False
    for piece in re.split(r"(\{[^{}]*\})", words):
        if piece.startswith("{") and (pens := _PEN.findall(piece)):
            draws = pens[-1] != "0"
        kept += "" if draws else piece
    return Cue(start, end, tuple(_BREAK.sub("\n", kept).split("\n")), fields[3].strip() if len(fields) > 3 else "")


def _is_like_a_span(line: str) -> bool:
    """Whether a line, without the spaces around it, is meant as a span."""
    return any(like.search(line) for like in _LIKE_A_SPAN)


def _without_index(lines: Sequence[str], number: int, following: int, is_webvtt: bool, counted: int) -> tuple[int, int]:
    """Where the body of the cue at `number` ends: before what names the next cue; and the index that this cue had, if one."""
    own = lines[number - 1].strip() if number else ""
    counted = int(own) if _is_index(own) else counted
    if following == len(lines):
        return following, counted
    name = lines[following - 1].strip()
    alone = following - 2 <= number or not lines[following - 2].strip()
    is_index = _is_index(name) and (int(name) == counted + 1 or (alone and following - 1 > number + 1))
    is_name = is_webvtt and bool(name) and alone and following - 1 > number + 1
    return following - (is_index or is_name), counted


def _is_index(text: str) -> bool:
    """Whether a line is a number that a cue may have."""
    return text.isdecimal() and text.isascii() and len(text) < 10


def _of_webvtt(body: list[str]) -> list[str]:
    """The lines of a WebVTT cue: up to the first line that is empty, not blank; empty lines before the words are stepped over."""
    begin = next((number for number, line in enumerate(body) if line), len(body))
    end = next((number for number in range(begin, len(body)) if not body[number]), len(body))
    if begin and body[begin:end] and body[begin].startswith(_BLOCKS):
        return []
    return body[begin:end]


def _seconds(clock: str, rate: float | None = None) -> float:
    if re.fullmatch(r".*:\d{3}", clock):  # 00:00:01:500 for 00:00:01.500; with two digits they are frames
        clock = ".".join(clock.rsplit(":", 1))
    return round(parse_time(clock, rate), 3)


# ---- what is said --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What somebody says from `start` to `end` (s), with the times of the words where the file has them."""

    start: float
    end: float
    text: str
    speaker: str = ""
    words: tuple[TimedWord, ...] = ()


def said_in(cues: Sequence[Cue]) -> list[Said]:
    """What is said in cues that are sorted by start: without markup, each speaker by itself, carried-over lines once.

    Remarks that stand alone, such as `[Music]`, are left out.
    """
    shown = _without_carried(cues) if _rolls(cues) else cues
    return [said for cue in shown if not _is_remark(cue) for said in _said(cue) if said.text]


def _is_remark(cue: Cue) -> bool:
    return _REMARK.fullmatch(_MARKUP.sub("", " ".join(cue.lines)).strip()) is not None


def is_convention(text: str) -> bool:
    """Whether a cue of this text would be taken for a remark, or its beginning for who speaks."""
    return any(form.match(text) for form in (_LABEL, _CHEVRONS)) or _REMARK.fullmatch(text.strip()) is not None


def _said(cue: Cue) -> Iterator[Said]:
    """The parts of a cue, one for each speaker in a row; the parts of several share its time by their words."""
    parts: list[tuple[str, str]] = []
    speaker = cue.speaker
    for line in cue.lines:
        line = _CHEVRONS.sub("", line)
        if label := _LABEL.match(line):
            speaker, line = next(filter(None, label.groups())).strip(), line[label.end() :]
        pieces = _VOICE.split(line)
        names = [speaker, *(html.unescape(name).strip() for name in pieces[1::2])]
        for name, piece in zip(names, pieces[::2], strict=True):
            speaker = name
            if parts and (parts[-1][0] == name or not plain_words(piece)):
                parts[-1] = (parts[-1][0], f"{parts[-1][1]} {piece}")
            elif parts and not plain_words(parts[-1][1]):
                parts[-1] = (name, f"{parts[-1][1]} {piece}")
            else:
                parts.append((name, piece))
    marked = " ".join(piece for _, piece in parts)
    words = timed_words(cue.start, cue.end, marked)
    if len(parts) == 1:
        yield Said(cue.start, cue.end, plain_words(marked), parts[0][0], tuple(words))
        return
    counts = [len(plain_words(piece).split()) for _, piece in parts]
    first, every = 0, max(sum(counts), 1)
    words = words if len(words) == every else []
    for (name, piece), count in zip(parts, counts, strict=True):
        own = tuple(words[first : first + count])
        start, end = (cue.start + (cue.end - cue.start) * edge / every for edge in (first, first + count))
        if own:
            start, end = (cue.start if not first else own[0]["start"]), (cue.end if first + count == every else own[-1]["end"])
        yield Said(round(start, 3), round(end, 3), plain_words(piece), name, own)
        first += count


def plain_words(marked: str) -> str:
    """Text without markup: HTML-like tags, times, ASS overrides; a lone bracket stays."""
    return " ".join(_plain(marked).split())


def _plain(marked: str) -> str:
    return html.unescape(_MARKUP.sub("", _BREAK.sub(" ", marked)))


def timed_words(start: float, end: float, marked: str) -> list[TimedWord]:
    """The words of a cue by the times inside it; between two times words are spread evenly. Empty without such times."""
    stamps = list(_STAMP.finditer(marked))
    begins = [0, *(stamp.end() for stamp in stamps)]
    ends = [*(stamp.start() for stamp in stamps), len(marked)]
    times = [start, *(_stamp_seconds(stamp[1], start) for stamp in stamps), end]
    times = [min(time, end) for time in accumulate(times, max)]
    words: list[TimedWord] = []
    space = ""
    for part in range(len(begins) if stamps else 0):
        plain = space + _plain(marked[begins[part] : ends[part]])
        found = plain.split()
        space = " " if plain[-1:].isspace() else ""
        step = (times[part + 1] - times[part]) / max(len(found), 1)
        for number, word in enumerate(found):
            said = times[part] + step * number
            words.append({"word": " " * (number > 0 or plain[:1].isspace()) + word, "start": said, "end": said + step})
    return words


def spread_words(text: str, start: float, end: float) -> list[TimedWord]:
    """The words of a text, spread evenly over its time; of scripts that are written without spaces its letters."""
    words = [
        " " * (not place) + piece
        for word in text.split()
        for place, piece in enumerate(_LETTERS.findall(word) if _UNSPACED.search(word) else [word])
    ]
    step = (end - start) / max(len(words), 1)
    return [{"word": word, "start": start + step * i, "end": start + step * (i + 1)} for i, word in enumerate(words)]


def _stamp_seconds(clock: str, otherwise: float) -> float:
    try:
        return _seconds(clock)
    except ValueError:
        return otherwise


# ---- rolling captions ----------------------------------------------------------------------------------------------------


def _rolls(cues: Sequence[Cue]) -> bool:
    """Whether cues carry over lines of the one before, or grow word by word, as live captions do."""
    pairs = [(_texts(first), _texts(second)) for first, second in pairwise(cues) if second.start - first.end < NEAR]
    carried = sum(bool(first) and len(second) > 1 and second[0] == first[-1] for first, second in pairs)
    grown = sum(bool(first) and bool(second) and " ".join(second).startswith(" ".join(first) + " ") for first, second in pairs)
    return bool(pairs) and (carried >= max(1, 0.2 * len(pairs)) or grown >= max(2, 0.5 * len(pairs)))


def _texts(cue: Cue) -> tuple[str, ...]:
    """The lines of a cue that have words."""
    return tuple(text for line in cue.lines if (text := plain_words(line)))


def _without_carried(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Cues without the words that the one before showed already."""
    before: list[str] = []
    end = float("-inf")
    for cue in cues:
        words = [word for text in _texts(cue) for word in text.split()]
        near = cue.start - end < NEAR
        most = min(len(before), len(words), MOST_CARRIED)
        carried = next((count for count in range(most, 0, -1) if before[-count:] == words[:count]), 0)
        yield _from_word(cue, carried) if near and carried else cue
        before, end = words, cue.end


def _from_word(cue: Cue, first: int) -> Cue:
    """A cue without its first words; carried-over words bear no times, so markup is cut word by word."""
    kept: list[str] = []
    for line in cue.lines:
        count = len(plain_words(line).split())
        if first >= count:
            first -= count
            continue
        if first:
            line, first = " ".join((line if _STAMP.search(line) else _MARKUP.sub("", line)).split()[first:]), 0
        kept.append(line)
    return replace(cue, lines=tuple(kept))
