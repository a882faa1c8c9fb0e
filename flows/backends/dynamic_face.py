"""Backends of the dynamic face: our own network, networks of the literature, CLIP's features with a network over time."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from data.files import digest
from data.scores import Scores
from flows.backends.base import Backend, NotHere
from flows.backends.face_networks import faces_of, network, network_code, network_inputs
from flows.backends.scene_labels import clip_found
from flows.backends.static_face import own_inputs as own_static_inputs
from flows.job import Job
from flows.runtime import loaded_models as models
from modalities.model_store.local import find_clip

NO_HEAD = "The settings name no network over time for CLIP's features of the face, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Name one that you trained (VideoMamba or a transformer) with dynamic_face.head, or set dynamic_face.backend to embedded."
)


def _own(job: Job) -> Scores:
    from modalities.dynamic_face import embedded as dynamic_face

    return dynamic_face.recognise(models.dynamic_face(job.settings), **faces_of(job), which=job.settings.faces.which)


def _own_inputs(job: Job) -> Mapping[str, Any]:
    own = {"over time": digest(job.settings.dynamic_face.weights or models.shipped_weights("dynamic_face"))}
    return {**own, **own_static_inputs(job)}


def _clip_over_time(job: Job) -> Scores:
    from modalities.dynamic_face import clip_temporal as clip_dynamic_face

    asked = job.settings.dynamic_face
    if asked.head is None:
        raise NotHere(NO_HEAD, NO_HEAD_REMEDY)
    model = models.clip_over_time(clip_found(asked.model), asked.head, job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return clip_dynamic_face.recognise(model, **faces_of(job), which=job.settings.faces.which, **feeding)


def _clip_over_time_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.dynamic_face
    found = find_clip(None, asked.model).found
    notes = asked.head.with_suffix(".json") if asked.head else None
    return {"model": digest(found.path) if found else "", "head": digest(asked.head), "notes": digest(notes)}


BACKENDS: Mapping[str, Backend] = {
    "embedded": Backend(_own, _own_inputs),
    "network": Backend(
        partial(network, kind="dynamic"), partial(network_inputs, kind="dynamic"), code=partial(network_code, kind="dynamic")
    ),
    "clip": Backend(_clip_over_time, _clip_over_time_inputs),
}
