"""The tiers of annotation files: ELAN's .eaf and Praat's TextGrid, as labelled stretches of time."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from data.errors import InputError
from data.given_tables import decoded_text

ENDINGS = (".eaf", ".textgrid")
_TOKENS = re.compile(r'"((?:[^"]|"")*)"|(?<![\w"])(-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?![\w"\]])')
"""What counts in a TextGrid, long or short: texts in quotes and numbers that stand alone; all else is comment."""


class Stretch(NamedTuple):
    """A stretch of time (s) and what is written there."""

    start: float
    end: float
    text: str


Tiers = Mapping[str, Sequence[Stretch]]


def read_tiers(path: Path) -> Tiers:
    """The stretches that are not empty, by tier, of an .eaf or a TextGrid (its interval tiers); InputError for what is none."""
    try:
        text, _ = decoded_text(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; check the name.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); save it again from ELAN or Praat.") from error
    try:
        tiers = _elan(text) if path.suffix.lower() == ".eaf" else _textgrid(text)
    except (ElementTree.ParseError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path} is not a whole ELAN or TextGrid file ({error}); save it again from ELAN or Praat.") from error
    return {name: [one for one in stretches if one.text] for name, stretches in tiers.items()}


def _elan(text: str) -> Tiers:
    """Times are those of the annotations, also of ones that lie in another; ones without times are left out."""
    root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    slots = {slot.attrib["TIME_SLOT_ID"]: slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    found: dict[str, tuple[str | None, str | None]] = {}
    tiers: dict[str, list[Stretch]] = {}
    for tier in root.iter("TIER"):
        stretches = tiers.setdefault(tier.attrib["TIER_ID"], [])
        for one in tier.iter():
            if one.tag == "ALIGNABLE_ANNOTATION":
                times = slots[one.attrib["TIME_SLOT_REF1"]], slots[one.attrib["TIME_SLOT_REF2"]]
            elif one.tag == "REF_ANNOTATION":
                times = found.get(one.attrib["ANNOTATION_REF"], (None, None))
            else:
                continue
            found[one.attrib["ANNOTATION_ID"]] = times
            if times[0] is not None and times[1] is not None:
                value = (one.findtext("ANNOTATION_VALUE") or "").strip()
                stretches.append(Stretch(int(times[0]) / 1000, int(times[1]) / 1000, value))
    return tiers


def _textgrid(text: str) -> Tiers:
    tokens = [(found[1].replace('""', '"') if found[1] is not None else None, found[2]) for found in _TOKENS.finditer(text)]
    if [token[0] for token in tokens[:2]] != ["ooTextFile", "TextGrid"]:
        raise ValueError("it does not begin as a TextGrid")
    tiers: dict[str, list[Stretch]] = {}
    at = 5  # behind the file's kind, the start, the end and the number of tiers
    for _ in range(int(_number(tokens, 4))):
        kind, name, count = tokens[at][0], tokens[at + 1][0] or "", int(_number(tokens, at + 4))
        at += 5
        width = 3 if kind == "IntervalTier" else 2
        if width == 3:
            tiers[name] = [
                Stretch(_number(tokens, row), _number(tokens, row + 1), (tokens[row + 2][0] or "").strip())
                for row in range(at, at + 3 * count, 3)
            ]
        at += width * count
    return tiers


def _number(tokens: Sequence[tuple[str | None, str | None]], at: int) -> float:
    number = tokens[at][1]
    if number is None:
        raise ValueError(f"a number is missing behind its entry {at}")
    return float(number)
