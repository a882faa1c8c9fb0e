"""How well single faces are judged, by the share of the stills that were learned, what the network knew, and the pictures' side.

    ./dyad benchmark face_curve --data ../shared/datasets [--epochs 3] [--shares 0.25 1] [--sides 64 112] [--random]

Every point learns as the teacher of `dyad train static-face` does, for few epochs, and is measured on FER+'s validation file,
which nothing is chosen on. `start`: the weights of VGGFace2, or random ones. A share of the stills is
learned in as many passes, so in fewer steps. Figures are comparable with each other, not with the shipped weights.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from benchmarks.common import header, print_table
from benchmarks.quality import Row
from modalities.training import static_face
from modalities.training.face_start import archive_path
from modalities.training.faces import FaceVotes, measure

HEADS = ("start", "share of the stills", "stills", "side", "accuracy of 8 classes %", "of 7 where most agree %", "UAR there %")


def points(shares: Sequence[float], sides: Sequence[int], from_random: bool) -> list[tuple[str, float, int]]:
    """Start, share and side of each point: every share at the side that ships, every side with all stills, and random weights."""
    shipped = [("VGGFace2", share, static_face.SIZE) for share in shares]
    other = [("VGGFace2", max(shares), side) for side in sides if side != static_face.SIZE]
    return [*shipped, *other, *([("random", max(shares), static_face.SIZE)] if from_random else [])]


def rows(data: Path, places: Sequence[tuple[str, float, int]], epochs: int, seed: int) -> Iterator[Row]:
    """A row a point, measured on the held-out stills."""
    splits = static_face.prepare_splits(data, seed, None)
    for start, share, side in places:
        faces = some(splits.fit, share, seed)
        figures = reached(faces, splits.held_out, start == "random", side, epochs, seed)
        percent = (f"{100 * figures[name]:.1f}" for name in ("accuracy_8_classes", "war_agreed", "uar_agreed"))
        yield (start, f"{share:.0%}", len(faces), side, *percent)


def some(faces: FaceVotes, share: float, seed: int) -> FaceVotes:
    """A random share of the stills; a larger share holds the smaller ones."""
    order = np.random.default_rng(seed).permutation(len(faces))
    return faces.rows(np.sort(order[: round(share * len(faces))]))


def reached(faces: FaceVotes, held_out: FaceVotes, from_random: bool, side: int, epochs: int, seed: int) -> dict[str, float]:
    """Figures of the averaged weights after the last epoch."""
    state = static_face.new_state(seed, faces, None if from_random else archive_path())
    for epoch in range(epochs):
        static_face.run_epoch(state, faces, seed, static_face.Lesson(side, epoch, epochs, False))
    logits, _ = static_face.answer(state.average, held_out.images, side)
    return measure(F.softmax(logits, 1).numpy(), held_out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure single faces by the amount of stills, the start, and the side.")
    parser.add_argument("--data", type=Path, required=True, help="folder with face/")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="shares of the stills to learn")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96, 112], help="sides of the pictures, in pixels")
    parser.add_argument("--random", action="store_true", help="one more point from random weights, twice as slow")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(header())
    print_table(HEADS, rows(options.data, points(options.shares, options.sides, options.random), options.epochs, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
