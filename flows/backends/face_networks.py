"""Networks of the literature for the face: what static and dynamic face have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.schema import DynamicFaceSettings
from configs.settings import Settings
from data.files import digest
from data.scores import Scores
from data.tables import read_table
from flows.backends.base import NotHere
from flows.backends.scene_labels import clip_found
from flows.job import Job
from flows.runtime import loaded_models as models
from flows.runtime.code_digest import Entry
from modalities.face_networks.registry import Kind, NetworkRow, network_table
from modalities.model_store.local import find_clip, find_files


def faces_of(job: Job) -> dict[str, Any]:
    """Where the faces of a job's clip are, as every backend takes them."""
    return {"crops": job.folder.crops, "faces": read_table(job.folder.faces), "windows": job.windows}


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


def network(job: Job, kind: Kind) -> Scores:
    """The scores of the network that the settings name for the static or the dynamic face."""
    from modalities.face_networks import recognise as recogniser

    asked = job.settings.static_face if kind == "static" else job.settings.dynamic_face
    model = models.face_network(kind, *network_files(job.settings, kind), job.settings)
    feeding = {"which": job.settings.faces.which, **models.feeding(job.settings, asked.batch)}
    if kind == "static":
        return recogniser.recognise_static(model, **faces_of(job), **feeding)
    if job.settings.dynamic_face.by_frames:
        from modalities.face_networks.avcer_frames import recognise_frames

        times = read_table(job.folder.frame_times)
        return recognise_frames(model, **faces_of(job), **feeding, times=times[times["sampled"].astype(bool)])
    if not job.captions:
        return recogniser.recognise_dynamic(model, **faces_of(job), **feeding)
    return recogniser.recognise_dynamic(model, **faces_of(job), **feeding, captions=_captions(job))


def _captions(job: Job) -> list[str]:
    """What the descriptions of the scene say of each window; '' where they say nothing, everywhere when there are none."""
    said = [""] * len(job.windows)
    if job.folder.finished("scene_context").get("failed") or not job.folder.evidence("scene_context").is_file():
        return said
    table = read_table(job.folder.evidence("scene_context"))
    for window, text in zip(table["window"], table["text"], strict=True):
        said[window] = f"{said[window]} {text}".strip()
    return said


def network_inputs(job: Job, kind: Kind) -> Mapping[str, Any]:
    """What they depend on: files, labels, the row of the table."""
    try:
        files, clip = network_files(job.settings, kind)
    except NotHere:
        return {"checkpoint": ""}
    asked = job.settings.static_face if kind == "static" else job.settings.dynamic_face
    notes = [file.with_suffix(".json") for file in files]
    named = {str(place): digest(file) for place, file in enumerate([*files, *notes])}
    row = str(network_table().choose(asked.network, kind))
    return {**named, "clip": digest(clip), "labels": digest(asked.labels), "row": row}


def network_code(job: Job, kind: Kind) -> tuple[Entry, ...]:
    """The module of the network that the settings name, which the table's row says and nothing imports by itself."""
    asked = job.settings.static_face if kind == "static" else job.settings.dynamic_face
    return (network_table().choose(asked.network, kind).build.partition(":")[0],)
