"""Coarse-to-fine extraction: the mesh of the dense grid for a fraction of its questions."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sculpt4d.geometry.isosurface import extract

from .shapes import assert_closed, volume


def ball(points: Tensor) -> Tensor:
    """Truncated at 0.1, as the decoders are trained."""
    return ((0.6 - points.norm(dim=1)) / 0.1).clamp(-1, 1)


def blobs(points: Tensor) -> Tensor:
    """Smooth bumps, several pieces, some cut off by the cube."""
    return (torch.sin(5 * points).prod(dim=1) + 0.3 * torch.cos(3 * points.sum(dim=1)) - 0.2).clamp(-1, 1)


def test_a_ball_has_its_radius_within_half_a_cell():
    mesh = extract(ball, resolution=64)
    assert_closed(mesh)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.6, abs=0.5 * 2.02 / 64)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


@pytest.mark.parametrize("field", [ball, blobs])
@pytest.mark.parametrize("resolution, coarse", [(32, 16), (64, 16), (48, 12)])
def test_the_result_is_that_of_the_dense_grid(field, resolution, coarse):
    sparse, dense = extract(field, resolution, coarse=coarse), extract(field, resolution, coarse=resolution)
    assert_closed(sparse)
    assert np.array_equal(sparse.faces, dense.faces)
    assert np.abs(sparse.vertices - dense.vertices).max() < 1e-4


def test_it_asks_far_fewer_points_than_the_dense_grid():
    asked: list[int] = []
    largest: list[int] = []

    def field(points: Tensor) -> Tensor:
        largest.append(len(points))
        assert not torch.is_grad_enabled()
        return ball(points)

    extract(field, resolution=128, chunk=5000, progress=asked.append)
    assert sum(asked) < 0.25 * 129**3
    assert max(largest) == 5000 and asked == largest
    fewer: list[int] = []
    extract(ball, resolution=128, band=0.0, progress=fewer.append)
    assert sum(fewer) < 0.6 * sum(asked)


def test_level_moves_the_surface():
    assert volume(extract(ball, 32, level=0.5)) == pytest.approx(4 / 3 * np.pi * 0.55**3, rel=0.03)


def test_a_solid_that_fills_the_cube_is_closed_at_its_border():
    mesh = extract(lambda points: torch.ones(len(points)), resolution=8, extent=1.0)
    assert_closed(mesh)
    assert np.abs(mesh.vertices).max(axis=0) == pytest.approx(1 + 1 / 8, abs=1e-6)


def test_nothing_positive_gives_an_empty_mesh():
    mesh = extract(lambda points: -torch.ones(len(points)), resolution=8)
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)


def test_half_precision_fields_are_read():
    assert_closed(extract(lambda points: ball(points).to(torch.bfloat16), resolution=32))


def test_a_field_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="0 of them finite"):
        extract(lambda points: torch.full((len(points),), torch.nan), resolution=4)
