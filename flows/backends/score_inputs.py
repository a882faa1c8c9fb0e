"""`dyad score static-face` by networks of the literature, and `dyad score dynamic-face`: folders of crops and of clips."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.manifest.manifest import MEDIA
from flows.backends.base import NotHere
from flows.backends.dynamic_face import NO_HEAD, NO_HEAD_REMEDY
from flows.backends.face_networks import network_files
from flows.backends.scene_labels import clip_found
from flows.runtime import loaded_models as models
from modalities.face_networks.contexts import read_context
from modalities.face_networks.registry import NetworkInput
from modalities.training.face_networks.corpus import read_views

if TYPE_CHECKING:
    from modalities.face_networks.recognise import FaceRecogniser

Probabilities = NDArray[np.float32]
Views = NDArray[np.uint8]
"""What is seen of a clip: RGB [V, T, S, S, 3]."""


class Beside(NamedTuple):
    """What a table knows of a file besides: the file with a feature of its context, what is said of it; '' for nothing."""

    context: str = ""
    caption: str = ""


Answer = Callable[[list[Views], Sequence[Beside]], Probabilities]
"""Probabilities [B, 7] of what is seen of clips, with what is known of them."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
PLAIN = NetworkInput(size=112, frames=20)
"""What the embedded network over time sees of a clip: the middles of 20 equal parts of it."""


def picture_scorer(settings: Settings) -> Callable[[Sequence[NDArray[np.uint8]], Sequence[Beside]], Probabilities]:
    """The network that the settings name for the static face, as a function of pictures uint8 [H, W, 3] or [H, W] and of
    what is known of them, which a network that does not ask for it is not told."""
    from modalities.face_networks import recognise as recogniser

    model = models.face_network("static", *network_files(settings, "static"), settings)

    def score(pictures: Sequence[NDArray[np.uint8]], known: Sequence[Beside]) -> Probabilities:
        shown = [_coloured(one) for one in pictures]
        return recogniser.score_images(model, shown, settings.static_face.batch, _contexts_for(model, known))

    return score


def _contexts_for(model: "FaceRecogniser", known: Sequence[Beside]) -> list[NDArray[np.float32] | None] | None:
    """The features in the files, for a network that takes a context; None where there is none."""
    if "context" not in model.row.needs or not any(one.context for one in known):
        return None
    return [read_context(one.context) if one.context else None for one in known]


def _captions_for(model: "FaceRecogniser", known: Sequence[Beside]) -> list[str] | None:
    return [one.caption for one in known] if "caption" in model.row.needs else None


def clip_scorer(settings: Settings) -> Callable[[Sequence[tuple[Path, Beside]]], Probabilities]:
    """The dynamic face of the settings, as a function of face clips (media files, or folders of pictures in order) and what is
    known of each.

    The clips are of faces, cut out as in the corpora of the field: nobody looks for faces in them.
    """
    reads, answer = BACKENDS[settings.dynamic_face.backend](settings)

    def score(clips: Sequence[tuple[Path, Beside]]) -> Probabilities:
        rows = [
            answer([read_views(str(clip), reads) for clip, _ in part], [known for _, known in part])
            for part in _parts(clips, settings.dynamic_face.batch)
        ]
        return np.concatenate(rows) if rows else np.zeros((0, len(BASIC_EMOTIONS)), np.float32)

    return score


def clips_in(folder: Path) -> list[Path]:
    """The clips below a folder by name: media files, and folders that hold pictures; InputError when there are none."""
    files = {file for file in folder.rglob("*") if file.suffix.lower() in MEDIA}
    of_pictures = {file.parent for file in folder.rglob("*") if file.suffix.lower() in PICTURES}
    if not files | of_pictures:
        raise InputError(f"{folder} holds no clips: neither media files nor folders of pictures.")
    return sorted(files | of_pictures)


def _by_network(settings: Settings) -> tuple[NetworkInput, Answer]:
    from modalities.face_networks import recognise as recogniser

    model = models.face_network("dynamic", *network_files(settings, "dynamic"), settings)
    batch = settings.dynamic_face.batch
    return model.reads, lambda clips, known: recogniser.score_views(
        model, clips, batch, _contexts_for(model, known), _captions_for(model, known)
    )


def _by_our_own(settings: Settings) -> tuple[NetworkInput, Answer]:
    from modalities.dynamic_face import embedded as dynamic_face

    model = models.dynamic_face(settings)
    return PLAIN, lambda clips, _: dynamic_face.score_sequences(model, [views[0] for views in clips])


def _by_clip(settings: Settings) -> tuple[NetworkInput, Answer]:
    from modalities.dynamic_face import clip_temporal as clip_dynamic_face
    from modalities.dynamic_face import temporal_heads

    asked = settings.dynamic_face
    if asked.head is None:
        raise NotHere(NO_HEAD, NO_HEAD_REMEDY)
    model = models.clip_over_time(clip_found(asked.model), asked.head, settings)

    def answer(clips: list[Views], _: Sequence[Beside]) -> Probabilities:
        sequences = [np.stack(clip_dynamic_face.encode_crops(model.clip, list(views[0]))) for views in clips]
        return np.stack([found.probabilities for found in temporal_heads.answer_sequences(model.head, sequences)])

    return NetworkInput(size=224, frames=clip_dynamic_face.LENGTH), answer


BACKENDS: dict[str, Callable[[Settings], tuple[NetworkInput, Answer]]] = {
    "embedded": _by_our_own,
    "clip": _by_clip,
    "network": _by_network,
}
"""Backend of the dynamic face -> what it sees of a clip, and its answers [B, 7] to that of several."""


def _coloured(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
