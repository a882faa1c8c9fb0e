"""Backends of the static face: our own network, networks of the literature, image classifiers."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from configs.settings import Settings
from data.files import digest
from data.given_files import GivenFile
from data.scores import Scores
from data.tables import read_scores, read_table
from flows.backends.base import Backend, Medium, OfPerson, ScoringBackend
from flows.backends.face_networks import PublishedNetwork, faces_of
from flows.backends.fetched_models import FetchedModel, fingerprint
from flows.backends.own_networks import OwnNetwork
from flows.backends.score_inputs import (
    FILES_AT_ONCE,
    IMAGE_SUFFIXES,
    Answers,
    Beside,
    Image,
    Probabilities,
    by_shape,
    column_if_any,
    files_in,
    in_chunks,
    read_image,
    readable,
    stored_images,
    with_gaps,
    with_what_is_known,
)
from flows.job import Job
from flows.runtime.loaded_models import device_named, feeding, loaded, placing

if TYPE_CHECKING:
    from modalities.face_networks.recognise import FaceRecogniser
    from modalities.reference import Known
    from modalities.static_face.embedded import StaticFace
    from modalities.static_face.image_classifier import ImageClassifier

Model = TypeVar("Model", covariant=True)


class StaticFaceBackend(ScoringBackend[Model]):
    """What all backends of the static face have in common: they score images of faces."""

    @abstractmethod
    def score_faces(self, images: Sequence[Image], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities [B, 7] of images of faces in any sizes, and of what is known of each."""

    def score(self, table: Path, settings: Settings) -> Answers:
        """Of an .npz with `images`, a folder of images, or a table that names some; of whole photos their main face."""
        from modalities.quality import image_quality

        if table.suffix.lower() == ".npz":
            images = stored_images(table)
            names = [str(number) for number in range(len(images))]
            nothing_known = [Beside()] * len(images)
            basic = in_chunks(
                list(images), lambda part: self.score_faces(part, nothing_known[: len(part)], settings),
                device=self.runs_beside(settings),
            )  # fmt: skip
            return Answers(names, basic, quality=image_quality(images))
        from modalities.faces.photos import NO_FACE, photo_faces

        files = with_what_is_known(table, files_in(table, IMAGE_SUFFIXES))
        quality = np.full(len(files), np.nan, np.float32)
        reasons, faceless = dict[str, str](), dict[str, str]()

        def face_in(given: GivenFile) -> Image | None:
            with given.here() as file:
                return face_of(read_image(file))

        def score(rows: Sequence[int]) -> Probabilities:
            part = [files[row] for row in rows]
            read = readable(part, lambda one: face_in(one[0]), reasons, lambda one: str(one[0]))
            for row, (file, _), face in zip(rows, part, read, strict=True):
                if face is not None:
                    quality[row] = image_quality([face])[0]
                elif str(file) not in reasons:
                    faceless[str(file)] = NO_FACE
            known = [beside for (_, beside), face in zip(part, read, strict=True) if face is not None]
            return with_gaps(read, lambda there: self.score_faces(there, known, settings))

        with photo_faces(settings.faces.detector, settings.faces.crop_size) as face_of:
            basic = in_chunks(range(len(files)), score, FILES_AT_ONCE, device=self.runs_beside(settings))
        names = [str(file) for file, _ in files]
        told = reasons | faceless  # in the order in which threads came to them
        return Answers(names, basic, {name: told[name] for name in names if name in told}, quality, frozenset(reasons))

    def runs_beside(self, settings: Settings) -> str:
        """The device of a small network, chunks of whose images may be scored beside each other; '' for one that fills it."""
        return ""

    def media(self, job: Job) -> Medium:
        """The pictures: where there are none, nobody has looked for faces."""
        return "picture"


