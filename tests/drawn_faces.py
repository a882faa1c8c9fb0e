"""Faces drawn with ellipses and curves, in the layout of the FER+ files: data that a small network can learn in seconds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
DRAWN = ("neutral", "happiness", "surprise", "sadness")


def draw_face(emotion: str, chance: np.random.Generator) -> NDArray[np.uint8]:
    """A grey face [48, 48] whose mouth curves up or down, stands open, or is a line."""
    import cv2

    face = np.full((48, 48), int(chance.integers(20, 90)), np.uint8)
    x, y = 24 + chance.integers(-2, 3), 24 + chance.integers(-2, 3)
    cv2.ellipse(face, (int(x), int(y)), (17, 22), 0, 0, 360, int(chance.integers(150, 230)), -1)
    for side in (-7, 7):
        cv2.circle(face, (int(x + side), int(y - 6)), 3 if emotion == "surprise" else 2, 30, -1)
    mouth = (int(x), int(y + 10))
    if emotion == "surprise":
        cv2.ellipse(face, mouth, (4, 6), 0, 0, 360, 20, -1)
    elif emotion == "neutral":
        cv2.line(face, (mouth[0] - 8, mouth[1]), (mouth[0] + 8, mouth[1]), 20, 2)
    else:
        start, end = (10, 170) if emotion == "happiness" else (190, 350)
        cv2.ellipse(face, mouth, (9, 6), 0, start, end, 20, 2)
    # Patches of light and shade of its own make every picture different, as identities do.
    shade = cv2.resize(chance.normal(0, 45, (7, 7)), (48, 48), interpolation=cv2.INTER_CUBIC)
    noisy = face + shade + chance.normal(0, 4, face.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def write_drawn_faces(folder: Path, train: int, valid: int) -> Path:
    """Write face/ferplus_train.npz and face/ferplus_valid.npz of drawn faces under `folder`; returns `folder`."""
    (folder / "face").mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("train", train, 1), ("valid", valid, 2)):
        chance = np.random.default_rng(seed)
        emotions = [DRAWN[k % len(DRAWN)] for k in range(count)]
        votes = np.zeros((count, len(NAMES)), np.uint8)
        for row, emotion in enumerate(emotions):
            votes[row, NAMES.index(emotion)] = 9
            votes[row, chance.integers(0, 7)] += 1
        images = np.stack([draw_face(emotion, chance) for emotion in emotions])
        np.savez(folder / "face" / f"ferplus_{part}.npz", images=images, votes=votes, vote_names=np.array(NAMES))
    return folder
