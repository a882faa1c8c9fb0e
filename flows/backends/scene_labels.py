"""Backend of scene labels: CLIP."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from configs.settings import Settings, prompts_path, read_prompts
from data.files import digest
from data.scores import Scores
from flows.backends.base import Backend, Description, Medium, NotHere, frames_of
from flows.backends.fetched_models import checkpoint_location
from flows.job import Job
from flows.runtime.loaded_models import device_named, feeding, loaded, placing
from modalities.model_store.local import LocalModel, find_clip, missing_sentence, row_of

if TYPE_CHECKING:
    from modalities.encoders.clip import ClipEncoder
    from modalities.scene_labels.zero_shot import SceneLabels


def clip_found(model: str, checkpoint: Path | None = None) -> LocalModel:
    """The CLIP checkpoint that settings name, or the best one here; NotHere when there is none."""
    from modalities.scene_labels.zero_shot import ABSENT_REASON, REMEDY

    search = find_clip(checkpoint, model)
    if search.found is None and model:
        raise NotHere(*missing_sentence(model))
    if search.found is None:
        raise NotHere(" ".join((ABSENT_REASON, *search.passed_over)), REMEDY)
    return search.found


def load_clip(found: LocalModel, settings: Settings, architecture: str = "") -> "ClipEncoder":
    """CLIP from a checkpoint; one in memory for every modality that needs it."""
    from modalities.encoders.clip import load_clip as load

    architecture = architecture or found.architecture
    key = ("clip", found.path, architecture)
    return loaded(settings, key, lambda: load(found.path, architecture, found.tag, **placing(settings)), found.path)


def described_clip(settings: Settings, model: str, checkpoint: Path | None = None) -> Description:
    """What the CLIP is that `clip_found` finds, or why there is none."""
    device = device_named(settings.device)
    try:
        found = clip_found(model, checkpoint)
    except NotHere as missing:
        locations = {"": checkpoint_location(None, model or "clip")}
        return Description(model or "CLIP", "", "", device, locations, missing.reason, missing.remedy)
    row = row_of(model or found.name)
    return Description(found.name, digest(found.path)[:12], row.licence if row else "", device, {"": str(found.path)})


class OpenClip(Backend["SceneLabels", Scores]):
    """CLIP with prompts for the emotions, by open_clip."""

    def load(self, settings: Settings) -> "SceneLabels":
        """CLIP with the prompts of the settings encoded, from memory where it is there already."""
        from modalities.scene_labels.zero_shot import attach_texts

        asked = settings.scene_labels
        found = clip_found(asked.model, asked.checkpoint)
        clip, prompts = load_clip(found, settings, asked.architecture), prompts_path(asked.prompts)
        key = ("scene_labels", found.path, asked.architecture, digest(prompts), asked.temperature)
        return loaded(settings, key, lambda: attach_texts(clip, prompts, asked.temperature))

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's pictures."""
        from modalities.scene_labels.zero_shot import recognise

        asked = job.settings.scene_labels
        return recognise(
            self.load(job.settings), frames_of(job, asked.frames_per_second), job.windows,
            frames_per_second=asked.frames_per_second, **feeding(job.settings, asked.batch),
        )  # fmt: skip

    def describe(self, settings: Settings) -> Description:
        """The CLIP that is taken."""
        return described_clip(settings, settings.scene_labels.model, settings.scene_labels.checkpoint)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """The digest of the checkpoint, and the prompts."""
        asked = job.settings.scene_labels
        found = find_clip(asked.checkpoint, asked.model).found
        return {"checkpoint": digest(found.path) if found else "", "prompts": read_prompts(asked.prompts)}

    def media(self, job: Job) -> Medium:
        """The pictures."""
        return "picture"


BACKENDS: Mapping[str, Backend[object, Scores]] = {"scene_labels": OpenClip()}
