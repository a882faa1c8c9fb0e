"""Backend of scene labels: CLIP."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.settings import read_prompts
from data.files import digest
from data.scores import Scores
from flows.backends.base import Backend, NotHere, frames_of
from flows.job import Job
from flows.runtime import loaded_models as models
from modalities.model_store.local import LocalModel, find_clip, missing_sentence


def clip_found(model: str, checkpoint: Path | None = None) -> LocalModel:
    """The CLIP checkpoint that settings name, or the best one here; NotHere when there is none."""
    from modalities.scene_labels import zero_shot as scene_labels

    search = find_clip(checkpoint, model)
    if search.found is None and model:
        raise NotHere(*missing_sentence(model))
    if search.found is None:
        raise NotHere(" ".join((scene_labels.ABSENT_REASON, *search.passed_over)), scene_labels.REMEDY)
    return search.found


def _open_clip(job: Job) -> Scores:
    from modalities.scene_labels import zero_shot as scene_labels

    asked = job.settings.scene_labels
    loaded = models.scene_labels(clip_found(asked.model, asked.checkpoint), job.settings)
    return scene_labels.recognise(
        loaded, frames_of(job, asked.frames_per_second), job.windows, frames_per_second=asked.frames_per_second,
        batches=models.batches(job.settings), batch=asked.batch,
    )  # fmt: skip


def _open_clip_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.scene_labels
    found = find_clip(asked.checkpoint, asked.model).found
    return {"checkpoint": digest(found.path) if found else "", "prompts": read_prompts(asked.prompts)}


BACKENDS: Mapping[str, Backend] = {"scene_labels": Backend(_open_clip, _open_clip_inputs)}
