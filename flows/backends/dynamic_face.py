"""Backends of the dynamic face: our own network, networks of the literature, CLIP's features with a network over time."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from data.errors import InputError
from data.files import digest, is_hidden
from data.given_files import GivenFile
from data.manifest.manifest import MEDIA
from data.scores import Scores
from data.tables import read_table
from flows.backends.base import Backend, Description, Medium, NotHere, ScoringBackend
from flows.backends.face_networks import PublishedNetwork, faces_of
from flows.backends.fetched_models import head_location
from flows.backends.own_networks import OwnNetwork
from flows.backends.scene_labels import clip_found, described_clip, load_clip
from flows.backends.score_inputs import (
    FILES_AT_ONCE,
    Answers,
    Beside,
    Probabilities,
    files_in,
    in_chunks,
    readable,
    with_gaps,
    with_what_is_known,
)
from flows.backends.static_face import OWN as OWN_STATIC_FACE
from flows.job import Job
from flows.runtime.loaded_models import device_named, feeding, loaded
from modalities.face_networks.registry import NetworkInput
from modalities.model_store.local import find_clip

if TYPE_CHECKING:
    from modalities.dynamic_face.clip_temporal import ClipDynamicFace
    from modalities.dynamic_face.embedded import DynamicFace
    from modalities.face_networks.recognise import FaceRecogniser

Model = TypeVar("Model", covariant=True)
Views = NDArray[np.uint8]
"""What is seen of a clip: RGB [V, T, S, S, 3]."""
NO_HEAD = "The settings name no network over time for CLIP's features of the face, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Name one that you trained (VideoMamba or a transformer) with dynamic_face.head, or set dynamic_face.backend to embedded."
)


class DynamicFaceBackend(ScoringBackend[Model]):
    """What all backends of the dynamic face have in common: they score clips of faces, cut out as in the corpora of the field."""

    @abstractmethod
    def sees(self, settings: Settings) -> NetworkInput:
        """What it is shown of a clip."""

    @abstractmethod
    def score_views(self, clips: Sequence[Views], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities [B, 7] of what is seen of clips, and of what is known of each."""

    def score(self, table: Path, settings: Settings) -> Answers:
        """Of a folder of clips (media files, or folders of images in order), or a table that names some."""
        from modalities.face_networks.views import read_views

        clips = _clips_in(table) if table.is_dir() else files_in(table, MEDIA)
        reads, batch = self.sees(settings), settings.dynamic_face.batch
        reasons: dict[str, str] = {}

        def views_of(one: tuple[GivenFile, Beside]) -> tuple[Views, Beside]:
            with one[0].here() as file:
                return read_views(str(file), reads), one[1]

        def score(part: Sequence[tuple[GivenFile, Beside]]) -> Probabilities:
            seen = readable(part, views_of, reasons, lambda one: str(one[0]))
            return with_gaps(seen, lambda there: self.score_views(
                [one for one, _ in there], [known for _, known in there], settings
            ))  # fmt: skip

        basic = in_chunks(with_what_is_known(table, clips), score, min(batch, FILES_AT_ONCE))
        return Answers([str(clip) for clip in clips], basic, reasons, broken=frozenset(reasons))

    def media(self, job: Job) -> Medium:
        """The pictures: where there are none, nobody has looked for faces."""
        return "picture"


def _clips_in(folder: Path) -> list[GivenFile]:
    """The clips below a folder by name: media files, and folders that hold images; InputError when there are none."""
    from modalities.face_networks.views import IMAGE_SUFFIXES

    shown = [file for file in folder.rglob("*") if not is_hidden(file, folder)]
    files = {file for file in shown if file.suffix.lower() in MEDIA}
    of_images = {file.parent for file in shown if file.suffix.lower() in IMAGE_SUFFIXES}
    if not files | of_images:
        raise InputError(f"{folder} holds no clips: neither media files nor folders of pictures.")
    return [GivenFile(str(clip)) for clip in sorted(files | of_images)]


