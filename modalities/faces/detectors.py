"""Face detectors: each finds the faces of one image, with eyes and mouth where it can."""

import atexit
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from modalities.faces.crops import FER_EYES, Pixels, Points, Square, averaged, cut, square_of_landmarks
from modalities.loading.spared import spare_pyplot

Box = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """A face in an image, in its pixels: box [4] (left, top, width, height), score 0..1, the square of its crop,
    and `eyes` [2, 2], the one at the image's left first, where they are known. `mouth`: how far the lips are apart inside, in
    distances between the eyes' outer corners; NaN where unknown."""

    box: Box
    score: float
    square: Square
    eyes: Points | None = None
    mouth: float = float("nan")


class Search(Protocol):
    """Finds the faces of an image."""

    def __call__(self, rgb: Pixels, known: Sequence[Detection] = ()) -> list[Detection]:
        """The faces; `known` are those of the image before in a clip, which may still be there: a detector that can follow
        need not measure anew what it follows. With them or without, a face is there when the detector sees it."""
        ...


@dataclass(frozen=True)
class Finder:
    """An open detector. search: the faces of an image; follow: a face of the image before in the next one of a clip, by far
    cheaper, None when it is not where it was; glance: whether an image shows a face at all that is not tiny. A detector that
    cannot follow has no `follow`, and is never asked for a glance."""

    search: Search
    follow: Callable[[Pixels, Detection], Detection | None] | None = None
    glance: Callable[[Pixels], bool] = lambda rgb: True


@dataclass(frozen=True)
class Detector:
    """A way to find faces: `missing` says what must be installed ('' when nothing), `open` gives what finds them."""

    name: str
    missing: Callable[[], str]
    open: Callable[[], AbstractContextManager[Finder]]