class OwnStaticFace(StaticFaceBackend["StaticFace"], OwnNetwork["StaticFace"]):
    """Our network for single faces."""

    modality = "static_face"

    def read_weights(self, weights: Path | None, settings: Settings) -> "StaticFace":
        """The network; see `modalities.static_face.embedded.load`."""
        from modalities.static_face.embedded import load

        return load(weights, device_named(settings.device))

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's faces, relative to their person's usual face as far as the settings ask for it."""
        from modalities.reference import read_known
        from modalities.static_face.embedded import recognise
        from modalities.static_face.relative import own_reference, relate

        seen = recognise(self.load(job.settings), **faces_of(job))
        if job.settings.faces.which == "all" or seen.is_absent or not self.relates(job.settings):
            return seen
        if job.settings.static_face.reference == "clip":
            return relate(seen, own_reference(seen))
        known = job.references.get(self.modality)
        return relate(seen, read_known(known)) if known else seen

    def relates(self, settings: Settings) -> bool:
        """Whether faces are judged by a person's own: with the shipped weights alone, whose usual answers are known."""
        return settings.static_face.reference != "none" and settings.static_face.weights is None

    def known(self, persons: Iterable[OfPerson], names: Collection[str], settings: Settings) -> "Mapping[str, Known]":
        """What the clips' faces tell of the persons that are named, beside everybody's."""
        from modalities.static_face.relative import FaceReferences, add_clip

        asked = settings.static_face.reference == "person" and self.relates(settings) and settings.faces.which != "all"
        if not asked or not any(names):
            return {}
        references = FaceReferences()
        for who, clip, own in persons:
            if own.evidence(self.modality).is_file() and not clip.finished(self.modality).get("failed"):
                windows = read_scores(own.scores(self.modality)).windows
                add_clip(references, who, clip.root.name, read_table(own.evidence(self.modality)), windows)
        known = {who: references.of(who) for who in names if who and who in references}
        return {person: one for person, one in known.items() if one.reference.trust > 0}

    def score(self, table: Path, settings: Settings) -> Answers:
        """As all backends of the static face; a table's column `speaker` names persons, each judged by their own images."""
        from modalities.static_face.relative import relate_rows

        answers, named = super().score(table, settings), not table.is_dir() and table.suffix.lower() != ".npz"
        persons = column_if_any(table, "speaker") if named and settings.static_face.reference == "person" else []
        if not persons or not self.relates(settings):
            return answers
        return answers._replace(basic=relate_rows(answers.basic, persons))

    def runs_beside(self, settings: Settings) -> str:
        """The network is small."""
        return device_named(settings.device)

    def score_faces(self, images: Sequence[Image], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities of images; nothing that is known of them counts."""
        from modalities.static_face.embedded import score_images

        model = self.load(settings)
        return by_shape(images, lambda stack: score_images(model, stack))


class PublishedStaticFace(StaticFaceBackend["FaceRecogniser"], PublishedNetwork):
    """A network of the literature that answers for images."""

    kind = "static"

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's faces."""
        from modalities.face_networks.recognise import recognise_static

        settings = job.settings
        return recognise_static(self.load(settings), **faces_of(job), **feeding(settings, settings.static_face.batch))

    def score_faces(self, images: Sequence[Image], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities of images, in the contexts that are known where the network takes some."""
        from modalities.face_networks.recognise import score_images

        model: FaceRecogniser = self.load(settings)
        shown = [image if image.ndim == 3 else np.repeat(image[..., None], 3, 2) for image in images]
        return score_images(model, shown, settings.static_face.batch, self.contexts(model, known))


class FaceClassifier(StaticFaceBackend["ImageClassifier"], FetchedModel["ImageClassifier"]):
    """An image classifier of transformers."""

    setting = "static_face.model"

    def load(self, settings: Settings) -> "ImageClassifier":
        """The classifier, from memory where it is there already."""
        from modalities.static_face.image_classifier import load_image_classifier

        folder, labels = self.folder(settings), settings.static_face.labels
        key = ("image_classifier", folder, labels)
        return loaded(settings, key, lambda: load_image_classifier(folder, labels=labels, **placing(settings)), folder)

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's faces."""
        from modalities.static_face.image_classifier import recognise

        settings = job.settings
        return recognise(self.load(settings), **faces_of(job), **feeding(settings, settings.static_face.batch))

    def score_faces(self, images: Sequence[Image], known: Sequence[Beside], settings: Settings) -> Probabilities:
        """Probabilities of images; nothing that is known of them counts."""
        from modalities.static_face.image_classifier import score_images

        model, batch = self.load(settings), settings.static_face.batch
        return by_shape(images, lambda stack: score_images(model, stack, batch))

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the model and of the table of its labels."""
        asked = job.settings.static_face
        return {"model": fingerprint(asked.model), "labels": digest(asked.labels)}


OWN = OwnStaticFace()
BACKENDS: Mapping[str, Backend[object, Scores]] = {
    "embedded": OWN,
    "network": PublishedStaticFace(),
    "transformers": FaceClassifier(),
}
