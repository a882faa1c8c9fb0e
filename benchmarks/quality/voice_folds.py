"""How well the voice network tells the eight emotions of RAVDESS, calm apart from neutral, in actors that it never heard.

    ./dyad benchmark voice_folds --data ../shared/datasets [--actors 4 8 15] [--classes 7] [--keep FOLDER]

Features, network and training are those of `dyad train voice`, with eight outputs. Actors are dealt into the same five folds:
each network answers for the actors of its fold, and the figures are over all those answers together. `--actors` gives one point
each: so many actors of the other folds are learned (as many women as men, or one less), in as many steps whatever their number.
Intervals: 95 % by bootstrap over actors. With `--keep`, what is finished is kept there, and another call goes on.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.quality import Row, interval
from data.emotions import BASIC_EMOTIONS
from data.files import atomic_path
from data.metrics import per_class_recall, scores_of
from modalities.model_store.local import archive_file
from modalities.training.common import Progress, Report
from modalities.training.voice.corpus import CALM, read_ravdess
from modalities.training.voice.start import MODEL, read_speaker
from modalities.training.voice.train import EPOCHS, FOLDS, VARIANTS, SpeechExamples, answers_of, fit, fit_layer, make_examples

HEADS = ("classes", "actors learned", "n", "UAR %", "95 % interval", "WAR %", "macro-F1 %", "distorted UAR %")
WORDS = (*BASIC_EMOTIONS, "calm")


def rows(
    data: Path, counts: Sequence[int], classes: int, epochs: int, seed: int, keep: Path, limit: int | None = None
) -> Iterator[Row]:
    """A row for each number of actors; with eight classes another of the same answers with calm added to neutral."""
    examples = utterances(data, classes, seed, keep, limit)
    actors, truth = examples.actors.numpy(), examples.emotions.numpy()
    for count in counts:
        logits = unheard(examples, count, classes, epochs, seed, keep)
        probabilities = logits.softmax(-1).numpy()
        yield figures(f"{classes}", count, truth, probabilities, actors)
        if classes > CALM:
            joined = probabilities[..., :CALM].copy()
            joined[..., 0] += probabilities[..., CALM]
            yield figures("the same, calm as neutral", count, np.where(truth == CALM, 0, truth), joined, actors)
        recall = per_class_recall(truth, probabilities[0].argmax(1), classes)
        print(", ".join(f"{word} {100 * value:.1f}" for word, value in zip(WORDS, recall, strict=False)), file=sys.stderr)


def utterances(data: Path, classes: int, seed: int, keep: Path, limit: int | None) -> SpeechExamples:
    """The features of all utterances and of their distorted copies."""
    path = keep / f"examples-{classes}-{seed}-{limit}.pt"
    if not path.is_file():
        speaker = read_speaker(archive_file(MODEL, "The benchmark hears with"))
        found = make_examples(read_ravdess(data, limit, calm=classes > CALM), speaker, seed, VARIANTS)
        with atomic_path(path) as aside:
            torch.save(vars(found), aside)
    return SpeechExamples(**torch.load(path, weights_only=True))


def unheard(examples: SpeechExamples, count: int, classes: int, epochs: int, seed: int, keep: Path) -> Tensor:
    """Logits [2, N, classes], each row's by a network that learned `count` actors and not the row's own."""
    logits = torch.zeros(2, len(examples.emotions), classes)
    for fold in range(FOLDS):
        away = (examples.actors - 1) % FOLDS == fold
        path = keep / f"fold-{classes}-{count}-{epochs}-{seed}-{len(away)}-{fold}.pt"
        if not path.is_file():
            learned = examples.where(~away & torch.isin(examples.actors, some_actors(examples.actors[~away], count, seed)))
            passes = round(epochs * int((~away).sum()) / len(learned.emotions))
            network = fit(learned, seed + 1 + fold, passes, _told(count, fold), classes)
            with atomic_path(path) as aside:
                torch.save(answers_of(network, fit_layer(learned, classes), examples.where(away)), aside)
        logits[:, away] = torch.load(path, weights_only=True)
    return logits


def some_actors(actors: Tensor, count: int, seed: int) -> Tensor:
    """So many of the actors at random, women (even numbers) and men in turn; a larger number holds the smaller ones."""
    drawn = np.random.default_rng(seed).permutation(np.unique(actors.numpy()))
    sexes = drawn[drawn % 2 == 0], drawn[drawn % 2 == 1]
    in_turn = sorted((turn, actor) for sex in sexes for turn, actor in enumerate(sex.tolist()))
    return torch.tensor([actor for _, actor in in_turn[:count]])


def figures(name: str, count: int, truth: np.ndarray, probabilities: np.ndarray, actors: np.ndarray) -> Row:
    """A row of the table, from the true class [N] and probabilities [2, N, C] of clean and of distorted speech."""
    classes = range(probabilities.shape[-1])
    clean, distorted = (scores_of(truth, part.argmax(1), classes) for part in probabilities)
    answer = probabilities[0].argmax(1)
    spread = interval(lambda chosen: scores_of(truth[chosen], answer[chosen], classes)["uar"], actors)
    reached = (f"{100 * clean[metric]:.1f}" for metric in ("uar", "war", "macro_f1"))
    uar, war, macro = reached
    return name, count, len(truth), uar, spread, war, macro, f"{100 * distorted['uar']:.1f}"


def _told(count: int, fold: int) -> Report:
    def tell(progress: Progress) -> None:
        if progress.step % 10 == 0 or progress.step == progress.total:
            print(f"{count} actors, fold {fold}: {progress.step} of {progress.total}", file=sys.stderr)

    return tell


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "audio/ravdess_speech")
    parser.add_argument("--actors", type=int, nargs="+", default=[15], help="actors that each network learns (15: all others)")
    parser.add_argument("--classes", type=int, choices=(7, 8), default=8, help="7: calm is neutral")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--limit", type=int, help="utterances of each actor, for a trial")
    parser.add_argument("--keep", type=Path, help="folder for what is finished, to go on later")
    options = parser.parse_args(arguments)
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        print_table(HEADS, rows(options.data, options.actors, options.classes, options.epochs, options.seed, keep, options.limit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
