"""Face crops: which square of an image a crop shows, and how it is cut out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Pixels = NDArray[np.uint8]

# Where eyes and mouth lie in FER2013 / FER+ images, as fractions of the image's side: medians over 1,440 training
# images, enlarged and measured with MediaPipe's face mesh. The static network learns from those images, so that
# crops show faces in the same place and at the same size.
FER_EYES = (0.315, 0.685, 0.392)
"""x of the eye at the image's left and at its right, y of both."""
FER_MOUTH = 0.772
"""y of the mouth's corners."""

EYE_DISTANCE = FER_EYES[1] - FER_EYES[0]
EYES_TO_MOUTH = 0.40
"""Slightly above FER_MOUTH - FER_EYES[2], since the larger of two measures counts: with it the median size is right."""
CENTRE_BELOW_EYES = (0.5 - FER_EYES[2]) / (FER_MOUTH - FER_EYES[2])
"""How far the middle of the crop lies on the way from between the eyes to the mouth."""


@dataclass(frozen=True)
class Square:
    """A square in an image: its middle and side (pixels), and the angle (radians) of its upper edge."""

    x: float
    y: float
    side: float
    angle: float = 0.0


def square_of_landmarks(eyes: Points, mouth: Points | None, side: float) -> Square:
    """The square of a face with known `eyes` [2, 2] (the one at the image's left first) and `mouth` [2], in pixels.

    Its side follows from the larger of eye distance and eye-mouth distance, because turning the head shortens the one
    and nodding the other (as in the alignment of FFHQ, arXiv 1812.04948). Without a mouth `side` is taken.
    """
    across = eyes[1] - eyes[0]
    angle = float(np.arctan2(across[1], across[0]))
    middle = eyes.mean(0)
    if mouth is None:
        down = np.array([-np.sin(angle), np.cos(angle)]) * (0.5 - FER_EYES[2]) * side
        return Square(float(middle[0] + down[0]), float(middle[1] + down[1]), side, angle)
    side = max(float(np.hypot(*across)) / EYE_DISTANCE, float(np.hypot(*(mouth - middle))) / EYES_TO_MOUTH)
    centre = middle + CENTRE_BELOW_EYES * (mouth - middle)
    return Square(float(centre[0]), float(centre[1]), side, angle)


def cut(rgb: Pixels, square: Square, size: int) -> Pixels:
    """Cut `square` out of `rgb` [H, W, 3] and turn it upright: uint8 [size, size, 3].

    Averages whole blocks of pixels first, so that large faces do not alias; beyond the image its edge is repeated.
    """
    import cv2

    part, left, top = _around(rgb, square)
    shrink = min(max(round(square.side / size), 1), *part.shape[:2])
    small, factor = averaged(part, shrink), 1 / shrink
    centre = np.array([square.x - left, square.y - top]) * factor - 0.5  # warpAffine counts from the middle of a pixel
    zoom = size / square.side
    cos, sin = np.cos(square.angle) * zoom, np.sin(square.angle) * zoom
    turn = np.array([[cos, sin], [-sin, cos]]) / factor
    shift = np.full(2, (size - 1) / 2) - turn @ centre
    matrix = np.column_stack([turn, shift])
    crop: Pixels = cv2.warpAffine(small, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop


def averaged(rgb: Pixels, shrink: int) -> Pixels:
    """The image [H, W, 3] made smaller by a whole number: the means of blocks of `shrink` x `shrink` pixels.

    OpenCV takes a fifth of the time for that as for another factor. Up to shrink - 1 pixels at the right and the bottom are lost.
    """
    import cv2

    if shrink == 1:
        return rgb
    height, width = (length // shrink for length in rgb.shape[:2])
    small: Pixels = cv2.resize(rgb[: height * shrink, : width * shrink], (width, height), interpolation=cv2.INTER_AREA)
    return small


def _around(rgb: Pixels, square: Square) -> tuple[Pixels, int, int]:
    """The part of the image that the turned square can touch, and its left and top."""
    reach = 0.75 * square.side + 2
    height, width = rgb.shape[:2]
    left, right = (int(np.clip(edge, 0, width)) for edge in (square.x - reach, square.x + reach + 1))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (square.y - reach, square.y + reach + 1))
    left, top = min(left, width - 1), min(top, height - 1)
    return rgb[top : max(bottom, top + 1), left : max(right, left + 1)], left, top


def sharpness_of(crop: Pixels) -> float:
    """Variance of the Laplacian of the crop's luminance (0..1) at 64 x 64 pixels; small for blurred faces."""
    import cv2

    grey = cv2.cvtColor(cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey.astype(np.float32) / 255.0, cv2.CV_32F).var())
