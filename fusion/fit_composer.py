"""Fitting the learned composer: rows of basic probabilities with the one emotion or the pair that people saw in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.votes import pair_of_votes
from fusion.arrays import Floats, Integers
from fusion.composer import PAIRS, Composer, evidence_of, pair_name, state_probabilities
from fusion.tables.fit import lbfgs

if TYPE_CHECKING:
    from torch import Tensor

EMOTIONS = len(BASIC_EMOTIONS)
UNKNOWN = -1
STRENGTH = 4.0
"""Pull of the emotions' own offsets to 0; a tenth of it draws the slopes to those of the pair sum."""
JOINED_STRENGTH = 400.0
"""Pull to 0 of the offsets that pairs have of their emotions, which may hardly say which pair it is: what was learned of sharp
answers lost to the pair sum by up to 28 points where answers are diffuse (`./dyad benchmark quality --only composition`)."""


@dataclass(frozen=True, eq=False)
class StateRows:
    """Rows to fit on: basic probabilities [N, 7] and the state [N] seen (order of `composer.PAIRS`; -1 for an unclear row)."""

    basic: Floats
    state: Integers

    def known(self) -> "StateRows":
        """The rows with a state and with probabilities."""
        kept = (self.state >= 0) & ~np.isnan(self.basic).any(1)
        return StateRows(self.basic[kept], self.state[kept])


def state_of_votes(votes: Floats, least: float = 3.0) -> Integers:
    """State [N] of votes [N, 7 or more]: the pair of `data.votes.pair_of_votes`, or one emotion with `least` votes alone.

    The rest, and rows led by a class after the seventh, are -1.
    """
    pairs, order = pair_of_votes(votes, least), np.argsort(-votes, axis=1, kind="stable")
    first, second = np.take_along_axis(votes, order, 1)[:, :2].T
    alone = (first >= least) & (second < least) & (order[:, 0] < EMOTIONS)
    return np.where(pairs[:, 0] >= 0, _pair_state(pairs), np.where(alone, order[:, 0], UNKNOWN))


def state_of_labels(labels: Floats) -> Integers:
    """State [N] of labels [N, 7] of 0 and 1: one or two emotions; -1 for none, or more than two."""
    count, order = labels.sum(1), np.argsort(-labels, axis=1, kind="stable")
    return np.where(count == 2, _pair_state(order[:, :2]), np.where(count == 1, order[:, 0], UNKNOWN))


def _pair_state(two: Integers) -> Integers:
    """States of pairs of positions [N, 2]; -1 where one is no basic emotion."""
    table = np.full((EMOTIONS, EMOTIONS), UNKNOWN)
    table[PAIRS[:, 0], PAIRS[:, 1]] = table[PAIRS[:, 1], PAIRS[:, 0]] = EMOTIONS + np.arange(len(PAIRS))
    inside = (two < EMOTIONS).all(1)
    held = np.minimum(two, EMOTIONS - 1)
    return np.where(inside, table[held[:, 0], held[:, 1]], UNKNOWN)


def fit_composer(
    sources: Sequence[StateRows], fitted_on: Mapping[str, object] | None = None, strength: float = STRENGTH
) -> Composer:
    """Parameters with the least log loss of the states; every source counts alike, whatever its number of rows.

    InputError when a source has no pair or no emotion alone.
    """
    import torch

    rows = [source.known() for source in sources]
    if not rows or any(not (part.state >= EMOTIONS).any() or not (part.state < EMOTIONS).any() for part in rows):
        raise InputError("A composer needs rows of two emotions and rows of one from every source; give more rows.")
    count = float(np.mean([len(part.state) for part in rows]))
    prepared = [(*map(torch.from_numpy, evidence_of(part.basic)), torch.from_numpy(part.state)) for part in rows]
    start, pull = starting_point(strength)
    prior, pulls = torch.from_numpy(start), torch.from_numpy(pull)

    def objective(flat: "Tensor") -> "Tensor":
        losses = [torch.nn.functional.cross_entropy(state_scores(flat, *given), state) for *given, state in prepared]
        return torch.stack(losses).mean() + (pulls * (flat - prior) ** 2).sum() / count

    return _composer(lbfgs(objective, start), rows, fitted_on or {})


def starting_point(strength: float = STRENGTH) -> tuple[Floats, Floats]:
    """The pair sum as parameters [18] in the order of `state_scores`, and how strongly each is drawn to it."""
    start = np.array([1.0, 1.0, *np.zeros(2 + 2 * EMOTIONS)])
    pull = np.array([*[0.1 * strength] * 3, 0.0, *[strength] * EMOTIONS, *[strength / STRENGTH * JOINED_STRENGTH] * EMOTIONS])
    return start, pull


def state_scores(flat: "Tensor", single: "Tensor", total: "Tensor", balance: "Tensor") -> "Tensor":
    """Log-scores [N, 28] of the states for parameters in a row: three slopes, the offset, `alone` [7], `joined` [7]."""
    import torch

    pairs = torch.from_numpy(PAIRS)
    alone, joined = flat[4 : 4 + EMOTIONS], flat[4 + EMOTIONS :]
    alike = flat[3] + joined[pairs[:, 0]] + joined[pairs[:, 1]]
    return torch.cat([flat[0] * single + alone, flat[1] * total + flat[2] * balance + alike], 1)


def _composer(found: Floats, rows: Sequence[StateRows], fitted_on: Mapping[str, object]) -> Composer:
    """The found parameters by name, and the shares of the pairs that they give for the rows, each source counting alike."""
    single, pair, balance, offset = map(float, found[:4])
    alone, joined = (dict(zip(BASIC_EMOTIONS, part.tolist(), strict=True)) for part in np.split(found[4:], 2))
    composer = Composer(single, pair, balance, offset, alone, joined, {}, dict(fitted_on))
    shares = np.mean([state_probabilities(composer, part.basic).mean(0) for part in rows], axis=0)[EMOTIONS:]
    return replace(composer, shares={pair_name(two): float(share) for two, share in zip(PAIRS, shares, strict=True)})