def overlap(first: Box, others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box [4] with boxes [N, 4] (left, top, width, height)."""
    corner = np.minimum(first[:2] + first[2:], others[:, :2] + others[:, 2:])
    shared = np.clip(corner - np.maximum(first[:2], others[:, :2]), 0, None).prod(1)
    whole: NDArray[np.float64] = shared / (first[2:].prod() + others[:, 2:].prod(1) - shared)
    return whole


def distinct(found: list[Detection]) -> list[Detection]:
    """Keep, best score first, what is not the same face as a better one, then drop what lies within a larger face."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda item: -item.score):
        if not any(_same_face(one.box, other.box) for other in kept):
            kept.append(one)
    return [one for one in kept if not any(_lies_within(one.box, other.box) for other in kept)]


def _same_face(first: Box, second: Box) -> bool:
    """Whether two boxes overlap by more than 0.3, or lie within a third of a face of each other."""
    apart = np.abs(first[:2] + first[2:] / 2 - second[:2] - second[2:] / 2).max()
    return bool(overlap(first, second[None])[0] > 0.3 or apart < 0.35 * min(first[2], second[2]))


def _lies_within(small: Box, large: Box) -> bool:
    """Whether more than 0.7 of a small box lies in one that is half again as wide."""
    shared = np.minimum(small[:2] + small[2:], large[:2] + large[2:]) - np.maximum(small[:2], large[:2])
    return bool(large[2] > 1.5 * small[2] and shared.clip(0).prod() > 0.7 * small[2:].prod())


# ---- MediaPipe -----------------------------------------------------------------------------------------------------

_NOISE = (
    b"TensorFlow Lite XNNPACK", b"absl::InitializeLog", b"inference_feedback_manager", b"landmark_projection_calculator",
    b"building the font cache",
)  # fmt: skip
_STDERR = threading.Lock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code writes to stderr, and pass on at the end all lines but MediaPipe's known chatter.

    Its C++ log heeds no environment variable before it is set up, so that the file descriptor itself is turned aside.
    """
    with _STDERR, tempfile.TemporaryFile() as held:
        with contextlib.suppress(AttributeError, ValueError):  # a program without stderr
            sys.stderr.flush()
        try:
            real = os.dup(2)
        except OSError:
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(AttributeError, ValueError):
                sys.stderr.flush()
            os.dup2(real, 2)
            held.seek(0)
            for line in held:
                if not any(word in line for word in _NOISE):
                    os.write(real, line)
            os.close(real)


RIGHT_EYE, LEFT_EYE, MOUTH, LIPS = [33, 133], [263, 362], [61, 291], [13, 14]
"""Points of the face mesh: corners of the eyes (the person's own right one lies at the image's left) and of the mouth; the middle
of the lips' inner edges."""
NEAR, TILE = 1 / 8, 0.6
"""When no face is this wide (of the image's longer side), squares of that side are searched one by one."""
BLAZEFACE_SIDE = 384
"""Twice what the full-range model takes in: smaller copies lose small faces, larger ones only take time."""
SURE_WITHOUT_MESH = 0.85
"""A face that the mesh cannot confirm (half turned away) needs this score of the detector itself."""
AROUND, MESH_SIDE = 1.4, 192
"""Side of the square in which the mesh follows a face, in sides of its last box (with 1.4, not the 1.5 of MediaPipe's own graph,
the boxes are those of a search), and the pixels that the mesh takes in."""
SETTLED, SAME_SIZE = 0.8, 1.4
"""Overlap with the last box below which the mesh looks again, from where it found the face; and by how much a face may grow or
shrink from one image to the next."""
MESH_GRAPH = """
input_stream: "image" input_stream: "roi" input_side_packet: "with_attention" output_stream: "landmarks"
executor { name: "" type: "ApplicationThreadExecutor" }
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image" input_stream: "ROI:roi" input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
"""The face mesh by itself, without the detector that MediaPipe's solution puts before it."""


def _mediapipe_missing() -> str:
    try:
        with quiet_stderr():
            spare_pyplot()
            import mediapipe.python.solutions.face_mesh  # noqa: F401
    except Exception as error:  # a broken installation fails in many ways, and another detector can take over
        return f"MediaPipe cannot be imported ({error}); install it with: pip install --no-deps mediapipe==0.10.21."
    return ""


@contextlib.contextmanager
def open_mediapipe() -> Iterator[Finder]:
    """MediaPipe's two BlazeFace models propose faces, its face mesh confirms them, gives eyes and mouth, and follows them.

    The short-range model sees large faces, the full-range one smaller ones; when none is larger than an eighth of the
    image it looks again at overlapping parts. The graphs are not thread-safe: open a detector for each thread. Graphs that nobody
    uses any more are kept for the next clip, as making them takes as long as ten images.
    """
    idle = _IDLE.setdefault(os.getpid(), [])  # a fork has the graphs of its parent without their threads
    graphs = idle.pop() if idle else _Graphs()
    try:
        yield Finder(graphs.search, graphs.follow, graphs.glance)
    except BaseException:
        graphs.close()
        raise
    idle.append(graphs)


class _Graphs:
    """MediaPipe's graphs, open: two detectors, the mesh with a detector before it, and the mesh alone."""

    def __init__(self) -> None:
        self._stack, self._heard = contextlib.ExitStack(), False
        with quiet_stderr():
            spare_pyplot()
            from mediapipe.python.solutions import face_detection, face_mesh

            self._short, self._full = (
                self._stack.enter_context(face_detection.FaceDetection(min_detection_confidence=0.5, model_selection=number))
                for number in (0, 1)
            )
            self._mesh = self._stack.enter_context(
                face_mesh.FaceMesh(
                    static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
                )
            )
            for graph in (self._short, self._full, self._mesh):
                graph.process(np.zeros((64, 64, 3), np.uint8))
            self._alone = self._stack.enter_context(_Mesh())
        self._beside = self._stack.enter_context(ThreadPoolExecutor(1, "detectors"))

    def search(self, rgb: Pixels, known: Sequence[Detection] = ()) -> list[Detection]:
        """The faces of an image. While the detectors look at it, the mesh follows the `known` ones that are near; what they
        propose and it has found need not be confirmed. Small faces are measured anew: the mesh may drift off them."""
        proposing, near = self._beside.submit(_propose, rgb, self._short, self._full), NEAR * max(rgb.shape[:2])
        followed = distinct([face for one in known if one.box[2] >= near and (face := self.follow(rgb, one))])
        faces, new = list[Detection](), list[Detection]()
        for one in proposing.result():
            there = next((face for face in followed if _same_face(one.box, face.box)), None)
            (faces if there else new).append(replace(there, score=one.score) if there else one)
        return distinct(faces + self._confirmed(rgb, new))

    def glance(self, rgb: Pixels) -> bool:
        """Whether the full-range model alone sees a face in the whole of an image, at a quarter of what a search costs."""
        return bool(self._confirmed(rgb, _blazeface(_shrunk(rgb), self._full, (0, 0), rgb.shape)))

    def _confirmed(self, rgb: Pixels, proposed: list[Detection]) -> list[Detection]:
        # The mesh logs once more when it first sees a face.
        with contextlib.nullcontext() if self._heard or not proposed else quiet_stderr():
            faces = [face for one in proposed if (face := _confirm(rgb, one, self._mesh))]
        self._heard = self._heard or bool(faces)
        return faces

    def follow(self, rgb: Pixels, last: Detection) -> Detection | None:
        """A face of the image before in this one."""
        return _followed(rgb, last, self._alone)

    def close(self) -> None:
        """Close the graphs."""
        self._stack.close()


_IDLE: dict[int, list[_Graphs]] = {}
"""By process: open graphs that nobody uses."""


@atexit.register
def _close_idle() -> None:
    for graphs in _IDLE.pop(os.getpid(), []):
        graphs.close()


class _Mesh:
    """The face mesh by itself: the points [478, 2] of the face in a square of an image."""

    def __init__(self) -> None:
        from mediapipe.framework.formats.rect_pb2 import NormalizedRect
        from mediapipe.python import packet_creator, packet_getter
        from mediapipe.python._framework_bindings import calculator_graph, image_frame

        self._graph = calculator_graph.CalculatorGraph(graph_config=MESH_GRAPH)
        self._image = partial(packet_creator.create_image_frame, image_format=image_frame.ImageFormat.SRGB)
        self._roi = packet_creator.create_proto(NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0))
        self._read, self._found, self._time = packet_getter.get_proto, list[Any](), 0
        self._graph.observe_output_stream("landmarks", lambda name, packet: self._found.append(packet))
        self._graph.start_run({"with_attention": packet_creator.create_bool(True)})
        self(np.zeros((MESH_SIDE, MESH_SIDE, 3), np.uint8), Square(0.0, 0.0, MESH_SIDE))

    def __call__(self, rgb: Pixels, square: Square) -> Points | None:
        """The points of the face in `square`; None when it shows none."""
        self._found.clear()
        self._time += 1
        for name, packet in (("image", self._image(cut(rgb, square, MESH_SIDE))), ("roi", self._roi)):
            self._graph.add_packet_to_input_stream(name, packet.at(self._time))
        self._graph.wait_until_idle()
        return _points_of(self._read(self._found[0]), square) if self._found else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._graph.close()


