"""How well single faces are judged, by the share of the stills that were learned, the images' side, and the network's size.

    ./dyad benchmark face_curve --data ../shared/datasets [--epochs 3] [--shares 0.25 1] [--sides 64 112]
    ./dyad benchmark face_curve --data ../shared/datasets --epochs 12 --sides 64 --widths 0.25 0.5 1

Every point learns as the teacher of `dyad train static-face` does, for few epochs, and is measured on FER+'s validation file,
which nothing is chosen on. A share of the stills is learned in as many passes, so in fewer steps. `--widths`: networks
with so many times the channels, all stills at the first of the sides, from random weights, since only the full network has
others to start from. Figures are comparable with each other, not with the shipped weights.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.quality import Row
from modalities.static_face.network import StaticFaceShape
from modalities.training.faces import static_face
from modalities.training.faces.start import archive_path
from modalities.training.faces.stills import FaceVotes, measure

HEADS = ("start", "parameters", "stills", "side", "accuracy of 8 classes %", "of 7 where most agree %", "UAR there %")


class Point(NamedTuple):
    """What is learned: a share of the stills, seen at `side` pixels, by a network with `width` times the channels (None: the
    full one from the weights of VGGFace2; else from random ones)."""

    share: float
    side: int
    width: float | None = None


def points(shares: Sequence[float], sides: Sequence[int], widths: Sequence[float]) -> list[Point]:
    """Every width where some are given; else every share at the side that ships, and every side with all stills."""
    if widths:
        return [Point(1.0, sides[0], width) for width in widths]
    shipped = [Point(share, static_face.SIZE) for share in shares]
    return [*shipped, *(Point(max(shares), side) for side in sides if side != static_face.SIZE)]


def narrowed(width: float) -> StaticFaceShape:
    """The shape with so many times the channels, in steps of eight."""
    shape = StaticFaceShape()
    return shape._replace(stem=_eights(shape.stem * width), widths=tuple(_eights(one * width) for one in shape.widths))


def _eights(channels: float) -> int:
    return max(8, round(channels / 8) * 8)


def rows(data: Path, points: Sequence[Point], epochs: int, seed: int) -> Iterator[Row]:
    """A row a point, measured on the held-out stills."""
    splits = static_face.prepare_splits(data, seed, None)
    for point in points:
        faces = some(splits.fit, point.share, seed)
        state = learned(faces, point, epochs, seed)
        logits, _ = static_face.answer(state.average, splits.held_out.images, point.side)
        figures = measure(F.softmax(logits, 1).numpy(), splits.held_out)
        percent = (f"{100 * figures[name]:.1f}" for name in ("accuracy_8_classes", "war_agreed", "uar_agreed"))
        size = sum(weight.numel() for weight in state.network.parameters()) / 1e6
        yield ("random" if point.width else "VGGFace2", f"{size:.2f} M", len(faces), point.side, *percent)


def some(faces: FaceVotes, share: float, seed: int) -> FaceVotes:
    """A random share of the stills; a larger share holds the smaller ones."""
    order = np.random.default_rng(seed).permutation(len(faces))
    return faces.rows(np.sort(order[: round(share * len(faces))]))


def learned(faces: FaceVotes, point: Point, epochs: int, seed: int) -> static_face.StaticFaceLearner:
    """The training after its last epoch."""
    shape, archive = (narrowed(point.width), None) if point.width else (None, archive_path())
    state = static_face.new_state(seed, faces, archive, shape=shape)
    for epoch in range(epochs):
        static_face.run_epoch(state, faces, seed, static_face.Lesson(point.side, epoch, epochs, False))
    return state


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="shares of the stills to learn")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96, 112], help="sides of the images, in pixels")
    parser.add_argument("--widths", type=float, nargs="*", default=[], help="instead: networks with so many times the channels")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    print(header())
    print_table(HEADS, rows(options.data, points(options.shares, options.sides, options.widths), options.epochs, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
