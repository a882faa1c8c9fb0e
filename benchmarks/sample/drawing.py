"""Draws frames of a posed portrait: its skin through the mesh, and eyes and mouth behind the holes."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.sample import landmarks as mark
from benchmarks.sample.expressions import Expression
from benchmarks.sample.portrait import FINE, SIZE, Image, Points, Portrait, smoothstep
from benchmarks.sample.posing import HeadPose, pose, with_head

EYEBALL = (
    (0.108, np.array([74, 42, 30], np.float32), 0.0),
    (0.052, np.array([22, 12, 12], np.float32), 0.0),
    (0.020, np.array([225, 220, 215], np.float32), 0.035),
)
"""Iris, pupil and highlight: radius, colour, and how far up and to the left of the middle (units)."""


def draw(portrait: Portrait, face: Expression, head: HeadPose) -> NDArray[np.uint8]:
    """One frame, RGB [SIZE, SIZE, 3]."""
    import cv2

    moved = pose(portrait, face, head)
    skin, cover = _warped(portrait, _shaded(portrait, face), moved)
    under = skin.copy()
    _draw_mouth(under, portrait, face, moved, head)
    _draw_eyes(under, portrait, face, moved, head)
    hole, cover = cover[..., None] == 0, cv2.GaussianBlur(cover, (0, 0), 1.3)[..., None]
    fine = np.where(hole, under, cover * skin + (1 - cover) * under)
    small = cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small + 0.5, 0, 255), np.uint8)


def _shaded(portrait: Portrait, face: Expression) -> Image:
    """The portrait's skin with smile folds faded and other lines drawn, before it is warped."""
    import cv2

    shade = portrait.shades
    smooth = cv2.GaussianBlur(portrait.image, (0, 0), 0.12 * portrait.unit)
    fade = ((1 - face.folds) * 0.85 * shade["folds"])[..., None]
    skin = portrait.image * (1 - fade) + smooth * fade
    lines = {"furrow": 0.30 * face.furrow, "forehead": 0.16 * face.forehead, "droop": 0.2 * face.droop, "lips": 0.10}
    dark = np.sum([strength * shade[line] for line, strength in lines.items()], 0)
    return np.asarray(skin * (1 - dark[..., None] * np.array([0.8, 1.0, 1.1])), np.float32)


def _warped(portrait: Portrait, skin: Image, moved: Points) -> tuple[Image, NDArray[np.float32]]:
    """The skin drawn through the mesh, and where it covers (1) or leaves a hole (0): open eyes and mouth."""
    import cv2

    inside = np.full((FINE, FINE), -1, np.int32)
    corners = (moved[portrait.triangles] * 16).round().astype(np.int32)
    for number, triangle in enumerate(corners):
        cv2.fillConvexPoly(inside, triangle, number, shift=4)
    ones = np.ones((len(corners), 3, 1))
    affine = np.linalg.pinv(np.concatenate([moved[portrait.triangles], ones], 2)) @ portrait.texture[portrait.triangles]
    rows, columns = np.indices((FINE, FINE))
    here = np.stack([columns, rows, np.ones_like(rows)], -1).astype(np.float32)
    there = np.einsum("hwi,hwij->hwj", here, affine.astype(np.float32)[inside])
    drawn = cv2.remap(skin, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return drawn, (inside >= 0).astype(np.float32)


def _draw_mouth(under: Image, portrait: Portrait, face: Expression, moved: Points, head: HeadPose) -> None:
    """The inside of the mouth, in place: a tongue, and the portrait's own upper teeth, which move with the skull."""
    ring = moved[list(mark.UPPER_INNER + mark.LOWER_INNER[::-1])]
    left, right = np.floor(ring.min(0)).astype(int) - 6, np.ceil(ring.max(0)).astype(int) + 7
    box = np.s_[left[1]:right[1], left[0]:right[0]]
    cavity = np.empty_like(under[box])
    cavity[:] = (62, 24, 24)
    tongue = _ellipse(cavity.shape, moved[14] - left - (0, 0.015 * portrait.unit), (0.26, 0.10), portrait.unit)
    cavity += tongue[..., None] * (np.array([150, 72, 70], np.float32) - cavity)
    teeth, mask = _teeth(portrait, head)
    shown = mask[box][..., None] * face.teeth * smoothstep(face.gap, 0.02, 0.06)
    cavity += shown * (0.93 * teeth[box] - cavity)
    under[box] = cavity * _depth(under.shape, ring)[box][..., None]


def _ellipse(shape: tuple[int, ...], centre: Points, radii: tuple[float, float], unit: float) -> NDArray[np.float32]:
    rows, columns = np.indices(shape[:2])
    far = np.hypot((columns - centre[0]) / (radii[0] * unit), (rows - centre[1]) / (radii[1] * unit))
    return (1 - smoothstep(far, 0.6, 1.1)).astype(np.float32)


def _teeth(portrait: Portrait, head: HeadPose) -> tuple[Image, NDArray[np.float32]]:
    """The portrait and the mask of its teeth, both where the head is."""
    import cv2

    mask = np.zeros((FINE, FINE), np.float32)
    ring = portrait.vertices[list(mark.UPPER_INNER + mark.LOWER_INNER[::-1])]
    cv2.fillPoly(mask, [ring.round().astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(cv2.erode(mask, np.ones((9, 9))), (0, 0), 3.0)
    mask = mask * _ellipse(mask.shape, ring.mean(0), (0.46, 0.4), portrait.unit)
    corners = np.array([[0.0, 0.0], [FINE, 0.0], [0.0, FINE]])
    moved = with_head(portrait, corners, 1.0, head).astype(np.float32)
    matrix = cv2.getAffineTransform(corners.astype(np.float32), moved)
    return cv2.warpAffine(portrait.image, matrix, (FINE, FINE)), cv2.warpAffine(mask, matrix, (FINE, FINE))


def _depth(shape: tuple[int, ...], ring: Points) -> NDArray[np.float32]:
    """Shadow inside a ring of points: dark at its edge, 1 well inside."""
    import cv2

    mask = np.zeros(shape[:2], np.float32)
    cv2.fillPoly(mask, [(ring * 16).round().astype(np.int32)], 1.0, shift=4)
    return 0.35 + 0.65 * np.asarray(smoothstep(cv2.GaussianBlur(mask, (0, 0), 5.0), 0.35, 0.95), np.float32)


def _draw_eyes(under: Image, portrait: Portrait, face: Expression, moved: Points, head: HeadPose) -> None:
    """Eyeballs, in place: white, iris, pupil, highlight and the shadow of the lid."""
    irises = with_head(portrait, portrait.irises, 1.0, head)
    for (upper, lower), iris in zip(mark.EYES, irises, strict=True):
        ring = moved[list(upper + lower[-2:0:-1])]
        left, right = np.floor(ring.min(0)).astype(int) - 6, np.ceil(ring.max(0)).astype(int) + 7
        box = np.s_[left[1]:right[1], left[0]:right[0]]
        ball = np.empty_like(under[box])
        ball[:] = (196, 178, 168)
        spot = iris - left
        for radius, colour, offset in EYEBALL:
            disc = _ellipse(ball.shape, spot - offset * portrait.unit, (radius, radius), portrait.unit)
            ball += disc[..., None] * (colour - ball)
        under[box] = ball * _depth(under.shape, ring + (0, 0.02 * portrait.unit))[box][..., None]