def _followed(rgb: Pixels, last: Detection, mesh: _Mesh) -> Detection | None:
    """A face that the mesh knew in the image before, where the mesh finds it in this one; None when it does not."""
    face = last
    for _ in range(2):  # a face that has moved far is looked at again, in the middle of the square
        points = mesh(rgb, _square_around(face)) if face.eyes is not None and not np.isnan(face.mouth) else None
        if points is None:
            return None
        before, face = face, _meshed(face, points)
        if overlap(before.box, face.box[None])[0] >= SETTLED:
            break
    grown = float(face.box[2:].max() / last.box[2:].max())
    return face if 1 / SAME_SIZE < grown < SAME_SIZE and overlap(last.box, face.box[None])[0] > 0 else None


def _square_around(face: Detection) -> Square:
    """The upright square round a face with known eyes in which the mesh looks for it."""
    assert face.eyes is not None
    across, middle = face.eyes[1] - face.eyes[0], face.box[:2] + face.box[2:] / 2
    angle = float(np.arctan2(across[1], across[0]))
    return Square(float(middle[0]), float(middle[1]), AROUND * float(face.box[2:].max()), angle)


def _propose(rgb: Pixels, short: Any, full: Any) -> list[Detection]:
    """What both BlazeFace graphs see in the whole image, and the full-range one in its tiles where no face is near."""
    small = _shrunk(rgb)
    found = [face for graph in (short, full) for face in _blazeface(small, graph, (0, 0), rgb.shape)]
    near = NEAR * max(rgb.shape[:2])
    if all(one.box[2] < near for one in found):
        for left, top, side in tiles(rgb.shape[1], rgb.shape[0]):
            part = rgb[top : top + side, left : left + side]
            found += _blazeface(_shrunk(part), full, (left, top), part.shape)
    return distinct(found)


