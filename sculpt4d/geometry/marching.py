"""A grid of values to a mesh: marching cubes in true positions and closed, or as the official program places it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
from skimage.measure import marching_cubes

from sculpt4d.types import Mesh

EXTRACTORS = ("mc", "lewiner", "release")
NUDGE = 1e-2  # of the usual step across the surface: values nearer to zero make faces without area
Bounds = float | Sequence[float]  # half the side of a cube around the origin, or its least and its greatest corner


def corners(bounds: Bounds) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Least and greatest corner of the box. Raises ValueError unless it is one positive number or six that enclose."""
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
    """Where `values` (positive inside), sampled from corner to corner of the box, equal `level`; faces look outward.

    mc: closed and in place, see `march`. lewiner: alike with scikit-image's default table, which now and then gives an
    edge four faces. release: as the official program writes it, for comparison with its files (base spec 2.9): open
    where the solid meets the border, and placed as if R cells were R + 1, R being the `resolution` that was asked for
    (default: that of the grid). Empty where the level is not crossed. Raises ValueError for another extractor.
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
    """Zero level of `values` (positive inside); node (i, j, k) lies at origin + spacing * (i, j, k).

    Every edge of the result has exactly two faces, which face outward; empty where nothing is positive. A solid that
    reaches the border of the grid is closed half a cell beyond it.
    """
    if not (values > 0).any():
        return nothing()
    border = np.ones(np.add(values.shape, 2), dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    values = np.pad(values.astype(np.float32), 1, mode="edge")
    values[border] = -np.abs(values[border])
    crossing = (values[1:] > 0) != (values[:-1] > 0)
    step = NUDGE * float(np.abs(values[1:][crossing] - values[:-1][crossing]).mean())
    small = np.abs(values) < step
    values[small] = np.where(values[small] > 0, step, -step)
    # Lewiner's table, the default, now and then gives an edge four faces; they differ in ambiguous cells alone
    vertices, faces, _, _ = marching_cubes(values, 0.0, method=table)
    return _outward(origin + spacing * (vertices.astype(np.float64) - 1), faces)


def nothing() -> Mesh:
    """The mesh of a field that is positive nowhere."""
    return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))


def _outward(vertices: Float[np.ndarray, "v 3"], faces: np.ndarray) -> Mesh:
    """scikit-image orders faces for values that fall inward; ours rise, hence the reversal."""
    return Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces[:, ::-1], dtype=np.int32))
