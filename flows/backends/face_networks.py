"""Networks of the literature for the face: what static and dynamic face have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from configs.schema import DynamicFaceSettings, StaticFaceSettings
from configs.settings import Settings
from data.errors import InputError
from data.files import digest
from data.windows import Windows
from flows.backends.base import Description, NotHere, ScoringBackend
from flows.backends.scene_labels import clip_found
from flows.backends.score_inputs import Beside
from flows.evidence import faces_table
from flows.job import Job
from flows.runtime.code_digest import CodeEntry
from flows.runtime.loaded_models import device_named, loaded, placing
from modalities.face_networks.registry import Kind, NetworkRow, network_table
from modalities.model_store.local import find_clip, find_files

if TYPE_CHECKING:
    from modalities.face_networks.recognise import FaceRecogniser


class Faces(TypedDict):
    """Where the faces of a clip are, and which of them count, as every backend of the face takes them."""

    crops: Path
    faces: pd.DataFrame
    windows: Windows
    which: Literal["main", "all"]


def faces_of(job: Job) -> Faces:
    """The faces of a job's clip, of which those of the person count that the answer is about."""
    which: Literal["main", "all"] = "all" if job.settings.faces.which == "all" and job.person is None else "main"
    return {"crops": job.folder.crops, "faces": faces_table(job), "windows": job.windows, "which": which}


class PublishedNetwork(ScoringBackend["FaceRecogniser"]):
    """A network of the table `modalities/face_networks/networks.yaml`, of one of the two kinds."""

    kind: Kind

    def asked(self, settings: Settings) -> StaticFaceSettings | DynamicFaceSettings:
        """The section of the settings."""
        return settings.static_face if self.kind == "static" else settings.dynamic_face

    def row(self, settings: Settings) -> NetworkRow:
        """The network's row; InputError lists the networks of this kind when there is none of its name."""
        return network_table().choose(self.asked(settings).network, self.kind)

    def load(self, settings: Settings) -> "FaceRecogniser":
        """The network with its weights, from memory where it is there already."""
        from modalities.face_networks.recognise import load

        (files, clip), asked, row = network_files(settings, self.kind), self.asked(settings), self.row(settings)
        key = ("face_network", row.name, self.kind, *files, clip, asked.labels, asked.streams)
        return loaded(
            settings, key,
            lambda: load(row, self.kind, files, clip=clip, meanings=asked.labels, streams=asked.streams, **placing(settings)),
            files[0] if files else clip,
        )  # fmt: skip

    def describe(self, settings: Settings) -> Description:
        """What the table says of it, and where its weights are."""
        asked = self.asked(settings)
        device = device_named(settings.device)
        try:
            row = self.row(settings)
        except InputError as error:
            locations = {"": f"{asked.network}, {_checkpoint_location(asked.checkpoint, None, self.kind)}"}
            return Description(asked.network, "", "", device, locations, str(error), "Name one of these.")
        locations = {"": f"{row.name}, {_checkpoint_location(asked.checkpoint, row, self.kind)}"}
        described = Description(row.name, "", row.licence, device, locations)
        try:
            files, clip = network_files(settings, self.kind)
        except NotHere as missing:
            return replace(described, reason=missing.reason, remedy=missing.remedy)
        gone = next((file for file in files if not file.is_file()), None)
        if gone is not None:
            return replace(described, reason=f"There are no weights at {gone}.", remedy="Name an existing file.")
        return replace(described, revision="+".join(digest(file)[:12] for file in [*files, *([clip] if clip else [])]))

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of its files and of the notes beside them, and its row of the table."""
        try:
            files, clip = network_files(job.settings, self.kind)
        except NotHere:
            return {"checkpoint": ""}
        notes = [file.with_suffix(".json") for file in files]
        named = {str(number): digest(file) for number, file in enumerate([*files, *notes])}
        labels, row = digest(self.asked(job.settings).labels), str(self.row(job.settings))
        return {**named, "clip": digest(clip), "labels": labels, "row": row}

    def code(self, job: Job) -> tuple[CodeEntry, ...]:
        """The module that the table names."""
        return (self.row(job.settings).build.partition(":")[0],)

    def contexts(self, model: "FaceRecogniser", known: Sequence[Beside]) -> list[NDArray[np.float32] | None] | None:
        """The features in the files that are known, for a network that takes a context; None where there is none."""
        from modalities.face_networks.contexts import read_context

        if "context" not in model.row.needs or not any(one.context for one in known):
            return None
        return [read_context(one.context) if one.context else None for one in known]


def network_files(settings: Settings, kind: Kind) -> tuple[tuple[Path, ...], Path | None]:
    """The files of the network that the settings name, and a CLIP if it needs one; NotHere when it lacks its weights."""
    asked = settings.static_face if kind == "static" else settings.dynamic_face
    row = network_table().choose(asked.network, kind)
    named = [asked.checkpoint, *([asked.head] if isinstance(asked, DynamicFaceSettings) else [])]
    files = tuple(file for file in named if file is not None) or _fetched_files(row)
    if not files and row.zero_shot is None:
        get = f"Get it with ./dyad models download {row.checkpoint['model']}, or name" if "model" in row.checkpoint else "Name"
        remedy = f"{get} one with {kind}_face.checkpoint ({row.checkpoint['source']}), or train it."
        raise NotHere(f"The settings name no checkpoint for the network {row.name}, and none comes with Dyad.", remedy)
    if "clip" not in row.needs:
        return files, None
    found = find_clip(None, asked.model).found if files else clip_found(asked.model)
    return files, found.path if found else None


def _fetched_files(row: NetworkRow) -> tuple[Path, ...]:
    """The authors' files of a network that Dyad can fetch, where they were."""
    return find_files(row.checkpoint["model"], row.checkpoint["files"].split()) if "model" in row.checkpoint else ()


def _checkpoint_location(file: Path | None, row: NetworkRow | None, kind: Kind) -> str:
    """Where the weights of a network are, for people, or how to name them."""
    if file is None and row and (found := _fetched_files(row)):
        return ", ".join(map(str, found))
    if file is None:
        return f"no checkpoint; name one with {kind}_face.checkpoint (docs/networks.md)"
    return str(file) if file.is_file() else f"no checkpoint: there is no file {file}"
