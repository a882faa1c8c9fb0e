"""Composing compounds of the fused emotions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from data.files import digest
from data.fused import Fusion, read_pooled, write_fused
from data.scores import Scores
from data.tables import write_table
from flows.backends import MODULES, backend_of
from flows.clip.all_scores import all_scores
from flows.job import Job
from flows.runtime.code_digest import CodeEntry
from fusion.composer import DEFAULT_COMPOSER, Composer, read_composer
from fusion.fuse import compose_compounds
from reports.result import windows_table


def compose(job: Job) -> None:
    """Make compounds of everybody's basic emotions (learned, PPA, PFSA or AVCER's rules), and explain them."""
    composer, tables = read_composer(_composer(job)), []
    for one in job.everyone():
        scores = all_scores(one)
        fusion = _composed(one, scores, composer)
        write_fused(one.own.composed, fusion)
        table = windows_table(fusion, scores, one.whose)
        tables.append(table if one.person is None else table[table["present"]])
    write_table(job.folder.windows, pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0])


def _composed(job: Job, scores: Sequence[Scores], composer: Composer) -> Fusion:
    asked = job.settings.fusion
    method = asked.composition
    features = {item.modality: item.features for item in scores if item.features is not None}
    known = {name: backend_of(job.settings, name).centroids(job.settings) for name in features} if method == "pfsa" else {}
    centroids = {name: means for name, means in known.items() if means is not None}
    return compose_compounds(
        read_pooled(job.own.fused), job.settings.compound_table(), method, features, centroids,
        composer=composer, none_threshold=asked.none_threshold, over_time=asked.over_time,
        context_seconds=asked.context_seconds,
    )  # fmt: skip


def inputs(job: Job) -> Mapping[str, object]:
    """What the composition depends on besides settings and the fused emotions: the learned composer."""
    return {"composer": digest(_composer(job))}


def code(job: Job) -> tuple[CodeEntry, ...]:
    """The backends whose networks are asked for their emotions' mean features, where the composition compares with these."""
    return tuple(MODULES.values()) if job.settings.fusion.composition == "pfsa" else ()


def _composer(job: Job) -> Path:
    return job.settings.fusion.composer or DEFAULT_COMPOSER