def tiles(width: int, height: int) -> list[tuple[int, int, int]]:
    """Left, top and side of the overlapping squares in which small faces are looked for."""
    side = round(TILE * max(width, height))

    def starts(length: int) -> list[int]:
        count = int(np.ceil(max(length - side, 0) / (0.7 * side))) + 1
        return [int(start) for start in np.linspace(0, max(length - side, 0), count)]

    return [(left, top, side) for top in starts(height) for left in starts(width)]


def _blazeface(small: Pixels, graph: Any, corner: tuple[int, int], shape: tuple[int, ...]) -> list[Detection]:
    """Faces that one BlazeFace graph sees in the copy of a part of an image that lies at `corner` and has `shape` [H, W]."""
    size, origin = np.array([shape[1], shape[0]], float), np.array(corner, float)
    found = []
    for face in graph.process(small).detections or []:
        location = face.location_data
        box = location.relative_bounding_box
        start = np.array([box.xmin, box.ymin]) * size + origin
        points = np.array([(point.x, point.y) for point in location.relative_keypoints]) * size + origin
        wide = np.array([box.width, box.height]) * size
        square = square_of_landmarks(points[:2], points[3], float(wide.mean()))
        found.append(Detection(np.concatenate([start, wide]), float(face.score[0]), square, points[:2]))
    return found


