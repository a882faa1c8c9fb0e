"""`dyad train s4d-pretraining`: the trunk of S4D learns faces without labels."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.train_commands import Changes, Device, Limit, Precision, SaveEvery, Seed, Weights

Corpora = Annotated[list[Path], typer.Option("--corpus", help="Manifest of pictures or clips of faces; repeatable.")]
Roots = Annotated[
    list[Path] | None, typer.Option("--root", help="Folder that a corpus's paths start from, in the order of --corpus.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures or clips in a step.")]
Fold = Annotated[int | None, typer.Option(help="The official fold that is tested later: its faces are left out.")]
Start = Annotated[Path | None, typer.Option(help="Weights of a ViT to start from (what fits is loaded).")]
Rate = Annotated[float, typer.Option(min=0, help="Rate of learning; 0: 0.0016 for a batch of 512, and in proportion.")]


def train_s4d_pretraining(
    corpus: Corpora, root: Roots = None, output: Weights = Path("weights"), seed: Seed = 7, epochs: Epochs = 100,
    limit: Limit = None, batch: Batch = 32, rate: Rate = 0.0, fold: Fold = None, start: Start = None, settings: Changes = None,
    device: Device = "auto", precision: Precision = "auto", save_every: SaveEvery = 200,
) -> None:  # fmt: skip
    """Pre-train S4D's trunk on faces without labels: what is hidden is drawn from what is seen.

    Example: dyad train s4d-pretraining --corpus affectnet.csv --corpus voxceleb2.csv -o weights
    """
    from flows import pretraining
    from flows.models import device_named
    from flows.train_commands import network_changes, precision_named

    options: dict[str, Any] = {
        "roots": tuple(root or ()), "fold": fold, "settings": network_changes(settings), "start": start, "batch": batch,
        "rate": rate, "device": device_named(device or "auto"), "precision": precision_named(precision), "save_every": save_every,
    }  # fmt: skip
    sys.exit(pretraining.train_on_terminal(corpus, output, seed, epochs, limit, options))
