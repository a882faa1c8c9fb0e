"""Backends of the static face: our own network, networks of the literature, image classifiers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from data.files import digest
from data.scores import Scores
from flows.backends.base import Backend, fetched, fingerprint
from flows.backends.face_networks import faces_of, network, network_code, network_inputs
from flows.job import Job
from flows.runtime import loaded_models as models


def _own(job: Job) -> Scores:
    from modalities.static_face import embedded as static_face

    return static_face.recognise(models.static_face(job.settings), **faces_of(job), which=job.settings.faces.which)


def own_inputs(job: Job) -> Mapping[str, Any]:
    """What the scores of our own network depend on."""
    return {"weights": digest(job.settings.static_face.weights or models.shipped_weights("static_face"))}


def _classifier(job: Job) -> Scores:
    from modalities.static_face import image_classifier

    asked = job.settings.static_face
    model = models.image_classifier(fetched(asked.model, "static_face.model"), job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return image_classifier.recognise(model, **faces_of(job), which=job.settings.faces.which, **feeding)


def _classifier_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.static_face
    return {"model": fingerprint(asked.model), "labels": digest(asked.labels)}


BACKENDS: Mapping[str, Backend] = {
    "embedded": Backend(_own, own_inputs),
    "network": Backend(
        partial(network, kind="static"), partial(network_inputs, kind="static"), code=partial(network_code, kind="static")
    ),
    "transformers": Backend(_classifier, _classifier_inputs),
}
