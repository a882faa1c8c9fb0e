"""Backends of static and dynamic face."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from configs.schema import DynamicFaceSettings
from configs.settings import Settings
from data.files import digest
from data.scores import Scores
from data.tables import read_table
from flows.backends.base import Backend, NotHere, fetched, fingerprint
from flows.backends.scene_context import clip_found
from flows.job import Job
from flows.runtime import loaded_models as models
from modalities.face_networks.registry import Kind, NetworkRow, network_table
from modalities.model_store.local import find_clip, find_files

NO_HEAD = "The settings name no network over time for CLIP's features of the face, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Name one that you trained (VideoMamba or a transformer) with dynamic_face.head, or set dynamic_face.backend to embedded."
)
OWN = ("modalities.static_face.embedded", "modalities.static_face.network", "data.media.crops")


def _faces(job: Job) -> dict[str, Any]:
    """Where the faces of a job's clip are, as every backend takes them."""
    return {"crops": job.folder.crops, "faces": read_table(job.folder.faces), "windows": job.windows}


def _own_static(job: Job) -> Scores:
    from modalities.static_face import embedded as static_face

    return static_face.recognise(models.static_face(job.settings), **_faces(job), which=job.settings.faces.which)


def _own_static_inputs(job: Job) -> Mapping[str, Any]:
    return {"weights": digest(job.settings.static_face.weights or models.shipped_weights("static_face"))}


def _own_dynamic(job: Job) -> Scores:
    from modalities.dynamic_face import embedded as dynamic_face

    return dynamic_face.recognise(models.dynamic_face(job.settings), **_faces(job), which=job.settings.faces.which)


def _own_dynamic_inputs(job: Job) -> Mapping[str, Any]:
    own = {"over time": digest(job.settings.dynamic_face.weights or models.shipped_weights("dynamic_face"))}
    return {**own, **_own_static_inputs(job)}


def _classifier(job: Job) -> Scores:
    from modalities.static_face import image_classifier

    asked = job.settings.static_face
    model = models.image_classifier(fetched(asked.model, "static_face.model"), job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return image_classifier.recognise(model, **_faces(job), which=job.settings.faces.which, **feeding)


def _classifier_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.static_face
    return {"model": fingerprint(asked.model), "labels": digest(asked.labels)}


def _clip_over_time(job: Job) -> Scores:
    from modalities.dynamic_face import clip_temporal as clip_dynamic_face

    asked = job.settings.dynamic_face
    if asked.head is None:
        raise NotHere(NO_HEAD, NO_HEAD_REMEDY)
    model = models.clip_over_time(clip_found(asked.model), asked.head, job.settings)
    feeding = models.feeding(job.settings, asked.batch)
    return clip_dynamic_face.recognise(model, **_faces(job), which=job.settings.faces.which, **feeding)


def _clip_over_time_inputs(job: Job) -> Mapping[str, Any]:
    asked = job.settings.dynamic_face
    found = find_clip(None, asked.model).found
    notes = asked.head.with_suffix(".json") if asked.head else None
    return {"model": digest(found.path) if found else "", "head": digest(asked.head), "notes": digest(notes)}


def network_files(settings: Settings, kind: Kind) -> tuple[tuple[Path, ...], Path | None]:
    """The files of the network that the settings name, and a CLIP if it needs one; NotHere when it lacks its weights."""
    asked = settings.static_face if kind == "static" else settings.dynamic_face
    row = network_table().choose(asked.network, kind)
    named = [asked.checkpoint, *([asked.head] if isinstance(asked, DynamicFaceSettings) else [])]
    files = tuple(file for file in named if file is not None) or fetched_files(row)
    if not files and row.zero_shot is None:
        get = f"Get it with ./dyad models download {row.checkpoint['model']}, or name" if "model" in row.checkpoint else "Name"
        remedy = f"{get} one with {kind}_face.checkpoint ({row.checkpoint['source']}), or train it."
        raise NotHere(f"The settings name no checkpoint for the network {row.name}, and none comes with Dyad.", remedy)
    if "clip" not in row.needs:
        return files, None
    found = find_clip(None, asked.model).found if files else clip_found(asked.model)
    return files, found.path if found else None


def fetched_files(row: NetworkRow) -> tuple[Path, ...]:
    """The authors' files of a network that Dyad can fetch, where they were."""
    return find_files(row.checkpoint["model"], row.checkpoint["files"].split()) if "model" in row.checkpoint else ()


def _network(job: Job, kind: Kind) -> Scores:
    from modalities.face_networks import recognise as recogniser

    asked = job.settings.static_face if kind == "static" else job.settings.dynamic_face
    model = models.face_network(kind, *network_files(job.settings, kind), job.settings)
    feeding = {"which": job.settings.faces.which, **models.feeding(job.settings, asked.batch)}
    if kind == "static":
        return recogniser.recognise_static(model, **_faces(job), **feeding)
    if job.settings.dynamic_face.by_frames:
        from modalities.face_networks.avcer_frames import recognise_frames

        times = read_table(job.folder.frame_times)
        return recognise_frames(model, **_faces(job), **feeding, times=times[times["sampled"].astype(bool)])
    if not job.captions:
        return recogniser.recognise_dynamic(model, **_faces(job), **feeding)
    return recogniser.recognise_dynamic(model, **_faces(job), **feeding, captions=_captions(job))


def _captions(job: Job) -> list[str]:
    """What the descriptions of the scene say of each window; '' where they say nothing, everywhere when there are none."""
    said = [""] * len(job.windows)
    if job.folder.finished("scene_context").get("failed") or not job.folder.evidence("scene_context").is_file():
        return said
    table = read_table(job.folder.evidence("scene_context"))
    for window, text in zip(table["window"], table["text"], strict=True):
        said[window] = f"{said[window]} {text}".strip()
    return said


def _network_inputs(job: Job, kind: Kind) -> Mapping[str, Any]:
    try:
        files, clip = network_files(job.settings, kind)
    except NotHere:
        return {"checkpoint": ""}
    asked = job.settings.static_face if kind == "static" else job.settings.dynamic_face
    notes = [file.with_suffix(".json") for file in files]
    named = {str(place): digest(file) for place, file in enumerate([*files, *notes])}
    row = str(network_table().choose(asked.network, kind))
    return {**named, "clip": digest(clip), "labels": digest(asked.labels), "row": row}


NETWORK = (*OWN, "modalities.face_networks", "modalities.loading.state_dicts", "modalities.label_maps")
STATIC = {
    "embedded": Backend(_own_static, _own_static_inputs, OWN),
    "network": Backend(partial(_network, kind="static"), partial(_network_inputs, kind="static"), NETWORK),
    "transformers": Backend(
        _classifier, _classifier_inputs,
        (*OWN, "modalities.static_face.image_classifier", "modalities.loading.with_input", "modalities.label_maps",
            "modalities.loading.pretrained"),
    ),
}
DYNAMIC = {
    "embedded": Backend(
        _own_dynamic, _own_dynamic_inputs, (*OWN, "modalities.dynamic_face.embedded", "modalities.dynamic_face.network")
    ),
    "network": Backend(partial(_network, kind="dynamic"), partial(_network_inputs, kind="dynamic"), NETWORK),
    "clip": Backend(
        _clip_over_time, _clip_over_time_inputs,
        (*OWN, "modalities.dynamic_face.clip_temporal", "modalities.encoders.clip",
            "modalities.dynamic_face.temporal_heads", "modalities.loading.state_dicts",
         "modalities.dynamic_face.video_mamba", "modalities.dynamic_face.video_former"),
    ),
}  # fmt: skip
