"""Training as a Prefect flow: the plain functions of `modalities.training`, with progress on the terminal and in the UI."""

import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from data.errors import InputError
from flows.server import prefect_setup
from flows.server.artifacts import artifact_key
from modalities.loading.checkpoint import Card
from modalities.training.common import Progress, Report

TRAINERS = {
    "static_face": "modalities.training.faces.static_face:train",
    "dynamic_face": "modalities.training.faces.dynamic_face:train",
    "voice": "modalities.training.voice.train:train",
    "text": "modalities.training.text.train:train",
    "scene_context": "modalities.training.scene_context:train",
    "speech_head": "modalities.training.voice.speech_head:train",
}
"""Network -> what trains it; imported only when it is asked for, since each needs torch and its own corpora's readers."""


def reporting(name: str, step: str = "step") -> Report:
    """What a training tells its progress to: an artifact of the running task, its log, and the terminal."""
    logger = get_run_logger()
    artifact = create_progress_artifact(progress=0.0, key=artifact_key("training", name))

    def report(progress: Progress) -> None:
        figures = ", ".join(f"{figure} {value:.4f}" for figure, value in progress.figures.items())
        logger.info("%s: %s %d of %d, %s", name, step, progress.step, progress.total, figures)
        update_progress_artifact(artifact_id=artifact, progress=100.0 * progress.step / progress.total)  # type: ignore[arg-type]
        sys.stderr.write(f"{name} {progress.step}/{progress.total} {figures}\n")

    return report


@task(name="fit", task_run_name="fit · {network}", cache_policy=NO_CACHE, persist_result=False)
def fit(
    network: str, data: Path, output: Path, seed: int, epochs: int | None, limit: int | None, others: dict[str, object]
) -> Card:
    """Train one network; its progress is an artifact, its figures are log lines."""
    trainer: Callable[..., Card] = pkgutil.resolve_name(TRAINERS[network])
    given = {name: value for name, value in (("epochs", epochs), ("limit", limit)) if value is not None}
    return trainer(data, output, seed=seed, report=reporting(network), **given, **others)


@flow(name="train", flow_run_name="train {network}", persist_result=False)
def train(
    network: str,
    data: Path,
    output: Path = Path("weights"),
    seed: int = 7,
    epochs: int | None = None,
    limit: int | None = None,
    others: dict[str, object] | None = None,
) -> Card:
    """Train one of Dyad's own networks and publish its model card.

    Args:
        network: static_face, dynamic_face, voice, text, scene_context or speech_head.
        data: The folder with the data sets.
        output: Folder for the weights and the card.
        seed: Seed of every random draw.
        epochs: Passes over the data; the recipe's own number when not given.
        limit: Use so many examples only: a trial.
        others: What only this network's training takes, such as the encoder of a speech head.
    """
    if network not in TRAINERS:
        raise InputError(f"'{network}' cannot be trained; use one of {', '.join(TRAINERS)}.")
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}; give it with --data.")
    output.mkdir(parents=True, exist_ok=True)
    card = fit(network, data, output, seed, epochs, limit, others or {})
    create_markdown_artifact((output / f"{network}.md").read_text(encoding="utf-8"), key=artifact_key("card", network))
    return card


def train_on_terminal(
    network: str, data: Path, output: Path, seed: int, epochs: int | None, limit: int | None, **others: object
) -> int:
    """Train and print the held-out figures; returns the exit code."""
    with prefect_setup.without_heartbeats():
        card: Card = train(network, data, output, seed, epochs, limit, others)
    for name, value in card.metrics.items():
        print(f"{name}: {value:.4f}")
    print(f"Weights: {output / f'{network}.safetensors'}; card: {output / f'{network}.md'}")
    return 0
