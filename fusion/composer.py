"""The learned composer: how likely one emotion alone, or each pair of emotions, is behind basic probabilities.

The states are the seven emotions alone and all 21 pairs. With p the basic probabilities,

    z[e]    = single_slope log p[e] + alone[e]
    z[a, b] = pair_slope log(p[a] + p[b]) + balance_slope log(4 p[a] p[b] / (p[a] + p[b])^2) + pair_offset + joined[a] + joined[b]

and softmax(z) are the states' probabilities. `pair_slope` 1 and all else 0 would be the pair sum (PPA), from which the fit
starts and towards which it is drawn; the three slopes and `pair_offset` are shared by all pairs, so that any table of compounds
can be composed. What the table's pairs leave of 1 is the probability of "none of them": an emotion alone, or another pair.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from data.emotions import BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.files import write_text
from data.json_files import read_json
from fusion.arrays import Floats, Integers, softmax

FORMAT = "dyad-composer"
VERSION = 1
DEFAULT_COMPOSER = Path(__file__).parent / "weights" / "composer.json"
FLOOR = 1e-4
"""Probabilities are held above it before their logarithm."""
ASSUMED_SHARE = 1 / 3
"""The share of windows that show one of the compounds, as assumed for `none` where nothing is known of a clip: with it and a
threshold of one half, compounds and none are found equally well among the fused rows that the composer was fitted on."""
PAIRS: Integers = np.array(np.triu_indices(len(BASIC_EMOTIONS), 1)).T
"""All pairs of emotions [21, 2]; in the order of states they follow the seven emotions alone."""


SLOPES = ("single_slope", "pair_slope", "balance_slope", "pair_offset")


@dataclass(frozen=True)
class Composer:
    """The parameters of the module's formulas, and what they were fitted on.

    `shares`: how frequent it finds each pair ('anger+sadness') in the rows that it was fitted on, 0..1.
    """

    single_slope: float
    pair_slope: float
    balance_slope: float
    pair_offset: float
    alone: Mapping[str, float]
    joined: Mapping[str, float]
    shares: Mapping[str, float]
    fitted_on: Mapping[str, object] = field(default_factory=dict)


def pair_name(pair: Sequence[int]) -> str:
    """'anger+sadness' for the positions of two emotions, in any order."""
    first, second = sorted(pair)
    return f"{BASIC_EMOTIONS[first]}+{BASIC_EMOTIONS[second]}"


def evidence_of(basic: Floats) -> tuple[Floats, Floats, Floats]:
    """What the slopes multiply: log p [N, 7], log(p + q) [N, 21], log(4 p q / (p + q)^2) [N, 21]."""
    held = np.maximum(basic, FLOOR)
    first, second = held[:, PAIRS[:, 0]], held[:, PAIRS[:, 1]]
    total = first + second
    return np.log(held), np.log(total), np.log(4.0 * first * second / total**2)


def state_probabilities(composer: Composer, basic: Floats) -> Floats:
    """Probabilities [N, 28] of the states, the emotions alone before the pairs; rows of NaN stay NaN."""
    single, total, balance = evidence_of(basic)
    alone, joined = (np.array([by[word] for word in BASIC_EMOTIONS]) for by in (composer.alone, composer.joined))
    alike = composer.pair_offset + joined[PAIRS].sum(1)
    pairs = composer.pair_slope * total + composer.balance_slope * balance + alike
    scores = np.concatenate([composer.single_slope * single + alone, pairs], 1)
    return np.where(np.isnan(scores), np.nan, softmax(np.nan_to_num(scores)))


def states_of(compounds: Sequence[Compound]) -> Integers:
    """The states [K] of compounds; InputError for a pair of one and the same emotion."""
    states = {tuple(pair): state for state, pair in enumerate(PAIRS.tolist(), len(BASIC_EMOTIONS))}
    for compound in compounds:
        if compound.first == compound.second:
            raise InputError(f"The compound '{compound.name}' names {compound.first} twice; give it two different emotions.")
    return np.array([states[tuple(sorted(compound.pair))] for compound in compounds], np.int64)


def pair_probabilities(composer: Composer, basic: Floats, compounds: Sequence[Compound]) -> Floats:
    """Probability [N, K] of each compound of a table among all states, as frequent as in the fitted rows."""
    chosen: Floats = state_probabilities(composer, basic)[:, states_of(compounds)]
    return chosen


def none_probability(
    composer: Composer, basic: Floats, compounds: Sequence[Compound], share: float | None = ASSUMED_SHARE
) -> Floats:
    """Probability [N] that none of the compounds is shown but an emotion alone or another pair; NaN rows stay NaN.

    `share` is how many of all windows are assumed to show one of them (0..1, exclusive); None for the share in the fitted
    rows. Odds change by the quotient of the two (Bayes' rule for another prior).
    """
    states = np.unique(states_of(compounds))
    shown = state_probabilities(composer, basic)[:, states].sum(1)
    if share is None:
        as_fitted: Floats = 1.0 - shown
        return as_fitted
    if not 0.0 < share < 1.0:
        raise InputError(f"The share of windows with a compound is {share}; give one between 0 and 1.")
    usual = sum(composer.shares[pair_name(PAIRS[state - len(BASIC_EMOTIONS)])] for state in states)
    odds = (1.0 - share) / share * usual / max(1.0 - usual, 1e-9)
    none = (1.0 - shown) * odds
    result: Floats = none / (none + shown)
    return result


def write_composer(path: Path, composer: Composer) -> None:
    """Write a composer as JSON in which every number stands beside its emotion or pair; whole or not at all."""
    content = {"format": FORMAT, "version": VERSION, **asdict(composer)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@cache
def default_composer() -> Composer:
    """The shipped composer."""
    return read_composer(DEFAULT_COMPOSER)


def read_composer(path: Path) -> Composer:
    """Read what `write_composer` wrote; InputError naming the file and the error otherwise."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise InputError(f"There is no composer at {path}; give an existing .json file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); restore it or fit the composer again.") from error
    if not isinstance(content, dict) or (content.pop("format", 0), content.pop("version", 0)) != (FORMAT, VERSION):
        raise InputError(f"{path} is not a composer ('{FORMAT}', version {VERSION}); give one of those.")
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} lacks or spoils an entry ({error!r}); restore it or fit the composer again.") from error


def _parse(content: Mapping[str, Any]) -> Composer:
    single, pair, balance, offset = (_finite(content[name]) for name in SLOPES)
    alone, joined = ({word: _finite(content[name][word]) for word in BASIC_EMOTIONS} for name in ("alone", "joined"))
    shares = {name: _finite(content["shares"][name]) for name in map(pair_name, PAIRS)}
    if min(shares.values()) <= 0.0:
        raise ValueError("a share is not above 0")
    return Composer(single, pair, balance, offset, alone, joined, shares, dict(content.get("fitted_on", {})))


def _finite(value: SupportsFloat | str) -> float:
    if not np.isfinite(number := float(value)):
        raise ValueError(f"{value} is not a finite number")
    return number
