"""The sparse decoder: which cells are near the surface, which points are asked, and what they answer (base spec 2.8)."""

import re

import pytest
import torch

from sculpt4d.model.flash import flash_cells, flash_grid, near_surface

from .folder import GRID, gap, instances, same, tensors
from .networks import autoencoder

BOUNDS = 1.01
HOLE = -9000.0  # recorded values at or below it stand for points never asked
SPARSE = re.compile(r"flash_(mean|merge)_r(\d+)_min(\d+)")


@pytest.mark.parametrize("name", instances("vae"))
def test_sparse_grids_equal_the_released_ones(name: str):
    vae, io = autoencoder(name), tensors(f"{name}_io")
    stored = [match for match in map(SPARSE.fullmatch, io) if match]
    if not stored:
        pytest.skip(f"{name}_io holds no sparse grids")
    with torch.no_grad():
        shape = vae.prepare(io["latents"][:1])
    high = torch.full((3,), BOUNDS)
    for match in stored:
        mode, resolution, minimum = match[1], int(match[2]), int(match[3])
        grid = flash_grid(vae.geo_decoder, shape, -high, high, resolution, mode=mode, minimum=minimum, chunk=100)
        wanted = io[match[0]][0]
        assert same(grid.known, ~wanted.isnan())
        assert gap(grid.values[grid.known], wanted[grid.known]) <= GRID
        assert len(wanted) == flash_cells(resolution, minimum)[-1] + 1
        assert grid.queries > grid.known.sum()


def test_cells_near_the_surface_are_the_released_ones():
    io = tensors("near_surface_mask")
    stored = [match for match in map(re.compile(r"near_mask_(\d+)_alpha(.+)").fullmatch, io) if match]
    assert stored
    for match in stored:
        values = io[f"field_{match[1]}"]
        found = near_surface(values, values > HOLE, float(match[2]))
        assert same(found, io[match[0]].bool()), match[0]


def test_the_released_resolution_has_the_published_grids():
    assert flash_cells(384) == [95, 190, 380]
