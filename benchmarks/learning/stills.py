"""Whether the static face networks learn: small ones, from random weights, on FER+ stills.

    ./dyad benchmark learning_stills --data ../shared/datasets                     # every network, one seed; the ablation, five
    ./dyad benchmark learning_stills --data ../shared/datasets --only emoaffectnet,s4d --seeds 3
    ./dyad benchmark learning_stills --data ../shared/datasets --only ablation --each 800

Each network is trained by `face_networks.train.train`, as `dyad train static-face` does, and has to beat three
things on stills that no part of the training saw: a linear probe (logistic regression on the features of the same network as its
training starts it), chance, and the most frequent class. Training and probe see the same stills, their light taken out. The
ablation trains KE-FER with its neutral reference (transformation and self-contrast) and without, on the same stills with the same
seeds. No weights are fetched: what large networks reach from their authors' weights, this does not tell.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import header, make_parser, print_table
from benchmarks.learning.learning import (
    LABELS,
    Reached,
    append_row,
    clear_faces,
    mean_interval,
    paired_interval,
    probe,
    write_clip,
    write_stills,
)
from modalities.training.face_networks.corpus import read_face_corpus
from modalities.training.face_networks.train import FaceTrainingOptions, train

SIDE = 48
"""Pixels of a still's side, as FER+ has them."""
TOWER = {"embedding": 64, "size": SIDE, "patch": 8, "width": 64, "layers": 3, "heads": 4, "text_width": 64, "text_heads": 1,
         "text_layers": 1}  # fmt: skip
