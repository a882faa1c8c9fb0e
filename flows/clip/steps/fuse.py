"""Fusing the modalities."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from data.added_modalities import added_modalities
from data.files import digest
from data.fused import Pooled, write_fused
from data.scores import Scores
from flows.clip.all_scores import all_scores
from flows.job import Job
from fusion.fuse import pool_modalities
from fusion.weights import DEFAULT_WEIGHTS, read_weights, with_modalities


def fuse(job: Job) -> None:
    """Fuse the modalities' basic emotions of everybody: by MHPF, or by the user's own fit ('dyad fuse fit')."""
    pool = pooling(_weights(job))
    for one in job.everyone():
        write_fused(one.own.fused, pool(all_scores(one)))


def pooling(path: Path) -> Callable[[Sequence[Scores]], Pooled]:
    """What fuses scores by the weights in a file, of either kind."""
    from fusion.tables.apply import pool_fitted
    from fusion.tables.fitted import is_fitted, read_fitted

    if is_fitted(path):
        return partial(pool_fitted, fusion=read_fitted(path))
    return partial(pool_modalities, weights=with_modalities(read_weights(path), tuple(added_modalities())))


def inputs(job: Job) -> Mapping[str, object]:
    """What the fusion depends on besides the scores: its weights."""
    return {"weights": digest(_weights(job))}


def _weights(job: Job) -> Path:
    return job.settings.fusion.weights or DEFAULT_WEIGHTS
