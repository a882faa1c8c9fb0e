"""The scores of all modalities of a clip, the failed ones among them."""

from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores
from data.tables import read_scores
from flows.clip.graph import chain
from flows.job import Job


def all_scores(job: Job) -> list[Scores]:
    """The scores of the modalities; one that failed is absent with the reason it failed for."""
    return [_scores_or_failure(job, modality) for modality in MODALITIES]


def _scores_or_failure(job: Job, modality: str) -> Scores:
    reason = failure(job.folder, modality)
    if reason:
        return Scores.absent(modality, job.windows, reason)
    return read_scores(job.folder.scores(modality))


def failure(folder: RunFolder, modality: str) -> str:
    """Why a modality, or a stage before it, failed; empty when it did not."""
    for stage in chain(modality):
        if reason := folder.finished(stage).get("failed"):
            return str(reason)
    return ""
