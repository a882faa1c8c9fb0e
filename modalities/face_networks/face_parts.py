"""The middle level of FineCLIPER: landmarks and parsing masks of face crops, drawn as images.

Landmarks are those of MediaPipe's face mesh, which the tracker finds faces with. Parsing masks come from any `Segmenter`; without
a network for it `mesh_segmenter` fills the outlines of the mesh, which knows skin, brows, eyes, nose and lips, but not hair.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from modalities.faces.crops import Pixels

Points = NDArray[np.float32]
Segmenter = Callable[[Pixels], NDArray[np.uint8]]
"""Crops uint8 [T, S, S, 3] -> classes uint8 [T, S, S] in an order of its own, 0 being the background."""

POINTS = 478
PARTS = ("background", "skin", "brows", "eyes", "nose", "lips", "mouth")
"""The classes of `mesh_segmenter`."""
_PALETTE = (
    (0, 0, 0), (224, 172, 140), (96, 56, 24), (40, 96, 224), (240, 208, 96), (208, 32, 72), (96, 0, 32), (32, 160, 96),
    (160, 64, 192), (64, 208, 208), (255, 128, 0), (128, 128, 128), (0, 96, 0), (255, 255, 255), (128, 0, 128), (0, 0, 128),
    (192, 255, 64), (255, 96, 192), (96, 160, 255),
)  # fmt: skip


def mesh_landmarks(crops: Pixels) -> Points:
    """Points float32 [T, 478, 2] of the face mesh in crops uint8 [T, S, S, 3], as fractions of the side; NaN where no face is.

    InputError when MediaPipe is not installed.
    """
    try:
        from mediapipe.python.solutions import face_mesh
    except ImportError as error:
        raise InputError(
            f"Landmarks need MediaPipe ({error}); install it with: pip install --no-deps mediapipe==0.10.21, or leave the "
            "streams landmarks and parsing out."
        ) from error
    from modalities.faces.detectors import quiet_stderr

    if not len(crops):
        return np.zeros((0, POINTS, 2), np.float32)
    with contextlib.ExitStack() as stack:
        with quiet_stderr():  # the graph says much when it is made and when it first sees a face, and nothing afterwards
            mesh = stack.enter_context(face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True))
            first = _points(mesh, crops[0])
        return np.stack([first, *(_points(mesh, crop) for crop in crops[1:])])


def _points(mesh: Any, crop: Pixels) -> Points:
    """What MediaPipe's graph `mesh` finds in one crop [478, 2]; NaN where it finds no face."""
    found = mesh.process(np.ascontiguousarray(crop)).multi_face_landmarks
    if not found:
        return np.full((POINTS, 2), np.nan, np.float32)
    return np.array([(point.x, point.y) for point in found[0].landmark], np.float32)


def draw_landmarks(points: Points, size: int) -> Pixels:
    """Points [T, P, 2] (fractions of the side) as white dots on black: uint8 [T, size, size, 3]; black where they are NaN."""
    import cv2

    drawn = np.zeros((len(points), size, size, 3), np.uint8)
    for image, face in zip(drawn, points, strict=True):
        for x, y in face[np.isfinite(face).all(1)] * size:
            cv2.circle(image, (round(float(x)), round(float(y))), max(size // 112, 1), (255, 255, 255), -1)
    return drawn


def draw_parsing(classes: NDArray[np.uint8], size: int) -> Pixels:
    """Classes [T, S, S] in the colours of a fixed palette: uint8 [T, size, size, 3].

    InputError for more classes than the palette has colours.
    """
    import cv2

    if classes.size and int(classes.max()) >= len(_PALETTE):
        raise InputError(f"The parsing has the class {classes.max()}; at most {len(_PALETTE)} classes, from 0, can be drawn.")
    colours = np.array(_PALETTE, np.uint8)
    drawn = [colours[cv2.resize(one, (size, size), interpolation=cv2.INTER_NEAREST)] for one in classes]
    return np.stack(drawn) if drawn else np.zeros((0, size, size, 3), np.uint8)


def mesh_parsing(points: Points, size: int) -> NDArray[np.uint8]:
    """Classes uint8 [T, size, size] in the order of `PARTS` from points [T, 478, 2] of the face mesh."""
    import cv2

    masks = np.zeros((len(points), size, size), np.uint8)
    for mask, face in zip(masks, points, strict=True):
        if np.isfinite(face).all():
            for part, outline in _outlines():
                corners = np.round(face[list(outline)] * size).astype(np.int32)
                cv2.fillPoly(mask, [corners if part in ("lips", "mouth") else cv2.convexHull(corners)], PARTS.index(part))
    return masks


def mesh_segmenter(crops: Pixels) -> NDArray[np.uint8]:
    """The outlines of the face mesh, filled: a `Segmenter` without a network of its own."""
    return mesh_parsing(mesh_landmarks(crops), crops.shape[1])


def draw_parts(crops: Pixels, size: int, segmenter: Segmenter | None = None) -> tuple[Pixels, Pixels]:
    """The streams `landmarks` and `parsing` uint8 [T, size, size, 3] of crops [T, S, S, 3]; the mesh is run once for both."""
    points = mesh_landmarks(crops)
    classes = mesh_parsing(points, size) if segmenter is None else segmenter(crops)
    return draw_landmarks(points, size), draw_parsing(classes, size)


def _outlines() -> list[tuple[str, Sequence[int]]]:
    """Each part and the points of the mesh on its outline, in the order of drawing: what covers others last."""
    from mediapipe.python.solutions import face_mesh_connections as mesh

    outer, inner = sorted(closed_loops(mesh.FACEMESH_LIPS), key=lambda loop: 61 not in loop)
    hulls = (
        ("skin", mesh.FACEMESH_FACE_OVAL), ("brows", mesh.FACEMESH_LEFT_EYEBROW), ("brows", mesh.FACEMESH_RIGHT_EYEBROW),
        ("eyes", mesh.FACEMESH_LEFT_EYE), ("eyes", mesh.FACEMESH_RIGHT_EYE), ("nose", mesh.FACEMESH_NOSE),
    )  # fmt: skip
    around = [(part, sorted({point for edge in edges for point in edge})) for part, edges in hulls]
    return [*around, ("lips", outer), ("mouth", inner)]


def closed_loops(edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The closed lines that edges between numbered points form, each as its points in order."""
    beside: dict[int, list[int]] = {}
    for first, second in edges:
        beside.setdefault(first, []).append(second)
        beside.setdefault(second, []).append(first)
    loops: list[list[int]] = []
    left = dict.fromkeys(sorted(beside))
    while left:
        loop = [next(iter(left))]
        del left[loop[0]]
        while ahead := [point for point in beside[loop[-1]] if point in left]:
            loop.append(ahead[0])
            del left[ahead[0]]
        loops.append(loop)
    return loops
