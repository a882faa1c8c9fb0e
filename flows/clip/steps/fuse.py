"""Fusing the modalities."""

from collections.abc import Mapping
from pathlib import Path

from data.added_modalities import added_modalities
from data.files import digest
from data.fused import write_fused
from flows.clip.all_scores import all_scores
from flows.job import Job
from fusion.fuse import pool_modalities
from fusion.weights import DEFAULT_WEIGHTS, read_weights, with_modalities


def fuse(job: Job) -> None:
    """Fuse the modalities' basic emotions: by MHPF, or by the user's own fit ('dyad fuse fit')."""
    from fusion.tables.apply import pool_fitted
    from fusion.tables.fitted import is_fitted, read_fitted

    path = _weights(job)
    if is_fitted(path):
        write_fused(job.folder.fused, pool_fitted(all_scores(job), read_fitted(path)))
    else:
        weights = with_modalities(read_weights(path), tuple(added_modalities()))
        write_fused(job.folder.fused, pool_modalities(all_scores(job), weights))


def inputs(job: Job) -> Mapping[str, object]:
    """What the fusion depends on besides the scores: its weights."""
    return {"weights": digest(_weights(job))}


def _weights(job: Job) -> Path:
    return job.settings.fusion.weights or DEFAULT_WEIGHTS
