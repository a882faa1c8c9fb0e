"""The same persons in several clips, by pictures of their faces, or by their voices."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import MediaError
from modalities.people.identities import clustered
from modalities.people.recognise import Recogniser, cut_speech, embed_faces, embed_speech
from modalities.people.turns import Embeddings
from modalities.speech.detect import Segments

ALIKE = 0.75
"""Mean cosine from which persons of two clips are one. In the real clips faces of different people have at most 0.64, those of
one person, in other pictures, 0.84 and more where the face is at least 80 pixels wide. The same is right for voices, by eight
actors of RAVDESS (`./dyad benchmark people --links`)."""
LEAST_SPEECH = 6.0
"""Seconds that a voice must be heard in a clip to be known by."""
MOST = 4000
"""Persons that are grouped at once; each one after them goes to the group it is most like: memory grows with them, not with
their pairs."""


def embed_pictures(model: Recogniser, pictures: Iterable[bytes]) -> Embeddings:
    """The embedding [1024] of a person's pictures (JPEG), the mean of theirs; MediaError where one cannot be decoded."""
    import cv2

    def face(picture: bytes) -> NDArray[np.uint8]:
        image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) if picture else None
        if image is None:
            raise MediaError("A picture of a face cannot be decoded; remove the clip's run folder and start again.")
        return np.asarray(image, np.uint8)[None, ..., ::-1].copy()

    return mean_direction(embed_faces(model, map(face, pictures)))


def embed_voice(model: Recogniser, audio: Path, turns: Segments) -> Embeddings:
    """The embedding [512] of who speaks in some turns [N, 2] (s) of a 16 kHz mono WAV."""
    return mean_direction(embed_speech(model, audio, cut_speech(turns)))


def mean_direction(embeddings: Embeddings) -> Embeddings:
    """The mean of embeddings [N, D], of unit length [D]."""
    mean = embeddings.mean(0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def same_persons(clips: Sequence[str], looks: Embeddings, alike: float = ALIKE) -> NDArray[np.int64]:
    """The number, from 1 in order of appearance, of each of N persons who are in these clips and look so [N, D].

    Two persons of one clip are two people.
    """
    names = np.unique(np.asarray(clips, str), return_inverse=True)[1].reshape(-1) if len(clips) else np.zeros(0, int)
    first = names[:MOST]
    groups = clustered(looks[:MOST], (first[:, None] == first) & ~np.eye(len(first), dtype=bool), alike).tolist()
    count = max(groups, default=0) + 1
    sums = np.zeros((count + len(looks[MOST:]), looks.shape[1]), np.float32)
    np.add.at(sums, groups, looks[:MOST])
    lengths = np.linalg.norm(sums, axis=1).clip(1e-9)
    of_clip: dict[int, list[int]] = defaultdict(list)
    for name, group in zip(first.tolist(), groups, strict=True):
        of_clip[name].append(group)
    for look, name in zip(looks[MOST:], names[MOST:].tolist(), strict=True):
        near = sums[:count] @ look / lengths[:count]
        near[of_clip[name]] = -1.0
        group = int(near.argmax())
        if near[group] < alike:
            group, count = count, count + 1
        sums[group] += look
        lengths[group] = np.linalg.norm(sums[group])
        of_clip[name].append(group)
        groups.append(group)
    order: dict[int, int] = {}
    return np.array([order.setdefault(int(group), len(order) + 1) for group in groups], np.int64)
