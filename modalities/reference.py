"""How what is seen or heard differs from what it is usually like: states standardised by a reference.

A person's own mean and deviation tell better what is an emotion and what is only this throat or this face than a data set's do;
but of a person who shows one mood alone they take the mood away. So a narrower reference (a person's, a clip's) is shrunk to the
wider one (the data set's, the training's) as far as it rests on little, and as far as it is uniform: what tells one mood from
many is how far the answers vary, as a share of what they vary over the wider one. Rows are whatever a modality has: states,
features, logits.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.files import atomic_path

PRIOR = 8.0
"""Utterances (or other examples that say something new) that the wider reference counts for, beside one's own."""
Gate = tuple[float, float]
"""Spread of the answers, as a share of the wider reference's, at which the own reference starts to count, and counts fully."""
WITHIN: Gate = (0.5, 0.8)
"""Where the wider reference is of the same recordings: of one mood the share was 0.15 to 0.62, of all moods 0.66 to 1.1."""
ABROAD: Gate = (0.2, 0.35)
"""Where it is the training's: on recordings never heard, answers vary less altogether."""
OPEN: Gate = (-2.0, -1.0)
"""Any spread will do."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Moments:
    """Sums over rows: of states [D], of their squares, of answers [C], and of their squares; how many rows, and of how much new.

    `amount` counts what says something new: windows that overlap by half are half as many utterances.
    """

    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    answers: NDArray[np.float64]
    answer_squares: NDArray[np.float64]
    rows: int
    amount: float

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.total + other.total, self.squares + other.squares, self.answers + other.answers,
            self.answer_squares + other.answer_squares, self.rows + other.rows, self.amount + other.amount,
        )  # fmt: skip

    @property
    def spread(self) -> float:
        """Mean variance of the answers over the rows, 0 for fewer than two."""
        if self.rows < 2:
            return 0.0
        mean = self.answers / self.rows
        return float((self.answer_squares / self.rows - mean**2).clip(0).mean() * self.rows / (self.rows - 1))


@dataclass(frozen=True)
class Reference:
    """Mean [D] and variance [D] of states, and the spread of the answers over them.

    `trust` says how much of it is one's own (0..1); the rest is the wider reference's.
    """

    mean: Floats
    variance: Floats
    spread: float
    trust: float = 1.0

    def standardised(self, states: Floats) -> Floats:
        """States [N, D] by this reference."""
        return np.asarray((states - self.mean) / np.sqrt(self.variance + 1e-6), np.float32)


def moments_of(states: Floats, logits: Floats, amount: float | None = None) -> Moments:
    """Moments of rows: states [N, D] and the answers to them by any one reference, logits [N, C], of which what all emotions
    share is taken away. `amount` is N unless given."""
    wide, answers = states.astype(np.float64), logits.astype(np.float64)
    answers = answers - answers.mean(1, keepdims=True)
    return Moments(
        wide.sum(0), (wide**2).sum(0), answers.sum(0), (answers**2).sum(0), len(states), len(states) if amount is None else amount
    )


def shrunk(own: Moments, wider: Reference, gate: Gate, prior: float = PRIOR) -> Reference:
    """One's own reference, shrunk to a wider one as far as it is little beside `prior`, and as far as the gate finds it uniform.

    The whole of the wider one where there are no rows.
    """
    varied = np.clip((own.spread / max(wider.spread, 1e-9) - gate[0]) / (gate[1] - gate[0]), 0, 1)
    trust = float(varied) * own.amount / (own.amount + prior)
    if not own.rows or trust == 0:
        return Reference(wider.mean, wider.variance, wider.spread, 0.0)
    mean = own.total / own.rows
    variance = (own.squares / own.rows - mean**2).clip(0)
    return Reference(
        np.asarray(trust * mean + (1 - trust) * wider.mean, np.float32),
        np.asarray(trust * variance + (1 - trust) * wider.variance, np.float32),
        trust * own.spread + (1 - trust) * wider.spread, trust,
    )  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A reference, whose it is (`speaker`, `clip`, `data set` or `training`), and of how many seconds of theirs."""

    reference: Reference
    whose: str
    seconds: float


def write_known(folder: Path, known: Known) -> str:
    """Write a reference into a folder under the digest of its content, which is returned."""
    own = known.reference
    told = np.array([own.spread, own.trust, known.seconds], np.float64)
    content = own.mean.tobytes() + own.variance.tobytes() + told.tobytes() + known.whose.encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = folder / f"{digest}.npz"
    if not path.is_file():
        with atomic_path(path) as aside, aside.open("wb") as stream:
            np.savez(stream, mean=own.mean, variance=own.variance, told=told, whose=np.array(known.whose))
    return digest


def read_known(path: Path) -> Known:
    """Read what `write_known` wrote."""
    with np.load(path) as parts:
        spread, trust, seconds = parts["told"].tolist()
        return Known(Reference(parts["mean"], parts["variance"], spread, trust), str(parts["whose"]), seconds)


class References:
    """References of the persons of a data set: moments are added as its clips come, and asked for when all are there."""

    def __init__(self, training: Reference) -> None:
        self._training = training
        self._by_person: dict[str, Moments] = {}
        self._everybody: Moments | None = None
        self._seconds: dict[str, float] = {}
        self._sources: set[str] = set()

    def add(self, person: str, source: str, own: Moments, seconds: float) -> None:
        """Take in what a person says or shows in a `source` (a clip); `person` is empty where nobody knows who it is."""
        before = self._by_person.get(person)
        self._by_person[person] = own if before is None else before + own
        self._everybody = own if self._everybody is None else self._everybody + own
        self._seconds[person] = self._seconds.get(person, 0.0) + seconds
        self._sources.add(source)

    def __contains__(self, person: str) -> bool:
        return person in self._by_person

    @property
    def sources(self) -> int:
        """How many clips have told anything."""
        return len(self._sources)

    def of(self, person: str) -> Known:
        """The reference of a person, shrunk to the data set's; the data set's for nobody, and for one who has told nothing; the
        training's in a single clip."""
        if self._everybody is None or len(self._sources) == 1:
            return Known(self._training, "training", 0.0)
        wider = shrunk(self._everybody, self._training, OPEN)
        if not person or person not in self:
            return Known(wider, "data set", sum(self._seconds.values()))
        return Known(shrunk(self._by_person[person], wider, WITHIN), "speaker", self._seconds[person])
