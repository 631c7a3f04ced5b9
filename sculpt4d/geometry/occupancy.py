"""Solid occupancy of meshes on a lattice of cells, inside a box and beyond it. Used for the IoU of two meshes."""

from collections.abc import Sequence
from typing import NamedTuple

import igl
import numpy as np
from jaxtyping import Bool, Float

from sculpt4d.geometry.parts import is_closed, usable
from sculpt4d.geometry.rays import winding_grid
from sculpt4d.geometry.triangles import enclosed_volume, face_areas
from sculpt4d.types import Mesh

BEYOND = 32  # maximum lattice size beyond the box, in multiples of the box's cells; cells get coarser above it
SLAB = 1 << 21  # cell centres per call of the generalised winding number


class Beyond(NamedTuple):
    """Volume outside the box, in cells of the box: inside at least one mesh, and inside all."""

    either: float
    both: float


def occupancy(mesh: Mesh, resolution: int = 64, extent: float = 1.0) -> Bool[np.ndarray, "r r r"]:
    """Which centres of resolution^3 cells of [-extent, extent]^3 lie inside: winding number above one half.

    Overlapping parts count once. Closed meshes are counted exactly along grid columns. Meshes with holes use
    generalised winding numbers at every centre, which close holes smoothly and cost about ten times more. A mesh that
    is inside out as a whole (negative volume) is reversed. An empty or fully degenerate mesh has no interior.
    """
    spacing = 2 * extent / resolution
    return _solid(mesh, np.full(3, -extent + spacing / 2), spacing, (resolution,) * 3)


def occupancy_beyond(meshes: Sequence[Mesh], resolution: int = 64, extent: float = 1.0) -> Beyond:
    """Volume of the meshes outside [-extent, extent]^3, counted on the lattice of `occupancy` extended beyond the box.

    (0, 0) if no mesh reaches a cell centre there. Time and memory are bounded: the lattice spans the bounds of the
    meshes that leave the box. While it would exceed `BEYOND` * resolution^3 cells, the cell side is doubled. A larger
    cell counts as the number of cells outside the box that it replaces.
    """
    spacing = 2 * extent / resolution
    ranges = [_centres(mesh, spacing, extent) for mesh in meshes]
    out = [(low <= high).all() and (low.min() < 0 or high.max() >= resolution) for low, high in ranges]
    if not any(out):
        return Beyond(0.0, 0.0)
    low = np.min([low for (low, _), far in zip(ranges, out, strict=True) if far], axis=0)
    high = np.max([high for (_, high), far in zip(ranges, out, strict=True) if far], axis=0)
    side = 1.0  # side of a cell, in cells of the box
    while np.prod(np.floor(high / side) - np.floor(low / side) + 1) > BEYOND * resolution**3:
        side *= 2
    low, high = np.floor(low / side), np.floor(high / side)
    shape = tuple(int(count) for count in high - low + 1)
    first = -extent + (low + 0.5) * side * spacing
    solids = [_solid(mesh, first, side * spacing, shape) for mesh, far in zip(meshes, out, strict=True) if far]
    shares = [_shares(start, count, side, resolution) for start, count in zip(low, shape, strict=True)]
    both = _outside(np.logical_and.reduce(solids), shares, side) if all(out) else 0.0
    return Beyond(_outside(np.logical_or.reduce(solids), shares, side), both)


def _centres(mesh: Mesh, spacing: float, extent: float) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Minimum and maximum index along every axis of the lattice centres within the bounds of the mesh's faces.

    Indices of the box count from 0. They are whole numbers stored as floats, which hold any size. If there is no
    centre, the minimum exceeds the maximum.
    """
    corners = mesh.vertices[mesh.faces].reshape(-1, 3).astype(np.float64)
    corners = corners[np.isfinite(corners).all(axis=1)]
    if not len(corners):
        return np.ones(3), np.zeros(3)
    low, high = ((end + extent) / spacing - 0.5 for end in (corners.min(axis=0), corners.max(axis=0)))
    return np.ceil(low), np.floor(high)


def _shares(start: float, count: int, side: float, resolution: int) -> Float[np.ndarray, " n"]:
    """Number of box cells that each of `count` lattice cells covers along an axis, from index `start` on."""
    edges = np.clip((start + np.arange(count + 1)) * side, 0, resolution)
    return np.diff(edges)


def _outside(solid: Bool[np.ndarray, "x y z"], shares: Sequence[Float[np.ndarray, " _"]], side: float) -> float:
    """Volume of the cells minus the part inside the box."""
    within = [np.flatnonzero(share) for share in shares]
    if not all(map(len, within)):
        return float(solid.sum()) * side**3
    inner = np.einsum(
        "xyz,x,y,z->", solid[np.ix_(*within)], *(share[rows] for share, rows in zip(shares, within, strict=True))
    )
    return float(solid.sum()) * side**3 - float(inner)


def _solid(
    mesh: Mesh, first: Float[np.ndarray, "3"], spacing: float, shape: tuple[int, ...]
) -> Bool[np.ndarray, "x y z"]:
    """Which lattice centres lie inside. `first` is the index of the first cell."""
    solid = np.zeros(shape, dtype=bool)
    if not face_areas(mesh.vertices, mesh.faces).any():
        return solid
    vertices, _, faces = usable(mesh.vertices, mesh.faces)
    if enclosed_volume(vertices, faces) < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    if is_closed(faces):
        return winding_grid((vertices[faces] - first) / spacing, shape) > 0
    axes = [start + spacing * np.arange(count) for start, count in zip(first, shape, strict=True)]
    thick = max(1, SLAB // (shape[1] * shape[2]))
    for row in range(0, shape[0], thick):
        slab = axes[0][row : row + thick]
        centres = np.stack(np.meshgrid(slab, *axes[1:], indexing="ij"), axis=-1).reshape(-1, 3)
        winding = igl.fast_winding_number(vertices, faces, centres)
        solid[row : row + thick] = (winding > 0.5).reshape(len(slab), *shape[1:])
    return solid
