"""Training of the face networks of the literature as a Prefect flow: progress, curves and card as artifacts."""

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from data.errors import InputError
from flows.server import prefect_setup
from flows.server.artifacts import artifact_key
from flows.training import reporting
from modalities.face_networks.registry import Kind
from modalities.loading.checkpoint import Card

if TYPE_CHECKING:
    from modalities.training.face_networks.train import FaceTrainingOptions


PROMPTS = Path(__file__).resolve().parents[1] / "configs" / "prompts"


@task(name="fit face network", task_run_name="fit · {kind} {network}", cache_policy=NO_CACHE, persist_result=False)
def fit_face_network(
    network: str, kind: Kind, corpus: Path, output: Path, seed: int, epochs: int | None, limit: int | None,
    options: "FaceTrainingOptions",
) -> Card:  # fmt: skip
    """Train one network on one split; an epoch's figures are log lines, the curves a table."""
    from modalities.training.face_networks.train import files_of, train

    name = f"{kind}-{network}" + (f"-fold{options.fold}" if options.fold is not None else "")
    told = reporting(name, "epoch")
    card = train(
        corpus, output, network=network, kind=kind, seed=seed, epochs=epochs, limit=limit, options=options, report=told
    )  # fmt: skip
    files = files_of(output, kind, network, options.fold)
    with files.curves.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    create_table_artifact(rows, key=artifact_key("curves", name), description=f"{name}: figures of every epoch")
    create_markdown_artifact(files.card.read_text(encoding="utf-8"), key=artifact_key("card", name))
    return card


@flow(name="train-face-network", flow_run_name="train {kind} face {network}", persist_result=False)
def train_face_network(
    network: str,
    kind: Kind,
    corpus: Path,
    output: Path = Path("weights"),
    folds: Sequence[int] = (),
    seed: int = 7,
    epochs: int | None = None,
    limit: int | None = None,
    options: dict[str, object] | None = None,
) -> list[Card]:
    """Train a network of the table on a corpus, or on each of the folds given.

    Args:
        network: A name that 'dyad models networks' lists.
        kind: static (pictures) or dynamic (clips).
        corpus: The manifest of face crops.
        output: Folder for weights, card and curves.
        folds: Official folds to test, one training each; none where the corpus has none.
        seed: Seed of every random draw.
        epochs: Passes over the data; the recipe's own number when not given.
        limit: Use so many samples of each part only: a trial.
        options: The other fields of modalities.training.face_networks.train.FaceTrainingOptions by name.
    """
    several = _of_folds(network, folds, options or {})
    return [fit_face_network(network, kind, corpus, output, seed, epochs, limit, one) for one in several]


def _of_folds(network: str, folds: Sequence[int], options: Mapping[str, Any]) -> list["FaceTrainingOptions"]:
    """The options of each training: one for each fold, with Dyad's own texts where none are given."""
    from dataclasses import replace

    from modalities.training.face_networks.train import FaceTrainingOptions

    given = FaceTrainingOptions(**options)
    given = given if given.prompts else replace(given, prompts=own_prompts(network))
    return [replace(given, fold=fold) for fold in folds] or [given]


def own_prompts(network: str) -> dict[str, object] | None:
    """The content of the prompt file that comes with Dyad for a network; None where it compares with no texts."""
    from modalities.face_networks.class_texts import read_prompts
    from modalities.face_networks.registry import network_table

    module = network_table().choose(network).build.partition(":")[0].rpartition(".")[2]
    path = PROMPTS / f"face_{module.removeprefix('face_')}.yaml"
    return read_prompts(path) if path.is_file() else None


def means_of(cards: Sequence[Card]) -> dict[str, float]:
    """The mean of each figure over the folds: of the values of the folds, not of their pooled answers."""
    return {name: sum(card.metrics[name] for card in cards) / len(cards) for name in cards[0].metrics}


