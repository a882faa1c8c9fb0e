"""Faces in photos: of a whole picture the main face is cut out as in a run; of a face cut out already nothing is changed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modalities.faces.crops import Pixels, cut
from modalities.faces.detectors import Detection, Search, choose_detector

LARGEST_CROP = 224
"""Pixels of the shorter side up to which a picture is taken for a face that was cut out: as large as 'dyad faces' cuts."""
FILLED = 0.5
"""The part of a larger picture that its face must take up to be one that was cut out."""
NO_FACE = f"No face was found in it. Give a face that is cut out already with at most {LARGEST_CROP} pixels on its shorter side."


@contextmanager
def photo_faces(detector: str, size: int) -> "Iterator[FaceOf]":
    """What gives the face of a picture; `size`: the side (pixels) of those that are cut out."""
    with choose_detector(detector).open() as finder:
        yield FaceOf(finder.search, size)


class FaceOf:
    """Gives of a picture, RGB [H, W, 3], its main face (the largest area x score), [S, S, 3]; a face cut out already as it is."""

    def __init__(self, search: Search, size: int) -> None:
        self._search, self._size, self._alone = search, size, threading.Lock()

    def __call__(self, image: Pixels) -> Pixels | None:
        """The face; None where a whole picture shows none."""
        height, width = image.shape[:2]
        if min(height, width) <= LARGEST_CROP:
            return image
        with self._alone:  # a detector looks at one image at a time
            main = max(self._search(image), key=_prominence, default=None)
        if main is None:
            return None
        return image if main.square.side**2 >= FILLED * height * width else cut(image, main.square, self._size)


def _prominence(found: Detection) -> float:
    return float(found.box[2] * found.box[3] * found.score)
