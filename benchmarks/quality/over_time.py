"""Ways to join windows over time, on sequences with known changes made of answers to real images, texts and voices.

    ./dyad benchmark over_time --data ../shared/datasets

There are no films with compounds marked over time to measure on. So sequences are put together: a state (a compound, or one
emotion alone) lasts a drawn time; every two seconds of it are answered by another real example of that state that no model was
trained on; a window holds two such halves, as windows of 4 s shifted by 2 s do. `stills and comments`: FER+ validation stills
with GoEmotions dev comments of the same state, fused by the default weights, composed by the learned composer; the answer is
one of seven compounds or none. `RAVDESS`: the mean of three models for utterances of one actor in a row, held-out folds, eight
emotions; here the examples of a stretch share the speaker, as in a film. `steady`: each stretch repeats one example, so that a
window's neighbours can tell nothing new: the least that can be gained. Figures: accuracy of every two seconds. `context`: the
geometric mean of windows that first heard those around them, by a Gaussian of so many seconds (`fusion.over_time.in_context`).
The second table: film descriptions (Aff-Wild2, in time order) at each context: of the segments that show an emotion, and of those
with two, how many are right; and frame by frame, where each frame of a segment has its own label among the seven.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.derive.composer import by_default_priors, fused_rows, text_rows
from benchmarks.quality.films import BOTH, read_films
from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.metrics import scores_of, scores_of_counts
from data.votes import compound_of_votes
from data.windows import LENGTH, SHIFT
from fusion.arrays import Floats, Integers, as_distribution
from fusion.compose import method_named
from fusion.composer import default_composer, none_probability, states_of
from fusion.fit_composer import StateRows, state_of_votes
from fusion.over_time import DWELL, WAYS, geometric, in_context, joined, smoothed, spread
from fusion.tables.long_table import read_long_table

HALVES = 6000
CONTEXTS = (2.0, 4.0, 8.0, 16.0)
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


def accuracy(sequence: WindowSequence, answer: Answer, way: str, dwell: float, context: float = 0.0) -> float:
    """Of every two seconds, answered by the windows around them in one of `fusion.over_time.WAYS`, after `context` seconds."""
    compound, none = answer(sequence.windows)
    count = len(sequence.windows)
    starts = SHIFT * np.arange(count)
    windows = np.stack([starts, starts + LENGTH], 1)
    compound, none = in_context(compound, none, windows, context)
    if way == "neighbours":
        compound, none = smoothed(compound, none, windows, dwell)
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
    basic = by_default_priors(static_face.score_images(static_face.load(), faces.images))
    rows = fused_rows(StateRows(basic, state_of_votes(faces.votes.astype(np.float64))).known(), text_rows(data, "dev")[0])
    states = states_of(ABAW_COMPOUNDS)
    examples = {number: rows.basic[rows.state == state] for number, state in enumerate(states) if (rows.state == state).sum() > 9}
    alone = rows.basic[~np.isin(rows.state, states)]
    examples |= {NONE: alone}

    return examples, composed


def composed(basic: Floats) -> tuple[Floats, Floats]:
    """Compound distributions [N, 7] and none [N] of basic probabilities, by the learned composer."""
    compound = as_distribution(method_named("learned")(basic, ABAW_COMPOUNDS))
    return compound, none_probability(default_composer(), basic, ABAW_COMPOUNDS)


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
        tried = [*((way, 0.0) for way in WAYS), *(("geometric", context) for context in CONTEXTS)]
        reached = [100 * float(np.mean([accuracy(*given, way, dwell, context) for given in sequences])) for way, context in tried]
        yield [name, f"{lasting:.0f} s", *(f"{value:.1f}" for value in reached)]


def film_rows(data: Path) -> Iterator[list[object]]:
    """How well films' segments are told at each context: emotions (as if each were a compound), and pairs of them."""
    films = read_films(data)
    shares = np.concatenate([film.shares for film in films])
    seen = np.where(shares[:, : len(BASIC_EMOTIONS)].max(1) >= 0.5, shares.argmax(1), NONE)
    seen[seen == len(BASIC_EMOTIONS)] = NONE  # another expression than the seven
    pairs = compound_of_votes(shares, BOTH)
    for context in (0.0, *CONTEXTS):
        emotion = [in_context(film.basic, np.zeros(len(film.basic)), film.windows, context)[0].argmax(1) for film in films]
        compound = [in_context(*composed(film.basic), film.windows, context)[0].argmax(1) for film in films]
        row: list[object] = [f"{context:.0f} s"]
        for truth, answer, kinds in ((seen, emotion, len(BASIC_EMOTIONS)), (pairs, compound, len(ABAW_COMPOUNDS))):
            known, found = truth >= 0, np.concatenate(answer)
            figures = scores_of(truth[known], found[known], range(kinds))
            row += [int(known.sum()), f"{100 * figures['war']:.1f}", f"{100 * figures['macro_f1']:.1f}"]
        said = np.eye(len(BASIC_EMOTIONS))[np.concatenate(emotion)]
        figures = scores_of_counts(shares[:, : len(BASIC_EMOTIONS)].T @ said)  # frames of one emotion by what is answered
        yield [*row, f"{100 * figures['war']:.1f}", f"{100 * figures['macro_f1']:.1f}"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/, text/ and fusion/")
    parser.add_argument("--dwell", type=float, default=DWELL, help="how long an answer is assumed to last (s)")
    options = parser.parse_args(arguments)
    print(header())
    sources = {"stills and comments": [compounds_of(options.data)], "RAVDESS": list(ravdess_of(options.data))}
    rows = (row for name, given in sources.items() for steady in (False, True)
            for row in table_rows(name + ", steady" * steady, given, steady, options.dwell))  # fmt: skip
    print_table(("sequence", "a state lasts", *(f"{way} %" for way in WAYS), *(f"context {s:.0f} s %" for s in CONTEXTS)), rows)
    heads = [f"{what}: {head}" for what in ("emotions", "pairs") for head in ("n", "accuracy %", "macro-F1 %")]
    heads += [f"frame by frame: {head}" for head in ("accuracy %", "macro-F1 %")]
    print_table(("context", *heads), film_rows(options.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
