"""Sharp points lie on the edges a hand would feel, and only there."""

import numpy as np
import pytest

from sculpt4d.geometry.sharp import sample_sharp, sharp_edges
from sculpt4d.geometry.surface import carry
from sculpt4d.types import Mesh

from .shapes import CUBE_SIDE, cube, sphere, split_seams


def on_cube_edges(mesh: Mesh, count: int = 2000) -> np.ndarray:
    points = sample_sharp(mesh.vertices, mesh.faces, count, np.random.default_rng(0))
    position = carry(points, mesh.vertices[None], mesh.faces)[0]
    assert len(position) == count
    assert (np.isclose(np.abs(position), CUBE_SIDE / 2, atol=1e-6).sum(axis=1) >= 2).all()
    return position


def test_sharp_points_of_a_cube_lie_on_its_twelve_edges_evenly():
    position = on_cube_edges(cube())
    free = np.abs(position).argmin(axis=1)
    assert np.bincount(free, minlength=3) / len(free) == pytest.approx([1 / 3] * 3, abs=0.05)
    # each edge belongs to a pair of fixed signs per free axis
    signs = np.sign(np.take_along_axis(position, np.stack([(free + 1) % 3, (free + 2) % 3], axis=1), axis=1))
    edge = free * 4 + (signs[:, 0] > 0) * 2 + (signs[:, 1] > 0)
    assert (np.bincount(edge.astype(int), minlength=12) > 100).all()


def test_seams_of_shading_neither_hide_nor_make_edges():
    on_cube_edges(split_seams(cube()))
    assert len(sharp_edges(*_arrays(split_seams(cube())))[0]) == 12
    assert len(sharp_edges(*_arrays(split_seams(sphere())))[0]) == 0


def test_a_sphere_has_none():
    points = sample_sharp(*_arrays(sphere()), 100, np.random.default_rng(0))
    assert len(points.face) == 0 and points.barycentric.shape == (0, 3)


@pytest.mark.parametrize("degrees, edges", [(80.0, 12), (100.0, 0)])
def test_the_angle_decides(degrees, edges):
    assert len(sharp_edges(*_arrays(cube()), degrees)[0]) == edges


def test_a_face_wound_the_other_way_makes_no_edge():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 2], [0, 3, 2]]):
        assert len(sharp_edges(vertices, np.array(faces))[0]) == 0


def _arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices, mesh.faces
