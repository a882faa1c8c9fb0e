"""Measure how often answers are right by their share of the whole, and write fusion/weights/sureness.json.

    ./dyad benchmark derive_sureness --data ../shared/datasets [--output fusion/weights/sureness.json]

Rows that neither the models nor the composer learned: the stills of FER+'s validation file, GoEmotions' dev comments, a still and
a comment of the same state fused by the default weights (all three at home), and the segments of Aff-Wild2's films by their
descriptions (away; emotions only, since their pairs follow each other). Rows of one kind are weighed so that a third shows a
compound, as `none` assumes. Answers are cut into bins of equal weight, the bins made to rise (pool adjacent violators), with
Wilson's 95 % intervals.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.derive.composer import by_default_priors, fused_rows, text_rows
from benchmarks.quality.films import read_films
from benchmarks.quality.over_time import composed
from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import DyadError
from fusion.arrays import Floats, Integers
from fusion.compose import winners
from fusion.composer import ASSUMED_SHARE, states_of
from fusion.fit_composer import StateRows, state_of_votes
from fusion.over_time import abstaining
from fusion.sureness import DEFAULT_SURENESS, Calibration, Reliability, shares_of_answers, write_calibration

BINS, THRESHOLD, FILM_WEIGHT = 8, 0.5, 1.0
Answers = tuple[Floats, Floats, Floats, Floats]
"""Of N answers: their share of the whole, whether they are right, their weight, and whether they are compounds."""


def answers_of(basic: Floats, state: Integers, share: float | None = ASSUMED_SHARE) -> Answers:
    """The answers to rows whose state is known; `share`: of the weight, for rows that show one of the compounds (None: as is)."""
    compound, none = composed(basic)
    winner = abstaining(winners(compound), none, THRESHOLD)
    states = states_of(ABAW_COMPOUNDS)
    said = np.where(winner >= 0, states[winner], basic.argmax(1))
    shown = np.isin(state, states)
    weight = np.ones(len(state))
    if share is not None:
        weight = np.where(shown, share / shown.mean(), (1.0 - share) / (1.0 - shown.mean()))
    return shares_of_answers(basic, compound, none, winner), (said == state).astype(float), weight, (winner >= 0).astype(float)


def film_answers(data: Path) -> Answers:
    """The answers to film segments in which people saw one emotion in at least half of the frames."""
    films = read_films(data)
    basic, shares = (np.concatenate([getattr(film, name) for film in films]) for name in ("basic", "shares"))
    one = (shares[:, : len(BASIC_EMOTIONS)].max(1) >= THRESHOLD) & (shares.argmax(1) < len(BASIC_EMOTIONS))
    found = answers_of(basic[one], shares[one].argmax(1), share=None)
    return found[0], found[1], FILM_WEIGHT * found[2], found[3]


def reliability(share: Floats, right: Floats, weight: Floats) -> Reliability:
    """`Reliability` of N answers, by bins of about equal weight."""
    order = np.argsort(share)
    share, right, weight = share[order], right[order], weight[order]
    at = np.minimum((np.cumsum(weight) / weight.sum() * BINS).astype(int), BINS - 1)
    blocks = [[at == number] for number in range(BINS) if (at == number).any()]
    rows = [np.logical_or.reduce(block) for block in blocks]
    number = 0
    while number < len(rows) - 1:  # a bin that is right less often than the one before becomes one with it
        if _mean(right, weight, rows[number]) > _mean(right, weight, rows[number + 1]):
            rows[number : number + 2] = [rows[number] | rows[number + 1]]
            number = max(number - 1, 0)
        else:
            number += 1
    mean = [_mean(right, weight, row) for row in rows]
    # So many equal answers would vary as much as these of unequal weight (Kish).
    counts = [float(weight[row].sum() ** 2 / (weight[row] ** 2).sum()) for row in rows]
    bounds = [_wilson(rate, count) for rate, count in zip(mean, counts, strict=True)]
    low, high = (np.maximum.accumulate([bound[side] for bound in bounds]) for side in (0, 1))
    stated = [_mean(share, weight, row) for row in rows]
    shares, rights, least, most = (tuple(round(float(value), 4) for value in values) for values in (stated, mean, low, high))
    return Reliability(shares, rights, least, most, tuple(int(row.sum()) for row in rows))


def _mean(values: Floats, weight: Floats, rows: np.ndarray) -> float:
    return float(np.average(values[rows], weights=weight[rows]))


def _wilson(rate: float, count: float, z: float = 1.96) -> tuple[float, float]:
    middle, wide = (rate + z**2 / (2 * count)), z * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return (middle - wide) / (1 + z**2 / count), (middle + wide) / (1 + z**2 / count)


def derive(data: Path) -> Calibration:
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.stills import read_faces

    stills = read_faces(data / "face" / "ferplus_valid.npz")
    basic = by_default_priors(static_face.score_images(static_face.load(), stills.images))
    faces = StateRows(basic, state_of_votes(stills.votes.astype(np.float64))).known()
    texts = text_rows(data, "dev")[0]
    home = [answers_of(rows.basic, rows.state) for rows in (faces, texts, fused_rows(faces, texts))]
    films = film_answers(data)
    parts = []
    for compound, sources in ((1.0, home), (0.0, [*home, films])):
        both = [np.concatenate([source[column][source[3] == compound] for source in sources]) for column in range(3)]
        parts.append(reliability(*both))
    about = (
        "stills of FER+'s validation file, GoEmotions' dev comments and both fused (at home), and for single emotions segments "
        "of Aff-Wild2's films by their descriptions (away)"
    )
    return Calibration(parts[0], parts[1], about)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/, text/ and scene/")
    parser.add_argument("--output", type=Path, default=DEFAULT_SURENESS)
    options = parser.parse_args(arguments)
    print(header())
    try:
        calibration = derive(options.data)
    except (DyadError, OSError, KeyError) as error:
        print(error, file=sys.stderr)
        return 1
    write_calibration(options.output, calibration)
    for name in ("compounds", "emotions"):
        found = getattr(calibration, name)
        rows = zip(found.share, found.right, found.low, found.high, found.items, strict=True)
        print_table((f"{name}: share", "right", "low", "high", "answers"), ([*row] for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
