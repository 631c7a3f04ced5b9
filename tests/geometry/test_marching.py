"""Marching cubes gives a closed mesh for any grid of numbers, exact zeros included; the release's one is another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.marching import EXTRACTORS, corners, march, mesh_of

from .shapes import assert_closed, volume

BOX = (-1.0, -0.8, -1.2, 1.0, 0.8, 1.2)
OFF_CENTRE = np.array([0.1, 0.05, -0.2])


def ball(cells: int, bounds: tuple[float, ...] = BOX, radius: float = 0.5) -> np.ndarray:
    axes = [np.linspace(bounds[axis], bounds[axis + 3], cells + 1) for axis in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return (radius - np.linalg.norm(points - OFF_CENTRE, axis=-1)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 12))
def test_noise_with_exact_zeros_gives_a_closed_mesh(seed, size):
    values = np.random.default_rng(seed).integers(-2, 3, size=(size,) * 3).astype(np.float32)
    values[0, 0, 0] = 1
    assert_closed(march(values, 0.0, 1.0))


def test_vertices_lie_where_the_value_crosses_zero():
    x = np.linspace(-1, 1, 11)
    values = np.broadcast_to(0.33 - np.abs(x)[:, None, None], (11, 11, 11)).copy()
    values[:, [0, -1]] = values[:, :, [0, -1]] = -1
    mesh = march(values, -1.0, 0.2)
    middle = (np.abs(mesh.vertices[:, 1:]) < 0.7).all(axis=1)
    assert np.abs(mesh.vertices[middle, 0]) == pytest.approx(0.33, abs=1e-5)


@pytest.mark.parametrize("extractor", ["mc", "lewiner"])
def test_true_positions_in_any_box_and_at_any_level(extractor):
    mesh = mesh_of(ball(40), BOX, 0.1, extractor)
    assert_closed(mesh)
    assert np.linalg.norm(mesh.vertices - OFF_CENTRE, axis=1) == pytest.approx(0.4, abs=0.005)


@pytest.mark.parametrize("resolution", [None, 23])
def test_the_release_shrinks_the_box_towards_its_least_corner(resolution):
    """Base spec 2.9: a divisor of R + 1 for the R asked for, whatever the grid has."""
    true, released = (mesh_of(ball(20), BOX, 0.0, name, resolution) for name in ("lewiner", "release"))
    low, _ = corners(BOX)
    assert released.vertices == pytest.approx((true.vertices - low) * 20 / ((resolution or 20) + 1) + low, abs=1e-6)
    assert np.array_equal(released.faces, true.faces)
    assert volume(released) > 0


def test_the_release_leaves_a_solid_open_at_the_border():
    values = ball(12, (-0.3,) * 3 + (0.6,) * 3)
    edges = np.sort(mesh_of(values, 1.0, extractor="release").faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 1).any()
    assert_closed(mesh_of(values, 1.0))


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_a_level_that_is_never_reached_gives_an_empty_mesh(extractor):
    mesh = mesh_of(ball(6), BOX, 5.0, extractor)
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)


def test_an_unknown_extractor_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="extractor=dmc is not one of mc, lewiner, release"):
        mesh_of(ball(6), BOX, extractor="dmc")


def test_one_number_is_a_cube_and_six_are_two_corners():
    assert [corner.tolist() for corner in corners(1.5)] == [[-1.5] * 3, [1.5] * 3]
    assert [corner.tolist() for corner in corners(BOX)] == [list(BOX[:3]), list(BOX[3:])]


@pytest.mark.parametrize("bounds", [0.0, -1.0, (1.0, 2.0), (0.0, 0.0, 0.0, 1.0, 1.0, 0.0)])
def test_bounds_that_enclose_nothing_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds="):
        corners(bounds)
