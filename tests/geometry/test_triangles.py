"""Areas, normals and volumes of triangles against solids whose values are known."""

import numpy as np
import pytest

from sculpt4d.geometry.triangles import enclosed_volume, face_areas, face_crosses, face_normals, face_volumes

from .shapes import CUBE_SIDE, cube, flip


def test_a_cube_has_its_area_and_its_volume():
    mesh = cube()
    assert face_areas(mesh.vertices, mesh.faces).sum() == pytest.approx(6 * CUBE_SIDE**2)
    assert enclosed_volume(mesh.vertices, mesh.faces) == pytest.approx(CUBE_SIDE**3)


def test_an_inside_out_cube_has_a_negative_volume():
    mesh = flip(cube())
    assert enclosed_volume(mesh.vertices, mesh.faces) == pytest.approx(-(CUBE_SIDE**3))


def test_the_volume_does_not_depend_on_the_place():
    mesh = cube()
    assert enclosed_volume(mesh.vertices + 7, mesh.faces) == pytest.approx(CUBE_SIDE**3, rel=1e-5)


def test_normals_have_length_one_and_point_outward():
    mesh = cube()
    normals = face_normals(mesh.vertices, mesh.faces)
    middles = mesh.vertices[mesh.faces].mean(axis=1) - mesh.vertices.mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert ((normals * middles).sum(axis=1) > 0).all()


def test_a_face_without_area_has_no_normal_and_one_that_is_not_finite_no_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [np.nan, 0, 0]])
    faces = np.array([[0, 1, 2], [0, 1, 3]])
    assert not face_normals(vertices, faces)[0].any()
    assert face_areas(vertices, faces).tolist() == [0, 0]


def test_results_keep_the_type_of_the_corners():
    corners = cube().vertices[cube().faces].astype(np.float32)
    assert face_crosses(corners).dtype == face_volumes(corners).dtype == np.float32
