"""From field values to a mesh, as the release does it: grid points, near-surface cells, marching cubes, R + 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn import functional

Bounds = float | Sequence[float]
FIELD = "radius - distance to centre, positive inside"
HOLE = -9000.0  # values at or below it stand for points never evaluated


def corners(bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (3,); one number is a cube around the origin."""
    box = [-bounds] * 3 + [bounds] * 3 if isinstance(bounds, int | float) else list(bounds)
    return np.array(box[:3], dtype=np.float64), np.array(box[3:], dtype=np.float64)


def grid(bounds: Bounds, cells: int) -> Tensor:
    """Grid points (cells + 1, cells + 1, cells + 1, 3) in float32, both ends included, x slowest."""
    low, high = corners(bounds)
    axes = [np.linspace(low[axis], high[axis], cells + 1, dtype=np.float32) for axis in range(3)]
    return torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def near_surface(field: Tensor, offset: float) -> Tensor:
    """Cells of a cubic field (n, n, n) with an axis neighbour of another sign, the offset added first."""
    moved = field + offset
    padded = functional.pad(moved[None, None], (1,) * 6, mode="replicate")[0, 0]
    marked = torch.zeros_like(moved, dtype=torch.bool)
    size = field.shape[0]
    for axis in range(3):
        for start in (0, 2):
            neighbour = padded
            for along in range(3):
                neighbour = neighbour.narrow(along, start if along == axis else 1, size)
            neighbour = torch.where(neighbour <= HOLE, moved, neighbour)
            marked |= neighbour.sign() != moved.sign()
    return marked & (moved > HOLE)


def extract(field: Tensor, level: float, bounds: Bounds, resolution: int) -> tuple[Tensor, Tensor]:
    """Vertices (v, 3) in float32 and faces (f, 3) of the extractor; the divisor is the resolution asked for + 1."""
    vertices, faces, _, _ = marching_cubes(field.float().numpy(), level)
    low, high = corners(bounds)
    world = vertices / (resolution + 1) * (high - low) + low
    return torch.from_numpy(world.astype(np.float32)), torch.from_numpy(faces.astype(np.int64))


def volume(vertices: Tensor, faces: Tensor) -> float:
    """Signed volume, positive for outward faces."""
    a, b, c = vertices.double()[faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def surface_case(case: dict[str, Any]) -> dict[str, Any]:
    """A case of `surface_grid.json` from its resolution, bounds, radius, centre and level."""
    resolution, bounds, level = case["resolution"], case["bounds"], case["mc_level"]
    points = grid(bounds, resolution)
    # in float64: some cases have grid points at the radius itself, where a rounding error is a sign
    field = case["radius"] - (points.double() - torch.tensor(case["centre"], dtype=torch.float64)).norm(dim=-1)
    vertices, faces = extract(field, level, bounds, resolution)
    given = {name: case[name] for name in ("resolution", "bounds", "radius", "centre", "mc_level")}
    return given | {
        "field": FIELD,
        "grid_shape": list(field.shape),
        "grid_first_point": points[0, 0, 0].tolist(),
        "grid_last_point": points[-1, -1, -1].tolist(),
        "grid_point_1_2_3": points[1, 2, 3].tolist(),
        "vertex_count": len(vertices),
        "face_count": len(faces),
        "bbox_min": vertices.amin(0).tolist(),
        "bbox_max": vertices.amax(0).tolist(),
        "vertex_mean": vertices.mean(0).tolist(),
        "signed_volume_extractor_faces": volume(vertices, faces),
        "signed_volume_exported_faces": volume(vertices, faces.flip(1)),
        "near_surface_mask_count": int(near_surface(field, 0.0).sum()),
    }
