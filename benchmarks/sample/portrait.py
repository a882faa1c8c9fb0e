"""A still portrait as a mesh that expressions can move."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.sample import landmarks as mark
from data.errors import InputError

Points = NDArray[np.float64]
"""Points [N, 2]: x to the right, y down."""
Image = NDArray[np.float32]
"""RGB [H, W, 3], 0..255."""

SIZE = 480
"""Width and height of a frame, pixels."""
FINE = 2 * SIZE
"""Frames are drawn at twice their size and averaged down, which smooths the edges."""
CROP = (124, 0, 205)
"""Left, top and side of the part of the portrait that is shown."""


@dataclass(frozen=True)
class Portrait:
    """The image [FINE, FINE, 3], its mesh (vertices, triangles), and the linear map from controls to vertices."""

    image: Image
    vertices: Points
    texture: Points
    triangles: NDArray[np.int64]
    controls: tuple[int, ...]
    spread: NDArray[np.float64]
    head_weight: NDArray[np.float64]
    unit: float
    axes: NDArray[np.float64]
    irises: Points
    shades: dict[str, NDArray[np.float32]]


def load_portrait() -> Portrait:
    """scikit-image's portrait of an astronaut (NASA, public domain), its face meshed by MediaPipe."""
    import cv2

    left, top, side = CROP
    source, landmarks = _landmarks()
    crop = source[top:top + side, left:left + side]
    image = cv2.resize(crop, (FINE, FINE), interpolation=cv2.INTER_LANCZOS4).astype(np.float32)
    points = (landmarks - (left, top) + 0.5) * (FINE / side) - 0.5
    return _meshed(np.clip(image, 0, 255), points)


def _landmarks() -> tuple[NDArray[np.uint8], Points]:
    """The portrait, and MediaPipe's 478 points of its face in pixels."""
    try:
        import mediapipe
        from skimage import data
    except ImportError as missing:
        raise InputError(
            f"Making the sample clip needs '{missing.name}', which is not here; install scikit-image and mediapipe."
        ) from None
    source = data.astronaut()
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        found = mesh.process(source).multi_face_landmarks
    height, width = source.shape[:2]
    return source, np.array([(p.x * width, p.y * height) for p in found[0].landmark])


def _meshed(image: Image, points: Points) -> Portrait:
    from scipy.spatial import Delaunay

    face, around = points[:mark.FACE_POINTS], _around(points)
    vertices = np.vstack([face, around])
    centre, axes, unit = _frame(points)
    controls = _controls()
    holes = [frozenset(mark.UPPER_INNER + mark.LOWER_INNER), *(frozenset(upper + lower) for upper, lower in mark.EYES)]
    used = np.setdiff1d(np.arange(len(vertices)), mark.LIP_MIDDLES)
    simplices = used[Delaunay(vertices[used]).simplices]
    triangles = np.array([t for t in simplices if not any(hole.issuperset(t) for hole in holes)])
    fixed = centre + 1.12 * unit * (_circle(28) * (1.0, 1.32)) + (0, 0.62 * unit)
    spread = _thin_plate(np.vstack([face[list(controls)], fixed]), vertices)[:, : len(controls)]
    distance = np.linalg.norm((vertices - centre - (0, 0.5 * unit)) / (unit * np.array([1.12, 1.42])), axis=1)
    spread *= (1 - smoothstep(distance, 0.9, 1.1))[:, None]
    return Portrait(
        image, vertices, _texture(vertices), triangles, controls, spread, _head_weight(vertices, unit, centre),
        unit, axes, points[list(mark.IRISES)], _shades(points, unit, axes),
    )


def _texture(vertices: Points) -> Points:
    """Where in the image the skin of each vertex is: lips begin a little off the contour, which has teeth on it."""
    texture = vertices.copy()
    for inner, outer in mark.LIPS:
        for number, (near, far) in enumerate(zip(inner, outer, strict=True)):
            share = 0.6 if number in (0, 10) else 0.25 + 0.13 * abs(number - 5)
            texture[near] += share * (vertices[far] - vertices[near])
    return texture


