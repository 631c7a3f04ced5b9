"""Projection lands on the closest point of the closed surface, with the normal of its face."""

import numpy as np
import pytest

from sculpt4d.geometry.projection import project
from sculpt4d.geometry.surface import carry, sample_surface
from sculpt4d.geometry.watertight import watertight
from sculpt4d.types import Mesh

from .shapes import SPHERE_RADIUS, cube, join, sphere


def test_on_a_cube_it_is_the_clamped_point():
    rng = np.random.default_rng(0)
    outside = rng.uniform(-1, 1, size=(500, 3)).astype(np.float32)
    outside = outside[np.abs(outside).max(axis=1) > 0.3]
    position, normal = project(outside, cube(0.6))
    assert position == pytest.approx(outside.clip(-0.3, 0.3), abs=1e-6)
    assert np.einsum("ni,ni->n", outside - position, normal).min() > 0
    assert np.linalg.norm(normal, axis=1) == pytest.approx(1, abs=1e-6)


def test_points_of_the_input_land_on_its_closed_surface_and_normals_look_outward():
    mesh = join(sphere(0.25, (-0.15, 0, 0)), sphere(0.25, (0.15, 0, 0)))
    closed = watertight(mesh, 48)
    points = carry(
        sample_surface(mesh.vertices, mesh.faces, 800, np.random.default_rng(0)), mesh.vertices[None], mesh.faces
    )
    position, normal = project(points[0], closed)
    again, _ = project(position, closed)
    assert again == pytest.approx(position, abs=1e-6)
    off = np.linalg.norm(position - np.where(position[:, :1] > 0, 1, -1) * np.float32([0.15, 0, 0]), axis=1)
    assert off == pytest.approx(0.25, abs=0.01)
    assert (np.einsum("ni,ni->n", normal, position * (0.3, 1, 1)) > 0).mean() > 0.98


def test_normals_of_a_sphere_are_radial():
    _, normal = project(SPHERE_RADIUS * np.eye(3, dtype=np.float32), watertight(sphere(detail=4), 48))
    assert np.diag(normal).min() > 0.99


def test_an_empty_mesh_is_refused():
    with pytest.raises(ValueError, match="empty mesh"):
        project(np.zeros((1, 3), np.float32), Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)))
