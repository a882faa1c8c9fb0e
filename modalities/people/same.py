"""The same persons in several clips, by pictures of their faces."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from modalities.people.identities import clustered
from modalities.people.recognise import Recogniser, embed_faces
from modalities.people.turns import Embeddings

ALIKE = 0.75
"""Mean cosine from which persons of two clips are one. In the real clips those of different people have at most 0.64, those of
one person, in other pictures, 0.84 and more where the face is at least 80 pixels wide."""
MOST = 4000
"""Persons that are grouped at once; each one after them goes to the group it is most like: memory grows with them, not with
their pairs."""


def embed_pictures(model: Recogniser, pictures: Iterable[bytes]) -> Embeddings:
    """The embedding [1024] of a person's pictures (JPEG), the mean of theirs."""
    import cv2

    images = (cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) for picture in pictures)
    faces = (np.asarray(image, np.uint8)[None, ..., ::-1].copy() for image in images)
    looks = embed_faces(model, faces).mean(0)
    return np.asarray(looks / np.linalg.norm(looks), np.float32)


def same_persons(clips: Sequence[str], looks: Embeddings, alike: float = ALIKE) -> NDArray[np.int64]:
    """The number, from 1 in order of appearance, of each of N persons who are in these clips and look so [N, D].

    Two persons of one clip are two people.
    """
    names = np.unique(np.asarray(clips, str), return_inverse=True)[1].reshape(-1) if len(clips) else np.zeros(0, int)
    first = names[:MOST]
    groups = list(clustered(looks[:MOST], (first[:, None] == first) & ~np.eye(len(first), dtype=bool), alike))
    sums = {group: looks[:MOST][np.array(groups) == group].sum(0) for group in set(groups)}
    inside = {group: {int(name) for name, own in zip(first, groups, strict=True) if own == group} for group in sums}
    for look, name in zip(looks[MOST:], names[MOST:], strict=True):
        near = {group: float(look @ total / np.linalg.norm(total)) for group, total in sums.items() if name not in inside[group]}
        best = max(near, key=lambda group: near[group], default=0)
        group = best if near.get(best, 0.0) >= alike else max(sums, default=0) + 1
        sums[group] = sums.get(group, np.zeros_like(look)) + look
        inside.setdefault(group, set()).add(int(name))
        groups.append(group)
    order: dict[int, int] = {}
    return np.array([order.setdefault(int(group), len(order) + 1) for group in groups], np.int64)
