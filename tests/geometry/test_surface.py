"""Points belong to the material: they follow it, and spread over it evenly."""

import numpy as np
import pytest

from sculpt4d.geometry.projection import project
from sculpt4d.geometry.surface import SurfacePoints, carry, sample_surface
from sculpt4d.types import Mesh

from .shapes import cube, sphere


def test_carried_points_lie_on_the_animated_surface_in_every_frame():
    mesh = sphere(detail=2)
    frames = np.stack([mesh.vertices, mesh.vertices * (1.2, 0.5, 1), mesh.vertices[:, [1, 2, 0]] + 0.3])
    frames = frames.astype(np.float32)
    points = sample_surface(mesh.vertices, mesh.faces, 500, np.random.default_rng(0))
    carried = carry(points, frames, mesh.faces)
    for frame in range(3):
        nearest, _ = project(carried[frame], Mesh(frames[frame], mesh.faces))
        assert np.abs(nearest - carried[frame]).max() < 1e-6


def test_row_k_stays_the_same_material_point():
    mesh = sphere(detail=2)
    matrix, shift = np.random.default_rng(1).normal(size=(3, 3)), np.array([1.0, 2.0, 3.0])
    frames = np.stack([mesh.vertices, mesh.vertices @ matrix.T + shift]).astype(np.float32)
    points = sample_surface(mesh.vertices, mesh.faces, 300, np.random.default_rng(2))
    rest, moved = carry(points, frames, mesh.faces)
    assert moved == pytest.approx(rest @ matrix.T + shift, abs=1e-5)


def test_a_corner_weight_of_one_is_the_vertex_of_that_corner():
    mesh = cube()
    points = SurfacePoints(np.array([3, 3, 3]), np.eye(3, dtype=np.float32))
    assert np.array_equal(carry(points, mesh.vertices[None], mesh.faces)[0], mesh.vertices[mesh.faces[3]])


def test_points_are_uniform_by_area():
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [-1, 0, 0]], np.float32)
    points = sample_surface(vertices, np.array([[0, 1, 2], [0, 2, 3]]), 20000, np.random.default_rng(0))
    assert (points.face == 0).mean() == pytest.approx(0.75, abs=0.02)
    assert points.barycentric.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.01)
    assert (points.barycentric >= 0).all() and points.barycentric.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_faces_without_area_or_with_nan_get_no_points():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan, 0, 0]], np.float32)
    faces = np.array([[0, 0, 1], [0, 1, 2], [0, 1, 3], [2, 2, 2]])
    assert set(sample_surface(vertices, faces, 1000, np.random.default_rng(0)).face.tolist()) == {1}
    with pytest.raises(ValueError, match="none of the 2 faces"):
        sample_surface(vertices, faces[[0, 2]], 10, np.random.default_rng(0))


def test_the_same_seed_gives_the_same_points():
    mesh = sphere()
    one, two = (sample_surface(mesh.vertices, mesh.faces, 50, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.face, two.face) and np.array_equal(one.barycentric, two.barycentric)
