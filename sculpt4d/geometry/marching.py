"""A grid of values to a closed mesh: marching cubes padded with outside, without degenerate faces."""

import numpy as np
from jaxtyping import Float
from skimage.measure import marching_cubes

from sculpt4d.types import Mesh

NUDGE = 1e-2  # of the usual step across the surface: values nearer to zero make faces without area


def march(values: Float[np.ndarray, "x y z"], origin: float, spacing: float) -> Mesh:
    """Zero level of `values` (positive inside); node (i, j, k) lies at origin + spacing * (i, j, k).

    Every edge of the result has exactly two faces, which face outward; empty where nothing is positive. A solid that
    reaches the border of the grid is closed half a cell beyond it.
    """
    if not (values > 0).any():
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    border = np.ones(np.add(values.shape, 2), dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    values = np.pad(values.astype(np.float32), 1, mode="edge")
    values[border] = -np.abs(values[border])
    crossing = (values[1:] > 0) != (values[:-1] > 0)
    step = NUDGE * float(np.abs(values[1:][crossing] - values[:-1][crossing]).mean())
    small = np.abs(values) < step
    values[small] = np.where(values[small] > 0, step, -step)
    # Lewiner's table, the default, now and then gives an edge four faces; they differ in ambiguous cells alone
    vertices, faces, _, _ = marching_cubes(values, 0.0, method="lorensen")
    # scikit-image orders faces for values that fall inward; ours rise, hence the reversal
    vertices = origin + spacing * (vertices.astype(np.float64) - 1)
    return Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces[:, ::-1], dtype=np.int32))
