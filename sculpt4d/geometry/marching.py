"""Marching cubes: a grid of values to a mesh.

The mesh is closed and in true positions, or placed as in the official program.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
from skimage.measure import marching_cubes

from sculpt4d.types import Mesh

EXTRACTORS = ("mc", "lewiner", "release")
NUDGE = 1e-2  # fraction of the usual step across the surface; values nearer to zero give faces without area
Bounds = float | Sequence[float]  # half the side of a cube around the origin, or the minimum and maximum corner


def corners(bounds: Bounds) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Minimum and maximum corner of the box.

    Raises ValueError unless `bounds` is one positive number or six that enclose a volume.
    """
    given = np.asarray(bounds, dtype=np.float64).reshape(-1)
    box = np.concatenate([-given.repeat(3), given.repeat(3)]) if len(given) == 1 else given
    if len(box) != 6 or not (box[:3] < box[3:]).all():
        raise ValueError(f"bounds={bounds}: give one positive number, or six, the least corner before the greatest")
    return box[:3], box[3:]


def mesh_of(
    values: Float[np.ndarray, "x y z"],
    bounds: Bounds,
    level: float = 0.0,
    extractor: str = "mc",
    resolution: int | None = None,
) -> Mesh:
    """Mesh where `values` (positive inside) equal `level`; faces look outward.

    The grid is sampled from corner to corner of the box. `extractor`:
    - mc: closed and in true positions, see `march`.
    - lewiner: the same with scikit-image's default table, which occasionally gives an edge four faces.
    - release: as the official program writes it, for comparison with its files (base spec 2.9). It is open where the
      solid meets the border, and placed as if R cells were R + 1. R is the requested `resolution` (default: the
    grid's).

    The mesh is empty if the level is not crossed. Raises ValueError for another extractor.
    """
    if extractor not in EXTRACTORS:
        raise ValueError(f"extractor={extractor} is not one of {', '.join(EXTRACTORS)}")
    low, high = corners(bounds)
    if extractor != "release":
        spacing = (high - low) / np.subtract(values.shape, 1)
        return march(values - np.float32(level), low, spacing, "lorensen" if extractor == "mc" else "lewiner")
    inside = values > level
    if inside.all() or not inside.any():
        return nothing()
    vertices, faces, _, _ = marching_cubes(values, level)
    cells = values.shape[0] - 1 if resolution is None else resolution
    return _outward(vertices / (cells + 1) * (high - low) + low, faces)


def march(
    values: Float[np.ndarray, "x y z"],
    origin: float | Float64[np.ndarray, "3"],
    spacing: float | Float64[np.ndarray, "3"],
    table: str = "lorensen",
) -> Mesh:
    """Mesh at the zero level of `values` (positive inside). Node (i, j, k) lies at origin + spacing * (i, j, k).

    Every edge of the result has exactly two faces, which face outward. The mesh is empty if nothing is positive. A
    solid that reaches the border of the grid is closed half a cell beyond it.
    """
    if not (values > 0).any():
        return nothing()
    values = values.astype(np.float32)
    rise = np.abs(np.diff(values, axis=0)[(values[1:] > 0) != (values[:-1] > 0)])
    step = NUDGE * float(rise.mean() if len(rise) else np.abs(values).mean())
    small = np.abs(values) < step
    values[small] = np.where(values[small] > 0, step, -step)
    border = np.ones(np.add(values.shape, 2), dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    values = np.pad(values, 1, mode="edge")
    values[border] = -np.abs(values[border])
    # Lewiner's table, the default, sometimes gives an edge four faces; the tables differ only in ambiguous cells
    vertices, faces, _, _ = marching_cubes(values, 0.0, method=table)
    return _outward(origin + spacing * (vertices.astype(np.float64) - 1), faces)


def nothing() -> Mesh:
    """Empty mesh, for a field that is nowhere positive."""
    return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))


def _outward(vertices: Float[np.ndarray, "v 3"], faces: np.ndarray) -> Mesh:
    """Reverse the faces: scikit-image orders them for values that decrease inward; ours increase."""
    return Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces[:, ::-1], dtype=np.int32))
