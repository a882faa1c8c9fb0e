"""The scores of all modalities of a clip, or of a person in it, the failed ones among them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data.run_folder import RunFolder
from data.scores import MODALITIES, OF_THE_SCENE, Scores
from data.tables import read_scores
from flows.clip.graph import chain
from flows.evidence import there
from flows.job import Job

NOT_THEN = "Nothing is known of the scene while this person is there."


def all_scores(job: Job) -> list[Scores]:
    """The scores of the modalities; one that failed is absent with the reason it failed for."""
    return [_scores_or_failure(job, modality) for modality in MODALITIES]


def _scores_or_failure(job: Job, modality: str) -> Scores:
    reason = failure(job.folder, modality)
    if reason:
        return Scores.absent(modality, job.windows, reason)
    if job.person is None or modality not in OF_THE_SCENE:
        return read_scores(job.own.scores(modality))
    return _where(read_scores(job.folder.scores(modality)), there(job))


def _where(scores: Scores, kept: NDArray[np.bool_]) -> Scores:
    """The scores of some windows [N], in the others none."""
    present = scores.present & kept
    reason = scores.reason if scores.is_absent or present.any() else NOT_THEN
    basic = np.where(present[:, None], scores.probabilities, np.nan).astype(np.float32)
    quality = None if scores.quality is None else np.where(present, scores.quality, np.nan).astype(np.float32)
    return replace(scores, probabilities=basic, present=present, reason=reason, quality=quality)


def failure(folder: RunFolder, modality: str) -> str:
    """Why a modality, or a stage before it, failed; empty when it did not."""
    for stage in chain(modality):
        if reason := folder.finished(stage).get("failed"):
            return str(reason)
    return ""
