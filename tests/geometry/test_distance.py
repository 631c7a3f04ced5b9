"""Signed distance is positive inside and equals the formulas of sphere and cube."""

import numpy as np
import pytest

from sculpt4d.geometry.distance import signed_distance
from sculpt4d.types import Mesh

from .shapes import SPHERE_RADIUS, cube, sphere


def test_distance_to_a_cube_is_exact():
    points = np.random.default_rng(0).uniform(-0.6, 0.6, size=(2000, 3)).astype(np.float32)
    over = np.abs(points) - 0.3
    expected = -np.linalg.norm(over.clip(0), axis=1) - over.max(axis=1).clip(max=0)
    assert signed_distance(points, cube(0.6)) == pytest.approx(expected, abs=1e-6)


def test_distance_to_a_sphere_is_radius_minus_norm():
    points = np.random.default_rng(0).uniform(-0.6, 0.6, size=(2000, 3)).astype(np.float32)
    expected = SPHERE_RADIUS - np.linalg.norm(points, axis=1)
    assert signed_distance(points, sphere(detail=4)) == pytest.approx(expected, abs=2e-3)


def test_an_empty_mesh_is_refused():
    with pytest.raises(ValueError, match="empty mesh"):
        signed_distance(np.zeros((1, 3), np.float32), Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)))
