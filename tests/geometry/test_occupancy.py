"""Solid occupancy: the volume of shapes, the union of parts, something sensible for holes."""

import igl
import numpy as np
import pytest

from sculpt4d.geometry import occupancy as occupancy_module
from sculpt4d.geometry.occupancy import BEYOND, occupancy, occupancy_beyond
from sculpt4d.geometry.watertight import watertight
from sculpt4d.types import Mesh

from .shapes import cube, flip, join, sphere, volume


def centres(resolution: int, extent: float) -> np.ndarray:
    axis = -extent + (np.arange(resolution) + 0.5) * 2 * extent / resolution
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


@pytest.mark.parametrize("change", [lambda mesh: mesh, flip], ids=["outward", "inside out"])
def test_a_sphere_holds_the_cells_whose_centre_it_holds(change):
    mesh = sphere(0.7, (0.1, -0.2, 0.05), detail=4)
    radius = np.linalg.norm(centres(64, 1.0) - (0.1, -0.2, 0.05), axis=-1)
    solid = occupancy(change(mesh))
    assert solid[radius < 0.695].all() and not solid[radius > 0.7001].any()


def test_round_coordinates_that_meet_the_columns_do_no_harm():
    solid = occupancy(cube(0.5), resolution=8, extent=1.0)
    assert np.array_equal(solid, (np.abs(centres(8, 1.0)) < 0.25).all(axis=-1))
    # faces, edges and vertices exactly on cell centres: those cells may go either way, all others are certain
    solid = occupancy(cube(1.25), resolution=8, extent=1.0)
    far = np.abs(centres(8, 1.0)).max(axis=-1)
    assert solid[far < 0.6].all() and not solid[far > 0.65].any()


def test_overlapping_parts_count_once():
    one, two = sphere(0.5, (-0.2, 0, 0)), sphere(0.5, (0.2, 0, 0))
    assert np.array_equal(occupancy(join(one, two)), occupancy(one) | occupancy(two))


def test_columns_agree_with_winding_numbers_on_a_watertight_mesh():
    mesh = watertight(join(sphere(0.3, (-0.15, 0, 0)), cube(0.4, (0.1, 0.1, 0.05))), 32)
    winding = igl.fast_winding_number(
        mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64), centres(32, 0.5).reshape(-1, 3)
    )
    assert (occupancy(mesh, 32, 0.5).reshape(-1) != (winding > 0.5)).sum() <= 2
    assert occupancy(mesh, 32, 0.5).mean() == pytest.approx(volume(mesh), rel=0.02)


def test_a_hole_does_not_empty_the_shape():
    mesh = sphere(0.7)
    open_mesh = Mesh(mesh.vertices, mesh.faces[40:])
    assert (occupancy(open_mesh, 32) != occupancy(mesh, 32)).mean() < 0.01


def test_a_mesh_larger_than_the_grid_fills_it():
    assert occupancy(cube(9.0), 8).all()
    assert not occupancy(cube(0.5, (5, 0, 0)), 8).any()


def test_nothing_is_inside_an_empty_or_flat_mesh():
    assert not occupancy(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)), 8).any()
    assert not occupancy(Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)), 8).any()


def test_nothing_lies_beyond_while_no_centre_out_there_is_reached():
    inside = [cube(2.0), sphere(1.0), cube(2 + 1.9 / 8), Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))]
    assert occupancy_beyond(inside, 8) == (0, 0)  # the first centres outside stand half a cell, 1/8, off
    flat = Mesh(cube(9.0).vertices * np.array([1, 1, 0], np.float32), cube(9.0).faces)
    assert occupancy_beyond([flat], 8) == (0, 0)


@pytest.mark.parametrize("side", [3.0, 5.0, 64.0, 1000.0, 2.0**40])
def test_a_cube_of_any_size_holds_its_cells_less_those_of_the_box(side):
    cells = side**3 * 4**3 - 8**3
    assert occupancy_beyond([cube(side)], 8).either == pytest.approx(cells, rel=0.15 if side > 5 else 1e-9)


def test_solids_beyond_unite_and_intersect():
    one, two = cube(1.0, (1.0, 0, 0)), cube(1.0, (1.25, 0, 0))  # [0.5, 1.5] and [0.75, 1.75]: four cells a half
    assert occupancy_beyond([one, two], 8) == (3 * 16, 2 * 16)
    assert occupancy_beyond([one, cube(1.0)], 8) == (2 * 16, 0)
    assert occupancy_beyond([cube(1.0, (x, 0, 0)) for x in (-2.0, 2.0)], 8) == (2 * 64, 0)


def test_the_lattice_beyond_is_bounded(monkeypatch):
    """However large or however far apart."""
    sizes, real = [], occupancy_module.winding_grid
    monkeypatch.setattr(
        occupancy_module, "winding_grid", lambda soup, shape: sizes.append(np.prod(shape)) or real(soup, shape)
    )
    for mesh in (cube(50.0), cube(1e6), cube(1e30), join(cube(1.0, (-1e5, 0, 0)), cube(1.0, (1e5, 1e5, 1e5)))):
        occupancy_beyond([mesh], 8)
    assert len(sizes) == 4 and max(sizes) <= BEYOND * 8**3
