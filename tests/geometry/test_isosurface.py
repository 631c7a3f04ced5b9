"""Coarse-to-fine extraction: the mesh of the dense grid for a fraction of its questions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sculpt4d.geometry.isosurface import Extraction, extract, first_cells, sample

from .shapes import assert_closed, volume

Field = Callable[[Tensor], Tensor]


def ball(points: Tensor) -> Tensor:
    """Truncated at 0.1, as the decoders are trained."""
    return ((0.6 - points.norm(dim=1)) / 0.1).clamp(-1, 1)


def blobs(points: Tensor) -> Tensor:
    """Smooth bumps, several pieces, some cut off by the cube."""
    return (torch.sin(5 * points).prod(dim=1) + 0.3 * torch.cos(3 * points.sum(dim=1)) - 0.2).clamp(-1, 1)


def thin_part(seed: int, saturation: float) -> Field:
    """Distance to a pellet, a rod or a plate of 0.01 to 0.07, anywhere, at any or at no angle to the grid."""
    rng = np.random.default_rng(seed)
    thin = 0.01 * np.exp(rng.uniform(0, 2))
    half = torch.tensor([(thin, thin, thin), (thin, thin, 0.4), (thin, 0.3, 0.4)][rng.integers(3)])
    centre = torch.tensor(rng.uniform(-0.7, 0.7, 3))
    turn = torch.tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0] if rng.random() < 0.7 else np.eye(3))

    def field(points: Tensor) -> Tensor:
        beyond = ((points.double() - centre) @ turn).abs() - half
        distance = beyond.clamp(min=0).norm(dim=1) + beyond.amax(dim=1).clamp(max=0)
        return (-distance / saturation).clamp(-1, 1)

    return field


def assert_same(one: Extraction, other: Extraction) -> None:
    assert np.array_equal(one.mesh.faces, other.mesh.faces)
    assert np.abs(one.mesh.vertices - other.mesh.vertices).max(initial=0) < 1e-6


def test_a_ball_has_its_radius_within_half_a_cell():
    mesh = extract(ball, resolution=64).mesh
    assert_closed(mesh)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.6, abs=0.5 * 2.02 / 64)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


@pytest.mark.parametrize("field", [ball, blobs])
@pytest.mark.parametrize("resolution, coarse", [(32, 16), (64, 16), (48, 12)])
@pytest.mark.parametrize("options", [{}, {"safety": 0.0}, {"safety": 0.0, "band": 0.95}])
def test_the_result_is_that_of_the_dense_grid(field, resolution, coarse, options):
    sparse, dense = extract(field, resolution, coarse=coarse, **options), extract(field, resolution, coarse=resolution)
    assert_closed(sparse.mesh)
    assert_same(sparse, dense)
    assert dense.queries == dense.dense == sparse.dense == (resolution + 1) ** 3 > sparse.queries


def test_it_asks_far_fewer_points_than_the_dense_grid():
    asked: list[int] = []
    largest: list[int] = []

    def field(points: Tensor) -> Tensor:
        largest.append(len(points))
        assert not torch.is_grad_enabled()
        return ball(points)

    found = extract(field, resolution=128, chunk=5000, progress=asked.append)
    assert sum(asked) == found.queries < found.dense / 10
    assert max(largest) == 5000 and asked == largest
    released = extract(ball, resolution=128, safety=0.0, band=0.95)
    assert found.queries < 0.5 * released.queries
    assert_same(found, released)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_thin_part_of_a_distance_field_is_missed(seed):
    field = thin_part(seed, saturation=0.2)  # 1.6 cells of the first grid
    assert_same(extract(field, 64, coarse=16), extract(field, 64, coarse=64))


def test_changes_of_sign_alone_miss_thin_parts():
    fields = [thin_part(seed, saturation=0.2) for seed in range(20)]
    alone, dense = ([len(extract(field, 64, **options).mesh.faces) for field in fields] for options in FOUND)
    assert 4 < sum(one != other for one, other in zip(alone, dense, strict=True)) < 16


FOUND = ({"coarse": 16, "safety": 0.0}, {"coarse": 64})


def test_a_part_that_leaves_no_trace_is_missed_until_the_first_grid_is_finer():
    def pellet(points: Tensor) -> Tensor:
        """Saturates at 0.03, a quarter of a cell of the first grid."""
        return ((0.04 - (points - 0.063).norm(dim=1)) / 0.03).clamp(-1, 1)

    assert not len(extract(pellet, 64, coarse=16, safety=3.0).mesh.faces)
    assert len(extract(pellet, 64, coarse=32).mesh.faces)


def test_a_part_is_followed_to_its_end_from_the_one_sample_that_met_it():
    def coil(points: Tensor) -> Tensor:
        """A wire of 0.03 that passes through one node of the first grid, where it is a bead."""
        turn = torch.linspace(0, 4 * np.pi, 800)
        centre = torch.stack([0.5 * turn.cos(), 0.5 * turn.sin(), 0.1 * turn - 0.6], dim=1)
        wire = 0.03 - torch.cdist(points, centre).amin(dim=1)
        bead = 0.08 - (points - torch.tensor([0.505, 0.0, -0.6])).norm(dim=1)
        return (torch.maximum(wire, bead) / 0.1).clamp(-1, 1)

    followed, dense = extract(coil, 64, coarse=16, safety=0.0), extract(coil, 64, coarse=64)
    assert_same(followed, dense)
    assert followed.queries < dense.dense / 10


def test_the_first_grid_may_be_known_beforehand():
    cells = first_cells(48, 12)
    starts = sample(lambda points: torch.stack([ball(points), blobs(points)]), cells, 1.01, chunk=1000)
    assert starts.shape == (2, 13, 13, 13)
    for field, start in zip((ball, blobs), starts, strict=True):
        asked: list[int] = []
        given_ = extract(field, 48, coarse=12, start=start, progress=asked.append)
        assert_same(given_, extract(field, 48, coarse=12))
        assert given_.queries == sum(asked) + 13**3
    with pytest.raises(ValueError, match="25 samples"):
        extract(ball, 48, coarse=24, start=starts[0])


@pytest.mark.parametrize("resolution, coarse, cells", [(384, 32, 48), (64, 32, 32), (64, 33, 64), (50, 10, 25)])
def test_the_first_grid_has_at_least_the_cells_asked_for(resolution, coarse, cells):
    assert first_cells(resolution, coarse) == cells


def test_samples_reach_from_corner_to_corner_with_x_slowest():
    values = sample(lambda points: points.T, 4, (-1.0, -0.8, -1.2, 1.0, 0.8, 1.2), chunk=7)
    assert values[:, 0, 0, 0] == pytest.approx([-1, -0.8, -1.2])
    assert values[:, -1, -1, -1] == pytest.approx([1, 0.8, 1.2])
    assert values[:, 1, 2, 3] == pytest.approx([-0.5, 0, 0.6])


def test_level_moves_the_surface():
    assert volume(extract(ball, 32, level=0.5, coarse=8).mesh) == pytest.approx(4 / 3 * np.pi * 0.55**3, rel=0.03)


def test_a_solid_that_fills_the_cube_is_closed_at_its_border():
    mesh = extract(lambda points: torch.ones(len(points)), resolution=8, bounds=1.0).mesh
    assert_closed(mesh)
    assert np.abs(mesh.vertices).max(axis=0) == pytest.approx(1 + 1 / 8, abs=1e-6)


def test_nothing_positive_gives_an_empty_mesh():
    mesh = extract(lambda points: -torch.ones(len(points)), resolution=8, coarse=2).mesh
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)


def test_half_precision_fields_are_read():
    assert_closed(extract(lambda points: ball(points).to(torch.bfloat16), resolution=32).mesh)


def test_a_field_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="0 of them finite"):
        extract(lambda points: torch.full((len(points),), torch.nan), resolution=4)


@pytest.mark.parametrize("options", [{"resolution": 0}, {"coarse": 0}, {"chunk": 0}, {"bounds": -1.0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match="chunk|resolution|bounds"):
        extract(ball, **({"resolution": 4} | options))