class OwnDynamicFace(DynamicFaceBackend["DynamicFace"], OwnNetwork["DynamicFace"]):
    """Our network for faces over time, on the features of the network for single faces."""

    modality = "dynamic_face"

    def read_weights(self, weights: Path | None, settings: Settings) -> "DynamicFace":
        """The network; see `modalities.dynamic_face.embedded.load`."""
        from modalities.dynamic_face.embedded import load

        return load(weights, OWN_STATIC_FACE.load(settings), device_named(settings.device))

    def below(self, settings: Settings) -> tuple[Path | None, ...]:
        """The weights of the network for single faces."""
        return (settings.static_face.weights,)

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's faces."""
        from modalities.dynamic_face.embedded import recognise

        return recognise(self.load(job.settings), **faces_of(job))

    def sees(self, settings: Settings) -> NetworkInput:
        """The middles of 20 equal parts of a clip."""
        return NetworkInput(size=112, frames=20)

    def score_views(self, clips: Sequence[Views], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities of clips; nothing that is known of them counts."""
        from modalities.dynamic_face.embedded import score_sequences

        return score_sequences(self.load(settings), [views[0] for views in clips])

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the weights of both networks."""
        return {"over time": super().inputs(job)["weights"], **OWN_STATIC_FACE.inputs(job)}


class PublishedDynamicFace(DynamicFaceBackend["FaceRecogniser"], PublishedNetwork):
    """A network of the literature that answers for clips."""

    kind = "dynamic"

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's faces; with `by_frames` at every frame, as the authors of AVCER do."""
        from modalities.face_networks.recognise import recognise_dynamic

        asked = job.settings.dynamic_face
        model, fed = self.load(job.settings), feeding(job.settings, asked.batch)
        if asked.by_frames:
            from modalities.face_networks.avcer_frames import recognise_frames

            times = read_table(job.folder.frame_times)
            return recognise_frames(model, **faces_of(job), **fed, times=times[times["sampled"].astype(bool)])
        return recognise_dynamic(model, **faces_of(job), **fed, captions=_captions(job) if job.captions else None)

    def sees(self, settings: Settings) -> NetworkInput:
        """What the network was trained on."""
        return self.load(settings).reads

    def score_views(self, clips: Sequence[Views], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities of clips, with the contexts and captions that are known where the network takes some."""
        from modalities.face_networks.recognise import score_views

        model: FaceRecogniser = self.load(settings)
        captions = [one.caption for one in known] if "caption" in model.row.needs else None
        return score_views(model, clips, settings.dynamic_face.batch, self.contexts(model, known), captions)


def _captions(job: Job) -> list[str]:
    """What the descriptions of the scene say of each window; '' where they say nothing, everywhere when there are none."""
    said = [""] * len(job.windows)
    if job.folder.finished("scene_context").get("failed") or not job.folder.evidence("scene_context").is_file():
        return said
    table = read_table(job.folder.evidence("scene_context"))
    for window, text in zip(table["window"], table["text"], strict=True):
        said[window] = f"{said[window]} {text}".strip()
    return said


class ClipOverTime(DynamicFaceBackend["ClipDynamicFace"]):
    """CLIP's features of the faces, with a network over time that the user trained."""

    def load(self, settings: Settings) -> "ClipDynamicFace":
        """CLIP and the network, from memory where they are there already."""
        from modalities.dynamic_face.clip_temporal import load

        head = settings.dynamic_face.head
        if head is None:
            raise NotHere(NO_HEAD, NO_HEAD_REMEDY)
        found = clip_found(settings.dynamic_face.model)
        clip, device = load_clip(found, settings), device_named(settings.device)
        return loaded(settings, ("clip_over_time", found.path, head), lambda: load(clip, head, device))

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's faces."""
        from modalities.dynamic_face.clip_temporal import recognise

        settings = job.settings
        return recognise(self.load(settings), **faces_of(job), **feeding(settings, settings.dynamic_face.batch))

    def sees(self, settings: Settings) -> NetworkInput:
        """As many frames as the network over time sees of a window, at CLIP's size."""
        from modalities.dynamic_face.clip_temporal import LENGTH

        return NetworkInput(size=224, frames=LENGTH)

    def score_views(self, clips: Sequence[Views], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities of clips; nothing that is known of them counts."""
        from modalities.dynamic_face.clip_temporal import encode_crops
        from modalities.dynamic_face.temporal_heads import answer_sequences

        model = self.load(settings)
        sequences = [np.stack(encode_crops(model.clip, list(views[0]))) for views in clips]
        return np.stack([answer.probabilities for answer in answer_sequences(model.head, sequences)])

    def describe(self, settings: Settings) -> Description:
        """CLIP as the table of models knows it; absent without a network over time, which nobody has published."""
        asked = settings.dynamic_face
        clip = described_clip(settings, asked.model)
        described = replace(clip, locations={**clip.locations, "head": head_location(asked.head, "dynamic_face")})
        if asked.head is None:
            return replace(described, reason=NO_HEAD, remedy=NO_HEAD_REMEDY)
        if described.reason:
            return described
        if not asked.head.is_file():
            remedy = "Name an existing one with dynamic_face.head."
            return replace(described, reason=f"There is no file {asked.head}.", remedy=remedy)
        revision = f"{clip.revision}+{digest(asked.head)[:12]}"
        return replace(described, model=f"{clip.model} + {asked.head.name}", revision=revision)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of CLIP, of the network over time, and of the notes beside it."""
        asked = job.settings.dynamic_face
        found = find_clip(None, asked.model).found
        notes = asked.head.with_suffix(".json") if asked.head else None
        return {"model": digest(found.path) if found else "", "head": digest(asked.head), "notes": digest(notes)}


BACKENDS: Mapping[str, Backend[object, Scores]] = {
    "embedded": OwnDynamicFace(),
    "network": PublishedDynamicFace(),
    "clip": ClipOverTime(),
}
