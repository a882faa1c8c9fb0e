"""Ways to join windows over time, on sequences with known changes made of answers to real images, texts and voices.

    ./dyad benchmark over_time --data ../shared/datasets

There are no films with compounds marked over time to measure on. So sequences are put together: a state (a compound, or one
emotion alone) lasts a drawn time; every two seconds of it are answered by another real example of that state that no model was
trained on; a window holds two such halves, as windows of 4 s shifted by 2 s do. `stills and comments`: FER+ validation stills
with GoEmotions dev comments of the same state, fused by the default weights, composed by the learned composer; the answer is
one of seven compounds or none. `RAVDESS`: the mean of three models for utterances of one actor in a row, held-out folds, eight
emotions; here the examples of a stretch share the speaker, as in a film. `steady`: each stretch repeats one example, so that a
window's neighbours can tell nothing new: the least that can be gained. Figures: accuracy of every two seconds.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.derive.composer import fused_rows, text_rows
from data.emotions import ABAW_COMPOUNDS
from data.windows import LENGTH, SHIFT
from fusion.arrays import Floats, Integers, as_distribution
from fusion.compose import method_named
from fusion.composer import default_composer, none_probability, states_of
from fusion.fit_composer import StateRows, state_of_votes
from fusion.over_time import DWELL, WAYS, geometric, joined, smoothed, spread
from fusion.tables.long_table import read_long_table

HALVES = 6000
LASTING = (2.0, 4.0, 8.0, 16.0, 32.0)
SEED = 7
NONE = -1
Answer = Callable[[Floats], tuple[Floats, Floats]]


class WindowSequence(NamedTuple):
    """Basic probabilities of windows [N, C] and the true answer of each two seconds [N + 1]."""

    windows: Floats
    truth: Integers


def make_sequence(examples: Mapping[int, Floats], lasting: float, steady: bool, seed: int) -> WindowSequence:
    """States follow each other, every one as likely, but none two thirds of the time, as the composer assumes.

    A stretch lasts 2 s times a geometric number with the mean `lasting` / 2.
    """
    chance = np.random.default_rng(seed)
    halves, truth = list[Floats](), list[int]()
    drawn = [state for state in examples for _ in range(2 * len(examples) - 2 if state == NONE else 1)]
    while len(truth) < HALVES:
        state = int(chance.choice(drawn))
        count = int(chance.geometric(min(1.0, 2.0 / lasting)))
        rows = chance.integers(0, len(examples[state]), 1 if steady else count)
        halves.append(examples[state][np.resize(rows, count)])
        truth += [state] * count
    joined = np.concatenate(halves)[:HALVES]
    return WindowSequence(as_distribution(joined[:-1] + joined[1:]), np.array(truth[:HALVES]))


def accuracy(sequence: WindowSequence, answer: Answer, way: str, dwell: float) -> float:
    """Of every two seconds, answered by the windows around them in one of `fusion.over_time.WAYS`."""
    compound, none = answer(sequence.windows)
    count = len(sequence.windows)
    if way == "neighbours":
        starts = SHIFT * np.arange(count)
        compound, none = smoothed(compound, none, np.stack([starts, starts + LENGTH], 1), dwell)
    together = spread if way == "plain" else geometric
    spans = np.stack([np.arange(count), np.arange(count) + 2], 1)
    joint = together(joined(compound, none), spans, count + 1)
    found = np.where(joint[:, -1] > 0.5, NONE, joint[:, :-1].argmax(1))
    return float((found == sequence.truth).mean())


def compounds_of(data: Path) -> tuple[Mapping[int, Floats], Answer]:
    """Fused examples by answer: a compound's number, -1 for one emotion alone or another pair; and how windows are composed."""
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.stills import read_faces

    faces = read_faces(data / "face" / "ferplus_valid.npz")
    basic = static_face.score_images(static_face.load(), faces.images).astype(np.float64)
    rows = fused_rows(StateRows(basic, state_of_votes(faces.votes)).known(), text_rows(data, "dev")[0])
    states = states_of(ABAW_COMPOUNDS)
    examples = {number: rows.basic[rows.state == state] for number, state in enumerate(states) if (rows.state == state).sum() > 9}
    alone = rows.basic[~np.isin(rows.state, states)]
    examples |= {NONE: alone}

    def answer(windows: Floats) -> tuple[Floats, Floats]:
        compound = as_distribution(method_named("learned")(windows, ABAW_COMPOUNDS))
        return compound, none_probability(default_composer(), windows, ABAW_COMPOUNDS)

    return examples, answer


def ravdess_of(data: Path) -> Iterator[tuple[Mapping[int, Floats], Answer]]:
    """For each held-out actor: examples by emotion; every window shows one of the eight."""
    table = read_long_table(data / "fusion" / "ravdess_posteriors_folds0-2.csv")
    table = table.rows((table.splits == "test") & table.present.all(1))
    actors = np.array([clip.split("-")[-1] for clip in table.clips])
    fused = table.probabilities.mean(1)
    for actor in np.unique(actors):
        own = {kind: fused[(actors == actor) & (table.labels == kind)] for kind in range(len(table.classes))}
        yield {kind: rows for kind, rows in own.items() if len(rows)}, lambda windows: (windows, np.zeros(len(windows)))


ExampleSource = tuple[Mapping[int, Floats], Answer]


def table_rows(name: str, sources: list[ExampleSource], steady: bool, dwell: float) -> Iterator[list[object]]:
    for lasting in LASTING:
        sequences = [(make_sequence(examples, lasting, steady, SEED), answer) for examples, answer in sources]
        reached = [100 * float(np.mean([accuracy(*given, way, dwell) for given in sequences])) for way in WAYS]
        yield [name, f"{lasting:.0f} s", *(f"{value:.1f}" for value in reached)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/, text/ and fusion/")
    parser.add_argument("--dwell", type=float, default=DWELL, help="how long an answer is assumed to last (s)")
    options = parser.parse_args(arguments)
    print(header())
    sources = {"stills and comments": [compounds_of(options.data)], "RAVDESS": list(ravdess_of(options.data))}
    rows = (row for name, given in sources.items() for steady in (False, True)
            for row in table_rows(name + ", steady" * steady, given, steady, options.dwell))  # fmt: skip
    print_table(("sequence", "a state lasts", *(f"{way} %" for way in WAYS)), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
