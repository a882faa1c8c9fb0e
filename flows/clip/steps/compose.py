"""Composing compounds of the fused emotions."""

from collections.abc import Mapping
from pathlib import Path

from data.files import digest
from data.fused import read_pooled, write_fused
from data.tables import write_table
from flows.backends import MODULES, backend_of
from flows.clip.all_scores import all_scores
from flows.job import Job
from flows.runtime.code_digest import CodeEntry
from fusion.composer import DEFAULT_COMPOSER, read_composer
from fusion.fuse import compose_compounds
from reports.result import windows_table


def compose(job: Job) -> None:
    """Make compounds of basic emotions (learned, PPA, PFSA or AVCER's rules), and explain them."""
    asked = job.settings.fusion
    method = asked.composition
    features = {item.modality: item.features for item in all_scores(job) if item.features is not None}
    known = {name: backend_of(job.settings, name).centroids(job.settings) for name in features} if method == "pfsa" else {}
    centroids = {name: means for name, means in known.items() if means is not None}
    pooled = read_pooled(job.folder.fused)
    fusion = compose_compounds(
        pooled, job.settings.compound_table(), method, features, centroids,
        composer=read_composer(_composer(job)), none_threshold=asked.none_threshold, over_time=asked.over_time,
        context_seconds=asked.context_seconds,
    )  # fmt: skip
    write_fused(job.folder.composed, fusion)
    write_table(job.folder.windows, windows_table(fusion, all_scores(job)))


def inputs(job: Job) -> Mapping[str, object]:
    """What the composition depends on besides settings and the fused emotions: the learned composer."""
    return {"composer": digest(_composer(job))}


def code(job: Job) -> tuple[CodeEntry, ...]:
    """The backends whose networks are asked for their emotions' mean features, where the composition compares with these."""
    return tuple(MODULES.values()) if job.settings.fusion.composition == "pfsa" else ()


def _composer(job: Job) -> Path:
    return job.settings.fusion.composer or DEFAULT_COMPOSER