def _shrunk(rgb: Pixels) -> Pixels:
    """A copy of at most `BLAZEFACE_SIDE` pixels, averaged: the graphs themselves only pick pixels when they shrink."""
    import cv2

    longest = max(rgb.shape[:2])
    if longest <= BLAZEFACE_SIDE:
        return np.ascontiguousarray(rgb)
    width, height = (max(round(length * BLAZEFACE_SIDE / longest), 1) for length in (rgb.shape[1], rgb.shape[0]))
    blocks = averaged(rgb, min(max(longest // BLAZEFACE_SIDE, 1), *rgb.shape[:2]))
    small: Pixels = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_LINEAR)
    return small


def _confirm(rgb: Pixels, face: Detection, mesh: Any) -> Detection | None:
    """The detection with the eyes, mouth and box of the face mesh; as it is when sure without one; else None."""
    middle, side, size = face.box[:2] + face.box[2:] / 2, 2.0 * float(face.box[2:].max()), 256
    square = Square(float(middle[0]), float(middle[1]), side)
    answer = mesh.process(cut(rgb, square, size)).multi_face_landmarks
    unconfirmed = face if face.score >= SURE_WITHOUT_MESH else None
    if not answer:
        return unconfirmed
    found = _meshed(face, _points_of(answer[0], square))
    return found if overlap(face.box, found.box[None])[0] >= 0.2 else unconfirmed  # else the mesh took a neighbour


def _points_of(landmarks: Any, square: Square) -> Points:
    """The mesh's points [478, 2] in pixels of the image that `square` was cut from."""
    cos, sin = np.cos(square.angle), np.sin(square.angle)
    within = np.array([(point.x, point.y) for point in landmarks.landmark]) - 0.5
    points: Points = within @ np.array([[cos, sin], [-sin, cos]]) * square.side + (square.x, square.y)
    return points


def _meshed(face: Detection, points: Points) -> Detection:
    """The face with the box, eyes, mouth and square of the mesh's points."""
    box = np.concatenate([points.min(0), np.ptp(points, axis=0)])
    eyes = np.array([points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)])
    (upper, lower), wide = points[LIPS], points[LEFT_EYE[0]] - points[RIGHT_EYE[0]]
    mouth = float(np.hypot(*(upper - lower)) / max(float(np.hypot(*wide)), 1e-6))
    square = square_of_landmarks(eyes, points[MOUTH].mean(0), float(box[2:].max()))
    return replace(face, box=box, eyes=eyes, square=square, mouth=mouth)


# ---- OpenCV --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_opencv() -> Iterator[Finder]:
    """Haar cascades (Viola and Jones) that come with OpenCV: frontal faces, then the eyes within them."""
    import cv2

    folder = Path(cv2.__file__).parent / "data"
    face = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_alt2.xml"))
    eye = cv2.CascadeClassifier(str(folder / "haarcascade_eye.xml"))
    yield Finder(lambda rgb, known=(): distinct(_haar_faces(rgb, face, eye)))


HAAR_SIDES, HAAR_SMALLEST = (240, 480), 24
"""Longer sides (pixels) of the copies that are searched, the next one when the one before shows no face (the small faces
take three quarters of the time), and the smallest face in them."""
HAAR_WEIGHTS = (53.5, 57.5)
"""Weights of the cascade's last stage that stand for the scores 0 and 1: those of errors and of plain frontal faces."""
HAAR_SQUARE, HAAR_BELOW = 1.04, 0.015
"""Side of the crop and how much lower it lies, in sides of the box: 240 images of FER+ measured with this cascade."""
SURE_WITHOUT_EYES = 0.5
"""Score that a face without two eyes where eyes can be must reach."""


def _haar_faces(rgb: Pixels, face: Any, eye: Any) -> list[Detection]:
    """Faces in the smallest copy that shows one."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    found: list[Detection] = []
    for side in HAAR_SIDES:
        found = found or _haar_search(grey, side, face, eye)
    return found


def _haar_search(grey: NDArray[np.uint8], side: int, face: Any, eye: Any) -> list[Detection]:
    """Faces in a copy of the image whose longer side has at most `side` pixels."""
    import cv2

    shrink = max(max(grey.shape) / side, 1.0)
    small = cv2.resize(grey, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA) if shrink > 1 else grey
    smallest = (HAAR_SMALLEST, HAAR_SMALLEST)
    boxes, _, weights = face.detectMultiScale3(small, 1.1, 3, minSize=smallest, outputRejectLevels=True)
    found = []
    for box, weight in zip(np.reshape(boxes, (-1, 4)) * shrink, np.ravel(weights), strict=True):
        score = float(np.clip((weight - HAAR_WEIGHTS[0]) / (HAAR_WEIGHTS[1] - HAAR_WEIGHTS[0]), 0.0, 1.0))
        eyes = _haar_eyes(grey, box, eye)
        if eyes is not None or score >= SURE_WITHOUT_EYES:
            found.append(Detection(box, score, _haar_square(box, eyes), eyes))
    return found


def _haar_square(box: Box, eyes: Points | None) -> Square:
    """The square of the crop: from the eyes where they are known, else from the box alone."""
    side = float(box[2])
    if eyes is not None:
        return square_of_landmarks(eyes, None, HAAR_SQUARE * side)
    return Square(float(box[0]) + side / 2, float(box[1]) + (0.5 + HAAR_BELOW) * side, HAAR_SQUARE * side)


def _haar_eyes(grey: NDArray[np.uint8], box: Box, cascade: Any) -> Points | None:
    """Centres of both eyes [2, 2] within a face's box, or None when they are not both where eyes can be."""
    import cv2

    left, top, side = (int(value) for value in box[:3])
    face = cv2.resize(grey[max(top, 0) : top + side, max(left, 0) : left + side], (160, 160))
    boxes, _, weights = cascade.detectMultiScale3(face[:100], 1.1, 2, minSize=(24, 24), outputRejectLevels=True)
    centres = np.reshape(boxes, (-1, 4))[:, :2] + np.reshape(boxes, (-1, 4))[:, 2:] / 2
    eyes = []
    for across in FER_EYES[:2]:
        near = np.hypot(*(centres - np.array([across, FER_EYES[2]]) * 160).T) < 0.14 * 160
        if not near.any():
            return None
        eyes.append(centres[near][np.ravel(weights)[near].argmax()])
    return np.array(eyes) * side / 160 + (left, top)


DETECTORS = {
    "mediapipe": Detector("mediapipe", _mediapipe_missing, open_mediapipe),
    "opencv": Detector("opencv", lambda: "", open_opencv),
}
"""In the order in which 'auto' tries them."""


def choose_detector(name: str = "auto") -> Detector:
    """The detector of that name, or with 'auto' the first one that is installed; InputError when there is none."""
    if name not in (*DETECTORS, "auto"):
        raise InputError(f"'{name}' is not a face detector; choose auto, {' or '.join(DETECTORS)}.")
    wanted = [one for one in DETECTORS.values() if name in ("auto", one.name)]
    for one in wanted:
        if not one.missing():
            return one
    raise InputError(f"The face detector '{name}' cannot be used: {wanted[0].missing()}")
