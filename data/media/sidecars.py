"""The transcript beside a media file: which file it is, which language is taken, and what is left alone since it is none."""

import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.emotions import EMOTION_WORDS
from data.errors import InputError
from data.given_tables import decoded_text, plain_name, read_given_table
from data.media.languages import language_code, language_name
from data.media.subtitles import SUFFIXES, TABLES, cues_of

_KINDS = frozenset({"sdh", "cc", "hi", "forced", "default", "auto", "orig", "full", "asr"})
"""What may stand behind the language in a name."""
_UNREAD = frozenset({".sub", ".smi", ".sami", ".ttml", ".dfxp", ".stl", ".scc", ".json3", ".srv1", ".srv2", ".srv3"})
"""Endings of subtitles that are not read."""
_NOT_SAID = re.compile(r"\S+\.(?:jpe?g|png|webp|gif|avif)(?:[#?]\S*)?|\{.*\}", re.IGNORECASE)
"""What stands in the cues of WebVTT that a player reads: previews (`sprite.jpg#xywh=0,0,160,90`), JSON."""
_FEWEST = 3
"""Emotion words among the columns from which on a table is one of scores or labels."""


@dataclass(frozen=True)
class Sidecar:
    """The transcript beside a clip, None without one, what is to be told of how it was chosen, and what of it cannot be read.

    origin: what people call it, where the path is that of a piece or a copy.
    """

    path: Path | None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    origin: str = ""


def find_sidecar(media: Path, language: str = "", given: Collection[Path] = ()) -> Sidecar:
    """The transcript beside a media file: `name.srt`, `name.en.srt`, `name.en.sdh.vtt`, `name.mp4.srt`; never `name.2.srt`.

    Of several the one in `language` (a code, '' for any) comes first, then one without a language, then others; among equals
    the better-timed. What is of the name and no transcript, such as annotations and scores, is left alone, and so is `given`.
    """
    aside = {path.resolve() for path in given}
    near = [(name, tag) for name, tag in _named_like(media) if (media.parent / name).resolve() not in aside]
    named = [(name, tag) for name, tag in near if os.path.splitext(name)[1].lower() in SUFFIXES]
    notes: list[str] = []
    for name, tag in sorted(named, key=lambda one: _rank(one[0], one[1], language)):
        if why := why_no_transcript(media.parent / name):
            notes.append(f"{name} beside the clip was left alone: {why}.")
            continue
        others = [other for other, _ in named if other != name and not any(note.startswith(f"{other} ") for note in notes)]
        if others:
            reason = f"as the text network reads {language_name(language)}" if tag and tag == language else "by its name"
            notes.append(f"The words are from {name}, {reason}; also beside the clip: {', '.join(others)}.")
        return Sidecar(media.parent / name, tuple(notes))
    notes += [
        f"{name} beside the clip was left alone: this form is not read; save it as .srt or .vtt."
        for name, tag in near if (name, tag) not in named
    ]  # fmt: skip
    return Sidecar(None, tuple(notes))


def _named_like(media: Path) -> list[tuple[str, str]]:
    """Files beside a clip that bear its name and an ending of subtitles, and their languages ('' without one)."""
    stem, whole, found = _plain(media.stem), _plain(media.name), []
    with os.scandir(media.parent) as entries:  # folders of data sets hold ten thousands of files: only names are looked at first
        near = [entry for entry in entries if _plain(entry.name).startswith(f"{stem}.") and entry.name != media.name]
    for entry in near:
        head, suffix = os.path.splitext(_plain(entry.name))
        own = whole if head == whole or head.startswith(f"{whole}.") else stem
        tags = head.removeprefix(own).removeprefix(".").split(".") if head != own else []
        codes = [language_code(tag) for tag in tags if tag not in _KINDS]
        if suffix in _UNREAD.union(SUFFIXES) and len(codes) <= 1 and None not in codes and entry.is_file():
            found.append((entry.name, codes[0] or "" if codes else ""))
    return sorted(found)


def _plain(name: str) -> str:
    """A name as it is compared: composed (NFC) and in lower case."""
    return unicodedata.normalize("NFC", name).lower()


def _rank(name: str, tag: str, language: str) -> tuple[bool, int, int, bool, str]:
    """Forced subtitles, which hold only what is foreign, come last; the better-timed form decides among equals."""
    other = 0 if not language or tag == language else 2 if tag else 1
    return ".forced." in name.lower(), other, SUFFIXES.index(os.path.splitext(name)[1].lower()), bool(tag), name


def why_no_transcript(path: Path) -> str:
    """Why a file is no transcript but something else of the same name, as half a sentence; '' when it is one."""
    suffix = path.suffix.lower()
    try:
        if suffix in TABLES:
            return _why_no_table(path)
        text, _ = decoded_text(path.read_bytes())
    except (OSError, ValueError):
        return "it is no text"
    except InputError:
        return "it is no table"
    if suffix == ".txt":
        return _why_no_text(text.splitlines())
    try:
        found = cues_of(text.replace("\r\n", "\n").replace("\r", "\n"), path)
    except InputError:
        return f"it holds no {suffix} subtitles"
    if not found.cues and not found.problems:
        return "it has no cues"
    other = sum(_NOT_SAID.fullmatch(" ".join(cue.lines).strip()) is not None for cue in found.cues)
    return "its cues name pictures or hold data for a player" if other > len(found.cues) / 2 else ""


def _why_no_table(path: Path) -> str:
    table = read_given_table(path, "transcript")
    if _emotions(list(table.rows.columns)) >= _FEWEST:
        return "it holds scores or labels of emotions"
    return "" if "text" in table else "it has no column 'text'"


def _why_no_text(lines: Sequence[str]) -> str:
    """Plain text of corpora that is no transcript: LRS files with confidences, annotations a line a frame."""
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        return "it is empty"
    if lines[0].startswith("Text:") and any(line.startswith("Conf:") for line in lines[:3]):
        return "it is a file of the LRS corpora, with confidences and word times"
    if _emotions(re.split(r"[,;\t]", lines[0])) >= _FEWEST:
        return "its first line names classes: it holds annotations"
    wordless = sum(not re.search(r"[^\W\d_]{2,}", line) for line in lines[1:])
    return "it holds numbers: annotations" if len(lines) > 3 and wordless > 0.8 * (len(lines) - 1) else ""


def _emotions(names: Sequence[object]) -> int:
    return len({EMOTION_WORDS[word] for name in names if (word := plain_name(str(name))) in EMOTION_WORDS})
