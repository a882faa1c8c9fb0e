"""How well the voice does on speakers and on corpora that it never heard, by whose usual voice it judges.

    ./dyad benchmark voice_folds --data ../shared/datasets [--keep FOLDER] [--ablate]

The layer of `dyad train voice` is fitted without the speakers, or without the corpus, that it then answers for; hearing all
utterances with Whisper base takes some minutes and is kept with `--keep`. Away, it is measured on the six emotions that both
corpora have. `one` to `three moods`: every speaker is cut into speakers who show so many emotions, as one does in a talk show; a
reference must not take these away. Intervals: 95 % by bootstrap over speakers. `--ablate` changes one thing at a time instead.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.quality import Row, interval
from data.bootstrap import drawn_scores
from data.metrics import scores_of
from modalities.reference import OPEN, WITHIN
from modalities.training.common import Progress
from modalities.training.voice.train import (
    CORPORA,
    FOLDS,
    SHIPPED,
    Recipe,
    Utterances,
    answer,
    corpora_left_out,
    fit,
    hear_all,
    learnable,
    speakers_left_out,
    uar,
)
from modalities.voice.whisper_states import find_encoder, load_states

HEADS = ("measured on", "learned", "judged by", "n", "UAR %", "95 % interval", "distorted UAR %")
TITLES = {"ravdess": "RAVDESS", "nemo": "nEMO"}
REFERENCES = ("the training's reference", "the speaker's")
MOODS = {1: "one mood", 2: "two moods", 3: "three moods"}


def rows(utterances: Utterances) -> Iterator[Row]:
    """Speakers left out of both corpora, a corpus left out, and the same with speakers of few moods."""
    home, away = speakers_left_out(utterances), corpora_left_out(utterances)
    shared = learnable(utterances)
    for number, name in enumerate(CORPORA):
        inside = utterances.corpora == number
        for how, reference in enumerate(REFERENCES):
            yield figures(TITLES[name], "both corpora, other speakers", reference, utterances, home[how], inside)
    for number, name in enumerate(CORPORA):
        other = next(TITLES[one] for one in CORPORA if one != name)
        inside = (utterances.corpora == number) & shared
        for how, reference in enumerate(REFERENCES):
            yield figures(TITLES[name], f"{other} alone", reference, utterances, away[how], inside)
        fitted, met = fit(utterances.where(utterances.corpora != number)), utterances.where(inside)
        for moods, words in MOODS.items():
            cut = of_few_moods(met, moods)
            for reference, gate in (("the speaker's, whatever it is", OPEN), ("the speaker's where it is varied", WITHIN)):
                found = answer(fitted, cut, Recipe(gate=gate))[1]
                yield figures(f"{TITLES[name]}, {words} a speaker", f"{other} alone", reference, cut, found, cut.speakers >= 0)


def of_few_moods(utterances: Utterances, moods: int, seed: int = 7) -> Utterances:
    """The same utterances, each speaker cut into speakers who show so many of the emotions, dealt at random."""
    chance, speakers = np.random.default_rng(seed), np.full(len(utterances.speakers), -1)
    for speaker in np.unique(utterances.speakers):
        own = utterances.speakers == speaker
        for number, emotion in enumerate(chance.permutation(np.unique(utterances.emotions[own]))):
            speakers[own & (utterances.emotions == emotion)] = 100 * speaker + number // moods
    return replace(utterances, speakers=speakers)


CHANGED = ("", "RAVDESS home, relative", "nEMO home, relative", "RAVDESS away, relative", "alone", "one mood",
           "nEMO away, relative", "alone", "one mood")  # fmt: skip
"""The columns of `--ablate`; the recipe and what the layer may hear of the states change from row to row."""
CHANGES: dict[str, Recipe] = {
    "as it ships": SHIPPED,
    "own voice counts whatever it is": Recipe(gate=OPEN),
    "no distorted copies": Recipe(copies=0),
    "learned relative to the speaker alone": Recipe(alone=False),
    "both of these": Recipe(copies=0, alone=False),
    "shrunk by 4": Recipe(prior=4.0),
    "shrunk by 16": Recipe(prior=16.0),
    "ridge 0.06 (C 0.009)": Recipe(ridge=0.06),
    "ridge 0.5 (C 0.001)": Recipe(ridge=0.5),
    "emotions weigh alike over both corpora": Recipe(corpora_alike=False),
}


def ablations(utterances: Utterances) -> Iterator[Row]:
    """UAR (%) with one thing changed in each row: by a layer that heard others of both corpora, or the other corpus alone."""
    for words, recipe in CHANGES.items():
        yield changed(words, utterances, recipe)
    quarter = utterances.states.shape[2] // 4
    parts = {"block 2 alone": [0, 1], "block 3 alone": [2, 3], "means alone": [0, 2], "deviations alone": [1, 3]}
    for words, kept in parts.items():
        columns = np.concatenate([np.arange(quarter) + quarter * part for part in kept])
        yield changed(words, replace(utterances, states=utterances.states[:, :, columns]), SHIPPED)
    yield changed("each speaker left out alone", utterances, SHIPPED, folds=1000)


def changed(words: str, utterances: Utterances, recipe: Recipe, folds: int = FOLDS) -> Row:
    """A row of `--ablate`."""
    home, shared = speakers_left_out(utterances, recipe, folds)[1, 0], learnable(utterances)
    at_home, elsewhere = list[str](), list[str]()
    for number in range(len(CORPORA)):
        inside = utterances.corpora == number
        at_home.append(recall(utterances.emotions[inside], home[inside]))
        fitted, met = fit(utterances.where(~inside), recipe), utterances.where(inside & shared)
        alone, own = answer(fitted, utterances.where(inside), recipe)[:, 0, shared[inside]]
        one_mood = answer(fitted, of_few_moods(met, 1), recipe)[1, 0]
        elsewhere += [recall(met.emotions, logits) for logits in (own, alone, one_mood)]
    return words, *at_home, *elsewhere


def recall(truth: np.ndarray, logits: np.ndarray) -> str:
    """UAR in per cent."""
    return f"{100 * uar(truth, logits):.1f}"


def figures(what: str, learned: str, reference: str, utterances: Utterances, logits: np.ndarray, rows: np.ndarray) -> Row:
    """A row of the table from logits [2, N, 7] on clean and on distorted speech."""
    truth, answers = utterances.emotions[rows], logits[:, rows].argmax(-1)

    clean, distorted = (f"{100 * scores_of(truth, given, range(7))['uar']:.1f}" for given in answers)
    spread = interval(drawn_scores(truth, answers[0], 7, utterances.speakers[rows])["uar"])
    return what, learned, reference, len(truth), clean, spread, distorted


def heard(data: Path, keep: Path, limit: int | None) -> Utterances:
    """What Whisper holds of all utterances, heard now or before."""

    def tell(progress: Progress) -> None:
        print(f"heard {progress.step} of {progress.total} utterances", file=sys.stderr)

    corpora = [read(data, limit) for read in CORPORA.values()]
    return hear_all(load_states(find_encoder()), corpora, keep / "voice_states.pt", 7, tell)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "audio/ravdess_speech and audio/nemo")
    parser.add_argument("--limit", type=int, help="utterances of each speaker, for a trial")
    parser.add_argument("--keep", type=Path, help="folder for what was heard, to go on later")
    parser.add_argument("--ablate", action="store_true", help="what each part of the training is worth")
    options = parser.parse_args(arguments)
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        utterances = heard(options.data, keep, options.limit)
        if options.ablate:
            print_table(CHANGED, ablations(utterances))
        else:
            print_table(HEADS, rows(utterances))
    return 0


if __name__ == "__main__":
    sys.exit(main())
