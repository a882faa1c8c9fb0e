"""How well compounds are told from a face's probabilities, by the number of rows that a composer is fitted on and by its form.

    ./dyad benchmark compound_curve --data ../shared/datasets [--shares 0.1 1] [--forms "as shipped" "and the network's features"]

Rows: the stills of FER+'s training file that only chose the face network's epoch. Of five parts of them each is answered by fits
on a share of the other four, in several draws; so the forms are compared without a look at the validation file, whose stills
are answered by one fit on all rows for each form, the last columns. `people`: ten votes drawn anew from each still's own shares
of votes, taken as the pair sum takes probabilities: what ten other people might say of the same face.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.quality import Row, interval
from data.bootstrap import drawn_figures, drawn_scores
from data.emotions import ABAW_COMPOUNDS
from data.votes import compound_of_votes
from fusion.composer import PAIRS, evidence_of, states_of
from fusion.fit_composer import EMOTIONS, starting_point, state_of_votes, state_scores
from fusion.tables.fit import lbfgs

if TYPE_CHECKING:
    from torch import Tensor

HEADS = ("form", "numbers", "rows", "compounds among them", "log loss of the 7", "macro-F1 % of those that occur",
         "of those with 2 stills or more", "95 % interval", "ferplus_valid: of those that occur", "95 % interval")
STATES, PARTS, DRAWS, SLOPES = EMOTIONS + len(PAIRS), 5, 3, 4
SHARES = (0.1, 0.25, 0.5, 1.0)
SHIPPED = SLOPES + 2 * EMOTIONS
COMPOUNDS = states_of(ABAW_COMPOUNDS)


@dataclass(frozen=True)
class JudgedStills:
    """JudgedStills: basic probabilities [N, 7], standardised features [N, D] of the network, and what the votes [N, 7] say.

    `state` [N] is what a composer is fitted on (-1: unclear, left out), `label` [N] the compound that is measured (-1: none).
    The two differ where a third emotion has as many votes as the weaker of the pair.
    """

    basic: np.ndarray
    features: np.ndarray
    state: np.ndarray
    label: np.ndarray
    votes: np.ndarray

    def where(self, chosen: np.ndarray) -> "JudgedStills":
        """The chosen stills."""
        return JudgedStills(*(getattr(self, name)[chosen] for name in ("basic", "features", "state", "label", "votes")))


@dataclass(frozen=True)
class Form:
    """What is added to the shipped formulas: so many numbers for D features, how strongly held at 0, and what they add."""

    numbers: Callable[[int], int]
    pull: float
    added: "Callable[[Tensor, Tensor, Tensor], Tensor] | None"


def _offsets(free: "Tensor", logs: "Tensor", features: "Tensor") -> "Tensor":
    from torch.nn.functional import pad

    return pad(free, (EMOTIONS, 0))


def _mapped(free: "Tensor", logs: "Tensor", features: "Tensor") -> "Tensor":
    return (logs - logs.mean(1, keepdim=True)) @ free.view(EMOTIONS, STATES)


def _seen(free: "Tensor", logs: "Tensor", features: "Tensor") -> "Tensor":
    return features @ free.view(-1, STATES)


FORMS = {
    "as shipped": Form(lambda width: 0, 0.0, None),
    "and an offset for each pair": Form(lambda width: len(PAIRS), 4.0, _offsets),
    "and a linear map of the logarithms": Form(lambda width: EMOTIONS * STATES, 4.0, _mapped),
    "and the network's features": Form(lambda width: width * STATES, 8.0, _seen),
}


def rows(data: Path, forms: Sequence[str], shares: Sequence[float], seed: int) -> Iterator[Row]:
    """A row for the pair sum and for people, then one for each form and share."""
    stills, held = read_stills(data, seed)
    yield ("pair sum", 0, "-", "-", *measured(pair_sum(stills)[None], stills), *held_out(pair_sum(held), held))
    yield ("people", "-", "-", "-", "-", *measured(people(stills, seed), stills)[1:], *held_out(people(held, seed), held))
    for name in forms:
        form = FORMS[name]
        whole = answer(form, fit(form, stills), held)
        for share in shares:
            answers = np.stack([crossed(form, stills, share, seed + draw) for draw in range(DRAWS)])
            learned = int((stills.state >= 0).sum() * (1 - 1 / PARTS) * share)
            pairs = int(np.isin(stills.state, COMPOUNDS).sum() * (1 - 1 / PARTS) * share)
            last = held_out(whole, held) if share == max(shares) else ("-",) * 2
            yield (name, SHIPPED + form.numbers(stills.features.shape[1]), learned, pairs, *measured(answers, stills), *last)


def read_stills(data: Path, seed: int) -> tuple[JudgedStills, JudgedStills]:
    """The stills that chose the epoch, and those of the validation file; features by mean and spread of the former."""
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.static_face import prepare_splits
    from modalities.training.faces.stills import FaceVotes, read_faces

    model = static_face.load()

    def described(faces: FaceVotes) -> JudgedStills:
        told, votes = static_face.describe_images(model, faces.images), np.asarray(faces.votes, np.float64)
        state, label = state_of_votes(votes), compound_of_votes(faces.votes)
        found = JudgedStills(told.basic.astype(float), told.features.astype(float), state, label, votes[:, :EMOTIONS])
        return found.where((state >= 0) | (label >= 0))

    chosen = described(prepare_splits(data, seed, None).choose)
    held = described(read_faces(data / "face" / "ferplus_valid.npz"))
    mean, spread = chosen.features.mean(0), (chosen.features.std(0) + 1e-6) * np.sqrt(chosen.features.shape[1])
    return replace(chosen, features=(chosen.features - mean) / spread), replace(held, features=(held.features - mean) / spread)


def pair_sum(stills: JudgedStills) -> np.ndarray:
    """Logarithms [N, 7] of the pair sums of the compounds."""
    sums: np.ndarray = stills.basic[:, PAIRS[COMPOUNDS - EMOTIONS]].sum(2)
    return np.asarray(np.log(np.maximum(sums, 1e-9)))


def people(stills: JudgedStills, seed: int) -> np.ndarray:
    """Logarithms [N, 7] of the pair sums of ten votes drawn anew."""
    random, shares = np.random.default_rng(seed), stills.votes / stills.votes.sum(1, keepdims=True)
    drawn = np.array([random.multinomial(10, row / row.sum() * (1 - 1e-9)) for row in shares])
    logs: np.ndarray = np.log(np.maximum(drawn[:, PAIRS[COMPOUNDS - EMOTIONS]].sum(2), 1e-9))
    return logs


def crossed(form: Form, stills: JudgedStills, share: float, seed: int) -> np.ndarray:
    """Log-probabilities [N, 7] of the compounds, each part of the rows by a fit on a share of the others."""
    random = np.random.default_rng(seed)
    part, answers = random.permutation(len(stills.state)) % PARTS, np.zeros((len(stills.state), len(COMPOUNDS)))
    for number in range(PARTS):
        others = random.permutation(np.flatnonzero(part != number))
        answers[part == number] = answer(
            form, fit(form, stills.where(others[: int(share * len(others))])), stills.where(part == number)
        )
    return answers


def fit(form: Form, stills: JudgedStills) -> np.ndarray:
    """The numbers of a form with the least log loss of the states, drawn towards the pair sum as the shipped composer is."""
    import torch

    stills = stills.where(stills.state >= 0)
    state, prepared, extra = torch.from_numpy(stills.state), _tensors(stills), form.numbers(stills.features.shape[1])
    shipped = zip(starting_point(), ([0.0] * extra, [form.pull] * extra), strict=True)
    start, pulls = (torch.from_numpy(np.concatenate(parts)) for parts in shipped)

    def objective(flat: "Tensor") -> "Tensor":
        loss = torch.nn.functional.cross_entropy(_scores(form, flat, prepared), state)
        return loss + (pulls * (flat - start) ** 2).sum() / len(state)

    return lbfgs(objective, start.numpy())


def answer(form: Form, found: np.ndarray, stills: JudgedStills) -> np.ndarray:
    """Scores [N, 7] of the compounds, logarithms but for a constant a row."""
    import torch

    with torch.no_grad():
        scores: np.ndarray = _scores(form, torch.from_numpy(found), _tensors(stills))[:, COMPOUNDS].numpy()
    return scores


def _tensors(stills: JudgedStills) -> "list[Tensor]":
    import torch

    return [torch.from_numpy(part) for part in (*evidence_of(stills.basic), stills.features)]


def _scores(form: Form, flat: "Tensor", prepared: "list[Tensor]") -> "Tensor":
    single, total, balance, features = prepared
    scores = state_scores(flat[:SHIPPED], single, total, balance)
    return scores if form.added is None else scores + form.added(flat[SHIPPED:], single, features)


def measured(answers: np.ndarray, stills: JudgedStills) -> tuple[str, ...]:
    """Log loss and macro-F1 of answers [draws, N, 7] about the compounds, mean over the draws, and an interval."""
    answers = answers if answers.ndim == 3 else answers[None]
    shown = stills.label >= 0
    truth, given = stills.label[shown], answers[:, shown]
    common = np.flatnonzero(np.bincount(truth, minlength=len(COMPOUNDS)) > 1)
    logs = given - np.logaddexp.reduce(given, axis=2, keepdims=True)
    loss = -logs[:, np.arange(len(truth)), truth].mean()

    def reached(chosen: np.ndarray, classes: Sequence[int]) -> float:
        return float(np.mean([macro_f1(truth[chosen], one[chosen].argmax(1), classes) for one in given]))

    every = np.arange(len(truth))
    both = (f"{100 * reached(every, classes):.1f}" for classes in (range(7), common.tolist()))
    return f"{loss:.3f}", *both, interval(drawn_figures(lambda chosen: reached(chosen, common.tolist()), every))


def held_out(answers: np.ndarray, stills: JudgedStills) -> tuple[str, ...]:
    """Macro-F1 of the compounds that occur, and its interval."""
    shown = stills.label >= 0
    truth, given = stills.label[shown], answers[shown].argmax(1)
    occurring = sorted(set(truth.tolist()))
    reached = f"{100 * macro_f1(truth, given, occurring):.1f}"
    return reached, interval(drawn_scores(truth, given, len(COMPOUNDS), np.arange(len(truth)))["macro_f1"])


def macro_f1(truth: np.ndarray, answer: np.ndarray, classes: Sequence[int]) -> float:
    """Mean F1 (0..1) of those of the classes that occur; as `data.metrics.scores_of`, but fast enough for thousands of draws."""
    hits, said, true = (np.bincount(part, minlength=len(COMPOUNDS)) for part in (truth[truth == answer], answer, truth))
    every: np.ndarray = 2 * hits / np.maximum(said + true, 1)
    occurring = [number for number in classes if true[number]]
    return float(every[occurring].mean())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="shares of the rows to fit on")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    print(header())
    print_table(HEADS, rows(options.data, options.forms, options.shares, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
