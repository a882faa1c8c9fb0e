"""S4D's masked pre-training as a Prefect flow: progress, curves and card as artifacts."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows import prefect_setup
from flows.artifacts import artifact_key
from flows.training import reporting
from modalities.checkpoint import Card


@task(name="pre-train S4D", cache_policy=NO_CACHE, persist_result=False)
def pretrain_s4d(
    corpora: Sequence[Path], output: Path, seed: int, epochs: int, limit: int | None, options: dict[str, Any]
) -> Card:  # fmt: skip
    """Pre-train on the faces of manifests; an epoch's figures are log lines, the curves a table."""
    from modalities.training.face_networks import files_named
    from modalities.training.s4d_pretraining import NAME, PretrainingOptions, pretrain

    told = reporting(NAME, "epoch")
    card = pretrain(
        corpora, output, seed=seed, epochs=epochs, limit=limit, options=PretrainingOptions(**options), report=told
    )  # fmt: skip
    files = files_named(output, NAME)
    with files.curves.open(encoding="utf-8", newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    create_table_artifact(rows, key=artifact_key("curves", NAME), description=f"{NAME}: figures of every epoch")
    create_markdown_artifact(files.card.read_text(encoding="utf-8"), key=artifact_key("card", NAME))
    return card


@flow(name="pre-train-s4d", persist_result=False)
def train_s4d_pretraining(
    corpora: Sequence[Path],
    output: Path = Path("weights"),
    seed: int = 7,
    epochs: int = 100,
    limit: int | None = None,
    options: dict[str, Any] | None = None,
) -> Card:
    """Pre-train the trunk of S4D on faces without labels.

    Args:
        corpora: Manifests of pictures and clips of faces.
        output: Folder for weights, card and curves.
        seed: Seed of every random draw.
        epochs: Passes over the data.
        limit: Use so many samples only: a trial.
        options: The fields of modalities.training.s4d_pretraining.PretrainingOptions by name.
    """
    card: Card = pretrain_s4d(corpora, output, seed, epochs, limit, options or {})
    return card


def train_on_terminal(
    corpora: Sequence[Path], output: Path, seed: int, epochs: int, limit: int | None, options: dict[str, Any]
) -> int:  # fmt: skip
    """Pre-train and print the figures; returns the exit code. Of several processes the first one is a run of Prefect."""
    from modalities.training.face_networks import files_named
    from modalities.training.ranks import started_by_torchrun
    from modalities.training.s4d_pretraining import NAME, PretrainingOptions, pretrain

    if started_by_torchrun() and os.environ["RANK"] != "0":
        pretrain(corpora, output, seed=seed, epochs=epochs, limit=limit, options=PretrainingOptions(**options))
        return 0
    with prefect_setup.without_heartbeats():
        card: Card = train_s4d_pretraining(corpora, output, seed, epochs, limit, options)
    print("\n".join(f"{name}: {value:.4f}" for name, value in card.metrics.items()))
    print(f"Weights: {files_named(output, NAME).weights}; next: dyad train dynamic-face --network s4d --start ...")
    return 0
