"""The closed surface: closed, outward, of the right size, whatever came in."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.projection import project
from sculpt4d.geometry.watertight import GRID_EXTENT, SHELL, watertight
from sculpt4d.types import Mesh

from .shapes import SPHERE_RADIUS, assert_closed, cube, flip, join, sphere, split_seams, volume

RESOLUTION = 48
CELL = 2 * GRID_EXTENT / RESOLUTION


def bodies(mesh: Mesh) -> int:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).body_count


@pytest.mark.parametrize("mesh", [sphere(), cube(), cube(side=0.98)], ids=["sphere", "cube", "box-filling cube"])
def test_a_closed_shape_keeps_its_volume_and_place(mesh):
    closed = watertight(mesh, RESOLUTION)
    assert_closed(closed)
    assert volume(closed) == pytest.approx(volume(mesh), rel=0.02)
    distance, _ = project(closed.vertices, mesh)
    error = np.linalg.norm(distance - closed.vertices, axis=1)
    assert np.quantile(error, 0.9) < 0.02 * CELL + 1e-4 and error.max() < CELL


@pytest.mark.parametrize("change", [flip, split_seams], ids=["inside out", "split at every edge"])
def test_orientation_and_seams_of_the_input_do_not_matter(change):
    plain, changed = watertight(sphere(), RESOLUTION), watertight(change(sphere()), RESOLUTION)
    assert np.array_equal(plain.faces, changed.faces)
    assert plain.vertices == pytest.approx(changed.vertices, abs=1e-5)


def test_faces_that_disagree_are_turned():
    mesh = sphere(detail=2)
    faces = mesh.faces.copy()
    faces[::3] = faces[::3, ::-1]
    assert volume(watertight(Mesh(mesh.vertices, faces), RESOLUTION)) == pytest.approx(volume(mesh), rel=0.02)


def test_overlapping_parts_become_one_solid_without_inner_walls():
    offset, radius = 0.15, 0.25
    mesh = join(sphere(radius, (-offset, 0, 0)), flip(sphere(radius, (offset, 0, 0))))
    closed = watertight(mesh, RESOLUTION)
    assert_closed(closed)
    assert bodies(closed) == 1
    lens = np.pi * (2 * radius - 2 * offset) ** 2 * (4 * offset**2 + 8 * offset * radius) / (24 * offset)
    assert volume(closed) == pytest.approx(2 * 4 / 3 * np.pi * radius**3 - lens, rel=0.02)
    inner = np.abs(closed.vertices[:, 0]) < 0.05
    assert (np.linalg.norm(closed.vertices[inner, 1:], axis=1) > 0.15).all()


def test_cavities_are_filled():
    hollow = join(sphere(0.4), flip(sphere(0.25)))
    closed = watertight(hollow, RESOLUTION)
    assert bodies(closed) == 1
    assert volume(closed) == pytest.approx(volume(sphere(0.4)), rel=0.02)


def test_parts_apart_stay_apart():
    closed = watertight(join(cube(0.2, (-0.3, 0, 0)), sphere(0.15, (0.3, 0, 0))), RESOLUTION)
    assert_closed(closed)
    assert bodies(closed) == 2


def test_an_open_shell_becomes_a_wall_of_the_stated_thickness():
    mesh = sphere(SPHERE_RADIUS, detail=4)
    bowl = Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces].mean(axis=1)[:, 1] < 0])
    closed = watertight(bowl, RESOLUTION)
    assert_closed(closed)
    low = closed.vertices[closed.vertices[:, 1] < -0.1]
    radius = np.linalg.norm(low, axis=1)
    assert np.abs(np.abs(radius - SPHERE_RADIUS) - SHELL * CELL).max() < 0.3 * CELL
    assert volume(closed) == pytest.approx(2 * np.pi * SPHERE_RADIUS**2 * 2 * SHELL * CELL, rel=0.1)


def test_a_shell_with_a_pinhole_is_filled_like_a_solid():
    mesh = sphere(detail=4)
    closed = watertight(Mesh(mesh.vertices, mesh.faces[1:]), RESOLUTION)
    assert_closed(closed)
    assert bodies(closed) == 1
    assert volume(closed) == pytest.approx(4 / 3 * np.pi * (SPHERE_RADIUS + SHELL * CELL) ** 3, rel=0.02)


def test_an_open_part_does_not_inflate_the_closed_ones():
    sheet = Mesh(
        np.array([[-0.4, 0, 0.3], [-0.2, 0, 0.3], [-0.3, 0.2, 0.3]], np.float32), np.array([[0, 1, 2]], np.int32)
    )
    body = sphere(0.2, (0.2, 0, 0))
    closed = watertight(join(body, sheet), RESOLUTION)
    assert_closed(closed)
    right = closed.vertices[closed.vertices[:, 0] > 0]
    assert np.linalg.norm(right - (0.2, 0, 0), axis=1) == pytest.approx(0.2, abs=0.2 * CELL)
    assert bodies(closed) == 2


def test_a_closed_part_thinner_than_a_cell_is_not_lost():
    plate = cube(0.6)
    thin = Mesh((plate.vertices * np.float32([1, 0.003, 1]) + np.float32([0, 0.004, 0])), plate.faces)
    assert_closed(watertight(thin, RESOLUTION))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), resolution=st.integers(5, 40))
def test_any_soup_of_triangles_gives_a_closed_surface_around_it(seed, resolution):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-0.49, 0.49, size=(30, 3)).astype(np.float32)
    mesh = Mesh(vertices, rng.integers(0, 30, size=(12, 3)).astype(np.int32))
    closed = watertight(mesh, resolution)
    assert_closed(closed)
    whole = mesh.faces[[len(set(face)) == 3 for face in mesh.faces.tolist()]]
    inside = signed_distance(vertices[whole].mean(axis=1), closed)
    assert (inside > -0.25 * 2 * GRID_EXTENT / resolution).all()


def test_faces_that_are_degenerate_or_not_finite_are_left_out():
    mesh = sphere(detail=2)
    vertices = np.concatenate([mesh.vertices, np.full((1, 3), np.nan, np.float32)])
    faces = np.concatenate([mesh.faces, [[0, 0, 1], [0, 1, len(mesh.vertices)]]]).astype(np.int32)
    assert np.array_equal(watertight(Mesh(vertices, faces), 24).faces, watertight(mesh, 24).faces)


@pytest.mark.parametrize(
    "vertices, faces, message",
    [
        (np.full((3, 3), np.nan), [[0, 1, 2]], "no usable face"),
        (np.eye(3), [[0, 0, 1], [2, 2, 2]], "no usable face"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no usable face"),
        (np.eye(3), [[0, 1, 2]], "to_box"),
    ],
    ids=["not finite", "degenerate", "empty", "outside the box"],
)
def test_what_cannot_be_closed_is_refused(vertices, faces, message):
    with pytest.raises(ValueError, match=message):
        watertight(Mesh(np.asarray(vertices, np.float32), np.asarray(faces, np.int32)), 16)