def train_on_terminal(
    network: str, kind: Kind, corpus: Path, output: Path, folds: str, seed: int, epochs: int | None, limit: int | None,
    options: dict[str, object],
) -> int:  # fmt: skip
    """Train and print the figures, for several folds their means too; returns the exit code.

    Of several processes that torchrun started the first one is a run of Prefect, the others only help.
    """
    from modalities.training.face_networks.ranks import started_by_torchrun
    from modalities.training.face_networks.train import files_of, train

    numbers = _numbers(folds)
    _tell_of_rows([(corpus, options.get("root")), (options.get("stills"), None)])
    if started_by_torchrun() and os.environ["RANK"] != "0":
        for one in _of_folds(network, numbers, options):
            train(corpus, output, network=network, kind=kind, seed=seed, epochs=epochs, limit=limit, options=one)
        return 0
    with prefect_setup.without_heartbeats():
        cards: list[Card] = train_face_network(network, kind, corpus, output, numbers, seed, epochs, limit, options)
    for fold, card in zip([*numbers, *([] if numbers else [None])], cards, strict=True):
        said = f" (fold {fold})" if fold is not None else ""
        print("\n".join(f"{name}{said}: {value:.4f}" for name, value in card.metrics.items()))
        print(f"Weights: {files_of(output, kind, network, fold).weights}")
    if len(cards) > 1:
        print("\n".join(f"{name} (mean of {len(cards)} folds): {value:.4f}" for name, value in means_of(cards).items()))
    return 0


def _tell_of_rows(manifests: Sequence[tuple[Any, Any]]) -> None:
    """Say before a training which rows of its manifests (with their roots; None: no manifest) are left out."""
    from modalities.training.face_networks.corpus import usable_rows

    for manifest, root in manifests:
        for note in usable_rows(manifest, root)[2] if manifest else ():
            sys.stderr.write(f"{note}\n")


def _numbers(folds: str) -> list[int]:
    """'1,3' -> [1, 3]; '' -> []."""
    try:
        return [int(part) for part in folds.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"'{folds}' names no folds; write them like --fold 1 or --fold 1,2,3,4,5.") from None


@task(name="pre-train S4D", cache_policy=NO_CACHE, persist_result=False)
def pretrain_s4d(
    corpora: Sequence[Path], output: Path, seed: int, epochs: int, limit: int | None, options: Mapping[str, Any]
) -> Card:  # fmt: skip
    """Pre-train on the faces of manifests; an epoch's figures are log lines, the curves a table."""
    from modalities.training.face_networks.s4d_pretraining import NAME, PretrainingOptions, pretrain
    from modalities.training.face_networks.train import files_named

    told = reporting(NAME, "epoch")
    card = pretrain(
        corpora, output, seed=seed, epochs=epochs, limit=limit, options=PretrainingOptions(**options), report=told
    )  # fmt: skip
    files = files_named(output, NAME)
    with files.curves.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
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
    options: dict[str, object] | None = None,
) -> Card:
    """Pre-train the trunk of S4D on faces without labels.

    Args:
        corpora: Manifests of pictures and clips of faces.
        output: Folder for weights, card and curves.
        seed: Seed of every random draw.
        epochs: Passes over the data.
        limit: Use so many samples only: a trial.
        options: The fields of modalities.training.face_networks.s4d_pretraining.PretrainingOptions by name.
    """
    card: Card = pretrain_s4d(corpora, output, seed, epochs, limit, options or {})
    return card


def pretrain_on_terminal(
    corpora: Sequence[Path], output: Path, seed: int, epochs: int, limit: int | None, options: dict[str, Any]
) -> int:  # fmt: skip
    """Pre-train and print the figures; returns the exit code. Of several processes the first one is a run of Prefect."""
    from modalities.training.face_networks.ranks import started_by_torchrun
    from modalities.training.face_networks.s4d_pretraining import NAME, PretrainingOptions, pretrain
    from modalities.training.face_networks.train import files_named

    if started_by_torchrun() and os.environ["RANK"] != "0":
        pretrain(corpora, output, seed=seed, epochs=epochs, limit=limit, options=PretrainingOptions(**options))
        return 0
    _tell_of_rows(list(zip(corpora, options.get("roots") or [None] * len(corpora), strict=False)))
    with prefect_setup.without_heartbeats():
        card: Card = train_s4d_pretraining(corpora, output, seed, epochs, limit, options)
    print("\n".join(f"{name}: {value:.4f}" for name, value in card.metrics.items()))
    print(f"Weights: {files_named(output, NAME).weights}; next: dyad train dynamic-face --network s4d --start ...")
    return 0