RECIPE = {"batch": 32, "rate": 8e-4, "layer_decay": 1.0, "augment": 0.05, "mixup": 0.0, "smoothing": 0.0, "optimiser": "adamw",
          "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.05}  # fmt: skip


@dataclass(frozen=True)
class SmallStillNetwork:
    """A network of the table in a small size: what changes in its settings and in `RECIPE`, for how many epochs it is trained."""

    network: str
    settings: Mapping[str, Any]
    epochs: int = 10
    recipe: Mapping[str, Any] = field(default_factory=dict)
    clip: bool = False


def _s4d() -> SmallStillNetwork:
    return SmallStillNetwork("s4d", {
        "size": SIDE, "patch": 8, "frames": 4, "width": 64, "depth": 4, "heads": 4, "expert_blocks": [2, 3],
        "experts": {"experts": 4}})  # fmt: skip


def _cliper() -> SmallStillNetwork:
    """Its two stages: the descriptors, then the image tower."""
    stages = [{"epochs": 1, "rate": 1e-2, "schedule": "constant", "warmup": 0.0, "groups": {r"^text_generator\.": 1e-2}},
              {"epochs": 9, "groups": {r"^net\.visual\.": RECIPE["rate"]}}]  # fmt: skip
    recipe = {name: value for name, value in RECIPE.items() if name not in ("rate", "schedule", "warmup")}
    for stage in stages[1:]:
        stage.update({name: RECIPE[name] for name in ("rate", "schedule", "warmup")})
    return SmallStillNetwork("cliper", {"shape": TOWER}, 10, {"stages": stages, **recipe}, clip=True)


RESNET = {"layers": [1, 1, 1, 1], "width": 16}
NETWORKS: dict[str, SmallStillNetwork] = {
    "s4d": _s4d(),
    "neutral-reference": SmallStillNetwork("neutral-reference", {
        "size": SIDE, "patch": 8, "width": 64, "depth": 3, "heads": 4, "generator_width": 32, "generator_depth": 1,
        "generator_heads": 4}),
    "emoaffectnet": SmallStillNetwork("emoaffectnet", RESNET | {"features": 128}, 5),
    "context-face": SmallStillNetwork("context-face", RESNET | {"code": 128}, 5),
    "ke-fer": SmallStillNetwork("ke-fer", {"shape": TOWER}, 3, clip=True),
    "ke-fer-clip": SmallStillNetwork("ke-fer-clip", {"shape": TOWER}, clip=True),
    "cliper": _cliper(),
    "fineclip": SmallStillNetwork("fineclip", {"shape": TOWER, "frames": 1}, recipe={"rate": 3e-3}, clip=True),
}  # fmt: skip
ALONE = {"transformation": 0.0, "contrast": 0.0}
"""KE-FER's weights without its neutral reference."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, "face/ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--each", type=int, default=1600, help="stills a class to learn from, where there are as many")
    parser.add_argument("--held-out", type=int, default=300, help="stills a class to measure on, where there are as many")
    parser.add_argument("--epochs", type=int, help="instead of those that each network is given here")
    parser.add_argument("--seeds", type=int, help="how many; one without this, five for the ablation")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of networks, or ablation, with commas between")
    parser.add_argument("--log", type=Path, help="JSON lines: a row for each training, as soon as it is done")
    given = parser.parse_args(arguments)
    wanted = [name for name in given.only.split(",") if name] or [*NETWORKS, "ablation"]
    few, many = (range(given.first_seed, given.first_seed + (given.seeds or count)) for count in (1, 5))
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        manifest = write_stills(work / "stills", *clear_faces(given.data), given.each, given.held_out, even=True)
        print(said_of(manifest), flush=True)
        rows = [row_of(name, manifest, work, few, given.epochs, given.log) for name in NETWORKS if name in wanted]
        print_table(["network", "epochs", "accuracy", "UAR", "probe: accuracy", "probe: UAR", "seeds", "seconds"], rows)
        if "ablation" in wanted:
            print_table(["KE-FER", "accuracy", "UAR"], ablation(manifest, work, many, given.epochs, given.log))


def said_of(manifest: Path) -> str:
    """How many stills there are, and what answering the most frequent class always is worth."""
    corpus = read_face_corpus(manifest, LABELS, seed=0)
    share = np.bincount([one.label for one in corpus.test]).max() / len(corpus.test)
    return (
        f"{len(corpus.fit)} stills to fit on, {len(corpus.choose)} to choose the epoch on, {len(corpus.test)} to measure on, of "
        f"{len(LABELS)} classes. Always the most frequent class: accuracy {share:.3f}, UAR {1 / len(LABELS):.3f}."
    )


def options_of(small: SmallStillNetwork, work: Path, seed: int, settings: Mapping[str, Any] | None = None) -> FaceTrainingOptions:
    """What the training is told, with a random CLIP of this seed for the networks that start from one."""
    clip = work / f"clip-{seed}.safetensors"
    if small.clip and not clip.exists():
        write_clip(clip, TOWER, seed)
    return FaceTrainingOptions(
        labels="basic", clip=clip if small.clip else None, settings={**small.settings, **(settings or {})},
        recipe={**({} if "stages" in small.recipe else {**RECIPE, "groups": {}}), **small.recipe}, reads={"size": SIDE},
    )  # fmt: skip


def trained(
    title: str, manifest: Path, work: Path, seed: int, epochs: int | None, log: Path | None,
    settings: Mapping[str, Any] | None = None, called: str = "",
) -> tuple[Reached, float]:  # fmt: skip
    """One training, measured on the test part by the product itself, and its seconds."""
    small = NETWORKS[title]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=work) as output:
        card = train(manifest, Path(output), network=small.network, seed=seed, epochs=epochs or small.epochs,
                     options=options_of(small, work, seed, settings))  # fmt: skip
    seconds = time.monotonic() - start
    reached = Reached(card.metrics["war"], card.metrics["uar"])
    append_row(log, {"network": called or title, "seed": seed, "epochs": epochs or small.epochs, "settings": dict(settings or {}),
                     **reached._asdict(), "seconds": round(seconds, 1), "recall": card.per_class_recall})  # fmt: skip
    return reached, seconds


def row_of(
    title: str, manifest: Path, work: Path, seeds: Sequence[int], epochs: int | None, log: Path | None
) -> list[object]:  # fmt: skip
    """A network's row of the table, trained with each seed; its probe starts from each seed's weights too."""
    small, reached, probed, seconds = NETWORKS[title], list[Reached](), list[Reached](), 0.0
    for seed in seeds:
        probed.append(probe(small.network, "static", options_of(small, work, seed), manifest, seed))
        append_row(log, {"network": f"{title}, probe", "seed": seed, **probed[-1]._asdict()})
        found, needed = trained(title, manifest, work, seed, epochs, log)
        reached.append(found)
        seconds += needed
    figures = [spread([getattr(one, name) for one in some]) for some in (reached, probed) for name in Reached._fields]
    row: list[object] = [title, epochs or small.epochs, *figures, len(seeds), f"{seconds / len(seeds):.0f}"]
    print(row, flush=True)
    return row


def spread(values: Sequence[float]) -> str:
    """The mean, and from the lowest to the highest where there are several."""
    several = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{several}"


def ablation(
    manifest: Path, work: Path, seeds: Sequence[int], epochs: int | None, log: Path | None, title: str = "ke-fer-clip"
) -> Iterator[list[object]]:  # fmt: skip
    """KE-FER with its neutral reference and without, and the difference with Student's interval over paired seeds (95 %)."""
    found: dict[str, list[Reached]] = {"with": [], "without": []}
    for seed in seeds:
        for which, weights in (("with", {}), ("without", {"weights": ALONE})):
            found[which].append(trained(title, manifest, work, seed, epochs, log, weights, f"{title}, {which}")[0])
    columns = {which: [[getattr(one, name) for one in some] for name in Reached._fields] for which, some in found.items()}
    for which, values in columns.items():
        yield [f"{which} its neutral reference", *(str(mean_interval(one)) for one in values)]
    pairs = zip(columns["with"], columns["without"], strict=True)
    yield [f"difference, {len(seeds)} seeds", *(str(paired_interval(*pair)) for pair in pairs)]


if __name__ == "__main__":
    main()
