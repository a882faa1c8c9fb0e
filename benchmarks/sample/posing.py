"""Moves the mesh of a portrait: an `Expression` of the face and a `HeadPose` -> where every vertex is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.sample import landmarks as mark
from benchmarks.sample.expressions import Expression
from benchmarks.sample.portrait import FINE, SIZE, Points, Portrait


@dataclass(frozen=True)
class HeadPose:
    """Where the whole head is: shift in pixels of the frame, turn in degrees, scale."""

    right: float = 0.0
    down: float = 0.0
    turn: float = 0.0
    scale: float = 1.0


def pose(portrait: Portrait, face: Expression, head: HeadPose) -> Points:
    """Where every vertex of the mesh is, [vertices, 2] in pixels of the fine image."""
    moved = portrait.vertices + portrait.spread @ _displacements(portrait, face)
    return with_head(portrait, moved, portrait.head_weight, head)


def with_head(portrait: Portrait, points: Points, weight: Any, head: HeadPose) -> Points:
    """`points` moved with the head; `weight` 0..1 says how far each takes part."""
    pivot = portrait.vertices[152] + (0, 0.2 * portrait.unit)
    angle = np.deg2rad(head.turn)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * head.scale
    goal = (points - pivot) @ turn + pivot + np.array([head.right, head.down]) * (FINE / SIZE)
    return np.asarray(points + np.reshape(weight, (-1, 1)) * (goal - points))


def _displacements(portrait: Portrait, face: Expression) -> Points:
    """Movement [controls, 2] in pixels of every control."""
    goal = {index: np.zeros(2) for index in portrait.controls}
    for rows, inward in zip(mark.BROWS, (1, -1), strict=True):
        _move_brow(goal, rows, inward, face)
    local = (portrait.vertices[:mark.FACE_POINTS] @ portrait.axes.T) / portrait.unit
    for upper, lower in mark.EYES:
        _move_lids(goal, local, upper, lower, face)
    _move_mouth(goal, local, face)
    for indices, down in _shifts(face):
        for index in indices:
            goal[index] = np.array([0.0, down])
    return np.array([goal[index] for index in portrait.controls]) * portrait.unit @ portrait.axes


def _shifts(face: Expression) -> tuple[tuple[tuple[int, ...], float], ...]:
    """Groups of landmarks that move as one, and how far down."""
    return (
        (mark.CHEEKS, -face.cheeks), (mark.NOSTRILS, -face.nose), (mark.CHIN, face.jaw),
        (mark.JAW_SIDES, 0.7 * face.jaw),
    )


def _move_brow(goal: dict[int, Any], rows: tuple[tuple[int, ...], ...], inward: int, face: Expression) -> None:
    lift = np.interp(np.linspace(0, 1, 5), (0, 0.5, 1), (face.outer_brow, face.mid_brow, face.inner_brow))
    slide = inward * face.brow_pinch * np.array([0.1, 0.2, 0.4, 0.75, 1.0])
    for row in rows:
        for index, up, across in zip(row, lift, slide, strict=True):
            goal[index] = np.array([across, -up])


def _move_lids(
    goal: dict[int, Any], local: Points, upper: tuple[int, ...], lower: tuple[int, ...], face: Expression
) -> None:
    for above, below in zip(upper[1:-1], lower[1:-1], strict=True):
        opening = local[above] - local[below]
        raised = opening * face.lower_lids
        goal[above] = opening * (face.lids - 1)
        goal[below] = raised if face.lids > face.lower_lids else opening * face.lids


def _move_mouth(goal: dict[int, Any], local: Points, face: Expression) -> None:
    """The four lip contours onto a mouth of the wanted width, corner height, gap and thickness."""
    middle = (local[61, 0] + local[291, 0]) / 2
    half = (local[291, 0] - local[61, 0]) / 2
    inside = (local[308, 0] - local[78, 0]) / 2 / half
    line = local[2, 1] + 0.335 - face.mouth_height
    for inner, outer, sign, thickness in (
        (mark.UPPER_INNER, mark.UPPER_OUTER, -1, face.upper_lip),
        (mark.LOWER_INNER, mark.LOWER_OUTER, 1, face.lower_lip),
    ):
        share = 0.22 if sign < 0 else 0.78
        for near, far in zip(inner, outer, strict=True):
            along = np.clip((local[[near, far], 0] - middle) / half, -1, 1)
            rest = line - face.corners * (np.abs(along) ** 1.6 - 0.35)
            lip = rest[0] + sign * share * face.gap * max(1 - (along[0] / inside) ** 2, 0.0) ** face.roundness
            thick = thickness * np.linalg.norm(local[far] - local[near])
            ends = abs(along[0]) > 0.9
            y = np.array([lip, rest[1] if ends else lip + sign * thick])
            target = np.stack([middle + along * face.mouth_width, y], 1)
            goal[near], goal[far] = target - local[[near, far]]
