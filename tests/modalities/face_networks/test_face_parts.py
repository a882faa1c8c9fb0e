"""Landmarks and parsing masks of face crops as pictures."""

import numpy as np
import pytest

from data.errors import InputError
from modalities.face_networks.face_parts import (  # fmt: skip
    PARTS,
    POINTS,
    closed_loops,
    draw_landmarks,
    draw_parsing,
    draw_parts,
    mesh_landmarks,
    mesh_parsing,
)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A real face, from the picture that scikit-image brings."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[30:230, 125:325])


def test_mesh_finds_the_parts_of_a_real_face(face: np.ndarray) -> None:
    pytest.importorskip("mediapipe")
    blank = np.full_like(face, 128)
    points = mesh_landmarks(np.stack([face, blank]))
    assert points.shape == (2, POINTS, 2)
    assert np.isfinite(points[0]).all()
    assert np.isnan(points[1]).all()
    classes = mesh_parsing(points, 100)
    assert set(np.unique(classes[0])) >= {PARTS.index(part) for part in ("background", "skin", "brows", "eyes", "nose", "lips")}
    assert not classes[1].any()
    height = {part: np.argwhere(classes[0] == PARTS.index(part))[:, 0].mean() for part in ("brows", "eyes", "nose", "lips")}
    assert height["brows"] < height["eyes"] < height["nose"] < height["lips"]


def test_streams_are_pictures_of_the_wanted_size_and_the_segmenter_can_be_another(face: np.ndarray) -> None:
    pytest.importorskip("mediapipe")
    landmarks, parsing = draw_parts(face[None], 56)
    assert landmarks.shape == parsing.shape == (1, 56, 56, 3)
    assert 100 < (landmarks > 0).all(3).sum() < 56 * 56 / 2
    halves = np.zeros((1, 200, 200), np.uint8)
    halves[:, 100:] = 18
    _, other = draw_parts(face[None], 56, lambda crops: halves)
    assert len(np.unique(other.reshape(-1, 3), axis=0)) == 2


def test_drawing_tells_every_class_apart_and_refuses_more() -> None:
    classes = np.arange(19, dtype=np.uint8).repeat(19).reshape(1, 19, 19)
    assert len(np.unique(draw_parsing(classes, 19).reshape(-1, 3), axis=0)) == 19
    with pytest.raises(InputError, match="class 19"):
        draw_parsing(np.full((1, 2, 2), 19, np.uint8), 4)
    nowhere = np.full((1, 3, 2), np.nan, np.float32)
    assert not draw_landmarks(nowhere, 8).any()


def test_edges_become_loops() -> None:
    loops = closed_loops([(1, 2), (3, 1), (2, 3), (7, 8), (8, 9), (9, 7)])
    assert sorted(sorted(loop) for loop in loops) == [[1, 2, 3], [7, 8, 9]]
