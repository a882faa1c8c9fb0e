"""How well lines of dialogues are judged, by the share of the dialogues that were learned and by how much of the network learns.

    ./dyad benchmark text_curve --data ../shared/datasets [--shares 0.12 1] [--sizes "heads alone, hidden 32"]

Every point learns anew from the packaged encoder, which never saw MELD, by the second part of `dyad train text` without comments,
in as many steps as `--epochs` of all dialogues take, and is measured on MELD's dev file, which nothing is chosen on.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.quality import Row, interval
from data.bootstrap import drawn_scores
from data.metrics import scores_of
from modalities.training.text.corpora import TextExamples, read_corpora
from modalities.training.text.dialogue import Size, learn_dialogues, predict

SIZES = {
    "heads alone, hidden 32": Size(0, 1, 32, 12, 0),
    "heads alone, hidden 256": Size(0, 1, 256, 96, 0),
    "rank 4 in the last block": Size(1, 4, 256, 96, 0),
    "rank 16 in the last 3 blocks": Size(3, 16, 256, 96, 0),
}
SHARES = (0.12, 0.25, 0.5, 1.0)
HEADS = ("what learns", "share of the dialogues", "lines", "dev weighted F1 %", "95 % interval")


def rows(data: Path, shares: Sequence[float], sizes: Sequence[str], epochs: int, seed: int) -> Iterator[Row]:
    """A row a size and share."""
    training, dev = (lines_of(read_corpora(data / "text", split)) for split in ("train", "dev"))
    for name in sizes:
        for share in shares:
            part = some_dialogues(training, share, seed)
            yield (name, f"{share:.0%}", len(part.tokens), *reached(part, dev, SIZES[name], round(epochs / share), seed))


def lines_of(examples: TextExamples) -> TextExamples:
    """MELD's lines alone."""
    return examples.where(examples.dialogue >= 0)


def some_dialogues(examples: TextExamples, share: float, seed: int) -> TextExamples:
    """The lines of a random share of the dialogues; a larger share holds the smaller ones."""
    names = np.random.default_rng(seed).permutation(np.unique(examples.dialogue))
    return examples.where(np.isin(examples.dialogue, names[: round(share * len(names))]))


def reached(training: TextExamples, dev: TextExamples, size: Size, epochs: int, seed: int) -> tuple[str, str]:
    """Weighted F1 of dev, and its interval over dialogues."""
    import torch

    from modalities.text.heads import EmotionHead

    torch.manual_seed(seed)
    fresh = {f"head.{name}": value for name, value in EmotionHead().state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / "part.pt"
        tensors = learn_dialogues(fresh, training, seed=seed, epochs=epochs, unfinished=unfinished, size=size)
    truth, answer = dev.labels.argmax(1), predict(tensors, dev)[0].argmax(1)

    drawn = drawn_scores(truth, answer, 7, dev.dialogue)["weighted_f1"]
    return f"{100 * scores_of(truth, answer, range(7))['weighted_f1']:.1f}", interval(drawn)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "text/")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="shares of the dialogues to learn")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="what learns")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    print(header())
    print_table(HEADS, rows(options.data, options.shares, options.sizes, options.epochs, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
