"""How sure an answer is: the probability that it is right, calibrated on answers whose truth is known, with its range.

Compounds and single emotions are answers of one distribution: (1 - none) x compound for each compound and none x basic for each
emotion add up to 1. What an answer has of it is looked up in `weights/sureness.json`: how often answers with such a share were
right, with 95 % intervals (`./dyad benchmark derive_sureness`; the file says on which data).
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.files import write_text
from data.json_files import read_json
from fusion.arrays import Floats, Integers

DEFAULT_SURENESS = Path(__file__).parent / "weights" / "sureness.json"
FORMAT, VERSION = "dyad-sureness", 1


@dataclass(frozen=True)
class Reliability:
    """Answers of about the same share each: their mean share, how often they were right, and its 95 % interval; all rise."""

    share: tuple[float, ...]
    right: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    items: tuple[int, ...] = ()

    def at(self, share: Floats) -> Floats:
        """[..., 3]: how often answers with such shares [...] are right, the least and the most; NaN stays NaN.

        Straight lines between the points, and from 0 to the first; beyond the last its own figures.
        """
        known = [0.0, *self.share]
        found = [np.interp(share, known, [0.0, *values]) for values in (self.right, self.low, self.high)]
        return np.where(np.isnan(share)[..., None], np.nan, np.stack(found, -1))


@dataclass(frozen=True)
class Calibration:
    """The reliability of compounds and of single emotions, and in words what it was measured on."""

    compounds: Reliability
    emotions: Reliability
    measured_on: str


def shares_of_answers(basic: Floats, compound: Floats, none: Floats, winner: Integers) -> Floats:
    """The winner's part of the whole [N], or where none wins (-1) the strongest emotion's; NaN without evidence."""
    one = np.where(np.isnan(basic), -np.inf, basic).max(1) * none
    won = (1.0 - none) * np.take_along_axis(compound, np.maximum(winner, 0)[:, None], axis=1)[:, 0]
    shares: Floats = np.where(np.isnan(basic[:, 0]), np.nan, np.where(winner >= 0, won, one))
    return shares


def sureness_of(
    basic: Floats, compound: Floats, none: Floats, winner: Integers, calibration: Calibration | None = None
) -> Floats:
    """How surely each answer is right, [N, 3]: the probability, its least and its most; NaN where there is no evidence."""
    known = calibration or default_calibration()
    shares = shares_of_answers(basic, compound, none, winner)
    return np.where((winner >= 0)[:, None], known.compounds.at(shares), known.emotions.at(shares))


@cache
def default_calibration() -> Calibration:
    """The shipped calibration."""
    return read_calibration(DEFAULT_SURENESS)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, whole or not at all."""
    import json

    content = {"format": FORMAT, "version": VERSION, **asdict(calibration)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read what `write_calibration` wrote; InputError naming the file where it is none, or does not rise."""
    try:
        content = read_json(path)
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"it is not '{FORMAT}', version {VERSION}")
        compounds, emotions = (_reliability(content[name]) for name in ("compounds", "emotions"))
        return Calibration(compounds, emotions, str(content["measured_on"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no calibration of sureness ({error}); restore it or derive it again.") from error


def _reliability(content: dict[str, list[float]]) -> Reliability:
    share, right, low, high = (tuple(map(float, content[name])) for name in ("share", "right", "low", "high"))
    if not len(share) == len(right) == len(low) == len(high) or not share:
        raise ValueError("the columns have different lengths, or none")
    if any(list(values) != sorted(values) for values in (share, right, low, high)):
        raise ValueError("its values do not rise")
    return Reliability(share, right, low, high, tuple(map(int, content["items"])))
