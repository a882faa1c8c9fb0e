"""What the sample clip shows: expressions as numbers, the story as keyframes, and descriptions of it."""

from dataclasses import dataclass, fields

import numpy as np

FRAME_RATE = 25
DURATION = 12.0


@dataclass(frozen=True)
class Expression:
    """A face as numbers, in units of the distance between the pupils where not said otherwise; + is up, open or strong.

    Brows, cheeks and jaw are displacements of the portrait; lids are factors of its lid opening; the mouth is a shape.
    The last five are strengths 0..1 of shading: smile folds, lines between and above the brows, sad corners, teeth.
    """

    inner_brow: float = 0.0
    mid_brow: float = 0.0
    outer_brow: float = 0.0
    brow_pinch: float = 0.0
    lids: float = 0.95
    lower_lids: float = -0.06
    cheeks: float = -0.04
    nose: float = 0.0
    jaw: float = 0.0
    mouth_width: float = 0.38
    mouth_height: float = -0.03
    corners: float = -0.05
    gap: float = 0.014
    roundness: float = 0.6
    upper_lip: float = 1.5
    lower_lip: float = 1.2
    folds: float = 0.0
    furrow: float = 0.0
    forehead: float = 0.0
    droop: float = 0.0
    teeth: float = 0.2

    def mixed(self, other: "Expression", share: float) -> "Expression":
        """The face `share` (0..1) of the way to `other`."""
        names = [field.name for field in fields(self)]
        return Expression(**{n: (1 - share) * getattr(self, n) + share * getattr(other, n) for n in names})


NEUTRAL = Expression()
HAPPY_SURPRISE = Expression(
    inner_brow=0.09, mid_brow=0.12, outer_brow=0.10, lids=1.28, lower_lids=0.0, cheeks=0.04, jaw=0.10, mouth_width=0.49,
    mouth_height=0.02, corners=0.11, gap=0.26, roundness=0.55, upper_lip=1.3, lower_lip=1.1, folds=1.0, forehead=0.5,
    teeth=1.0,
)
FEARFUL_SURPRISE = Expression(
    inner_brow=0.18, mid_brow=0.08, outer_brow=0.0, brow_pinch=0.08, lids=1.48, lower_lids=0.02, cheeks=-0.05,
    jaw=0.12, mouth_width=0.41, mouth_height=-0.03, corners=-0.13, gap=0.19, roundness=0.5, upper_lip=1.2,
    lower_lip=1.0, furrow=0.5, forehead=1.0, droop=0.4, teeth=0.3,
)
SAD_ANGER = Expression(
    inner_brow=-0.11, mid_brow=-0.11, outer_brow=-0.04, brow_pinch=0.10, lids=0.72, lower_lids=0.12, cheeks=-0.02,
    nose=0.02, mouth_width=0.38, mouth_height=-0.02, corners=-0.14, upper_lip=1.2, lower_lip=1.1, folds=0.08, furrow=1.0,
    droop=1.0,
)

STORY: tuple[tuple[float, Expression], ...] = (
    (0.0, NEUTRAL), (1.85, NEUTRAL), (2.25, HAPPY_SURPRISE), (4.85, HAPPY_SURPRISE),
    (5.25, FEARFUL_SURPRISE), (7.85, FEARFUL_SURPRISE), (8.4, SAD_ANGER), (DURATION, SAD_ANGER),
)
"""Keyframes: second, face. Between two of them the face moves smoothly."""

BLINKS: tuple[float, ...] = (0.9, 4.95, 8.1, 10.6)
"""Seconds at which the eyes are shut."""


def expression_at(time: float) -> Expression:
    """The face of the story at `time` (s), without blinks and speech."""
    times = [key for key, _ in STORY]
    after = min(int(np.searchsorted(times, time, side="right")), len(STORY) - 1)
    (start, before), (end, face) = STORY[after - 1], STORY[after]
    share = float(np.clip((time - start) / (end - start), 0, 1))
    return before.mixed(face, share * share * (3 - 2 * share))

DESCRIPTIONS: tuple[tuple[float, float, str], ...] = (
    (0.0, 4.0,
     "A woman with short fair hair first looks calmly into the camera; then her brows and lids go up and her mouth opens "
     "in a broad smile, as if delighted by something unexpected."),
    (2.0, 6.0,
     "The woman smiles with an open mouth, raised brows and wide eyes, happily surprised; at the end the smile "
     "vanishes and she looks alarmed."),
    (4.0, 8.0,
     "The woman's smile gives way to fright: her inner brows are drawn up and together, her eyes are wide open and her "
     "mouth is open with the corners pulled down."),
    (6.0, 10.0,
     "The woman stares with wide, frightened eyes and an open mouth; then her brows come down, her eyes narrow and the "
     "corners of her mouth sink."),
    (8.0, 12.0,
     "The woman frowns: her brows are lowered and drawn together, her eyes are narrow and the corners of her mouth are "
     "turned down; she looks angry and sad."),
)
"""Start and end of a window (s), and what is seen in it."""