def _frame(points: Points) -> tuple[Points, NDArray[np.float64], float]:
    """The point between the eyes, the face's axes (rows: right, down) and the distance of the eyes' centres."""
    eyes = [points[list({*upper, *lower})].mean(0) for upper, lower in mark.EYES]
    across = eyes[1] - eyes[0]
    unit = float(np.linalg.norm(across))
    right = across / unit
    return (eyes[0] + eyes[1]) / 2, np.array([right, [-right[1], right[0]]]), unit


def _around(points: Points, step: int = 24) -> Points:
    """A grid over the image outside the face, border included."""
    import cv2

    ticks = np.linspace(0, FINE - 1, FINE // step + 1)
    grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    outline = cv2.convexHull(points[:mark.FACE_POINTS].astype(np.float32))
    far = [cv2.pointPolygonTest(outline, (float(x), float(y)), True) < -0.7 * step for x, y in grid]
    return np.asarray(grid[np.array(far)])


def _controls() -> tuple[int, ...]:
    """The landmarks that expressions move (or hold in place), each once."""
    rows: list[tuple[int, ...]] = [row for pair in (*mark.BROWS, *mark.EYES) for row in pair]
    rows += [mark.UPPER_OUTER, mark.LOWER_OUTER, mark.UPPER_INNER, mark.LOWER_INNER]
    rows += [mark.NOSE, mark.NOSTRILS, mark.CHEEKS, mark.CHIN, mark.JAW_SIDES, mark.OVAL]
    return tuple(dict.fromkeys(index for row in rows for index in row))


def _circle(count: int) -> Points:
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _thin_plate(at: Points, wanted: Points) -> NDArray[np.float64]:
    """Matrix [wanted, at]: values at the points `at` -> thin-plate spline values at `wanted`."""
    from scipy.interpolate import RBFInterpolator

    return np.asarray(RBFInterpolator(at, np.eye(len(at)), kernel="thin_plate_spline")(wanted))


def smoothstep(value: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    """0 up to `low`, 1 from `high`, without corners in between."""
    share = np.clip((np.asarray(value) - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _head_weight(vertices: Points, unit: float, centre: Points) -> NDArray[np.float64]:
    """1 on the head, falling to 0 around it and at the border of the image."""
    middle = centre + (0, 0.05 * unit)
    distance = np.linalg.norm((vertices - middle) / (unit * np.array([1.85, 2.05])), axis=1)
    border = np.minimum(vertices, FINE - 1 - vertices).min(1)
    return (1.0 - smoothstep(distance, 0.9, 1.5)) * smoothstep(border, 0, 0.35 * unit)


def _shades(points: Points, unit: float, axes: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """Soft masks [FINE, FINE] 0..1 of the lines that expressions draw on the skin."""
    import cv2

    from_eyes = _frame(points)[0]

    def strokes(lines: list[list[tuple[float, float]]], width: float) -> NDArray[np.float32]:
        mask = np.zeros((FINE, FINE), np.float32)
        for line in lines:
            path = (from_eyes + np.array(line) * unit @ axes).round().astype(np.int32)
            cv2.polylines(mask, [path], False, 1.0, max(1, round(width * unit)), cv2.LINE_AA)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), width * unit), np.float32)

    def filled(rings: list[list[int]]) -> NDArray[np.float32]:
        mask = np.zeros((FINE, FINE), np.float32)
        for ring in rings:
            cv2.fillPoly(mask, [points[ring].round().astype(np.int32)], 1.0)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.012 * unit), np.float32)

    def both(line: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
        return [line, [(-x, y) for x, y in line]]

    folds = both([(0.30, 0.56), (0.44, 0.68), (0.56, 0.82), (0.62, 0.98)])
    rings = [[*inner, *outer[::-1]] for inner, outer in mark.LIPS]
    return {
        "lips": filled(rings),
        "folds": np.clip(2.0 * strokes(folds, 0.07), 0, 1),
        "furrow": strokes(both([(0.10, -0.36), (0.075, -0.26), (0.085, -0.17)]), 0.027),
        "forehead": strokes([[(-0.55, -0.56), (0.0, -0.52), (0.5, -0.53)], [(-0.4, -0.66), (0.3, -0.62)]], 0.022),
        "droop": strokes(both([(0.55, 1.0), (0.62, 1.10), (0.64, 1.22)]), 0.035),
    }
