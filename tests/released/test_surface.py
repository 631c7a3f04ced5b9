"""Grids and their surfaces: where samples lie, and the official program's vertices and faces (base spec 2.7, 2.9)."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sculpt4d.geometry.isosurface import extract, sample
from sculpt4d.geometry.marching import mesh_of
from sculpt4d.model.flash import near_surface
from sculpt4d.types import Mesh

from .folder import FOLDER, GRID, gap, instances, listed, numbers, same, tensors
from .networks import autoencoder

BOUNDS = 1.01
PLACE = 1e-6  # of vertices and their sums
STORED = numbers("surface_grid")["cases"] if (FOLDER / "surface_grid.json").is_file() else []


def volume(mesh: Mesh) -> float:
    """Signed, positive for outward faces."""
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    return float(np.einsum("fi,fi->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) / 6)


def unexported(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """(vertices, faces) before the export step reverses every face."""
    return torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces[:, ::-1].astype(np.int64))


@pytest.mark.parametrize("case", listed(STORED, "surface_grid.json"))
def test_the_grid_and_the_surface_of_a_sphere_are_the_released_ones(case: dict[str, Any]):
    bounds, resolution, level = case["bounds"], case["resolution"], case["mc_level"]
    asked: list[Tensor] = []

    def sphere(points: Tensor) -> Tensor:
        asked.append(points)
        # in float64: samples may lie on the sphere itself, where a rounding error is a sign
        return case["radius"] - (points.double() - torch.tensor(case["centre"], dtype=torch.float64)).norm(dim=1)[None]

    values = sample(sphere, resolution, bounds, chunk=1000)[0]
    points = torch.cat(asked).reshape(*case["grid_shape"], 3)
    for node, name in (((0, 0, 0), "first_point"), ((-1, -1, -1), "last_point"), ((1, 2, 3), "point_1_2_3")):
        assert points[node].tolist() == pytest.approx(case[f"grid_{name}"], abs=PLACE)
    mesh = mesh_of(values, bounds, level, "release")
    assert (len(mesh.vertices), len(mesh.faces)) == (case["vertex_count"], case["face_count"])
    assert mesh.vertices.min(axis=0) == pytest.approx(case["bbox_min"], abs=PLACE)
    assert mesh.vertices.max(axis=0) == pytest.approx(case["bbox_max"], abs=PLACE)
    assert mesh.vertices.mean(axis=0, dtype=np.float64) == pytest.approx(case["vertex_mean"], abs=PLACE)
    assert volume(mesh) == pytest.approx(case["signed_volume_exported_faces"], rel=1e-5)
    assert -volume(mesh) == pytest.approx(case["signed_volume_extractor_faces"], rel=1e-5)
    grid = torch.from_numpy(values)
    near = near_surface(grid, torch.ones_like(grid, dtype=torch.bool), 0.0)
    assert int(near.sum()) == case["near_surface_mask_count"]


@pytest.mark.parametrize("name", instances("vae"))
@torch.no_grad()
def test_dense_grids_and_their_meshes_equal_the_released_ones(name: str):
    vae, io = autoencoder(name), tensors(f"{name}_io")
    grids = [match for match in map(re.compile(r"grid(\d+)_logits").fullmatch, io) if match]
    if not grids:
        pytest.skip(f"{name}_io holds no dense grids")
    shape = vae.prepare(io["latents"][:1])
    for match in grids:
        resolution, level = int(match[1]), float(io[f"grid{match[1]}_mc_level"])
        wanted = io[f"grid{resolution}_vertices"], io[f"grid{resolution}_faces"]
        values = sample(lambda points: vae.field(points[None], shape), resolution, BOUNDS, chunk=700)
        assert gap(torch.from_numpy(values), io[match[0]]) <= GRID
        vertices, faces = unexported(mesh_of(io[match[0]][0].numpy(), BOUNDS, level, "release"))
        assert same(faces, wanted[1]) and gap(vertices, wanted[0]) <= PLACE  # of the recorded grid
        found = extract(
            lambda points: vae.field(points[None], shape)[0],
            resolution,
            level=level,
            coarse=resolution,
            extractor="release",
        )
        vertices, faces = unexported(found.mesh)  # of our own
        assert found.queries == found.dense == values.size
        assert same(faces, wanted[1]) and gap(vertices, wanted[0]) <= 1e-3 / resolution
