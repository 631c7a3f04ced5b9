"""Bounding box of a clip: the only place that determines the animation's centre and size."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

HALF_EXTENT = 0.49  # half of the longest side; the closed surface around the mesh needs the rest of [-0.5, 0.5]


class Box(NamedTuple):
    """Centre and scale of a clip.

    `center` (3,): centre of the bounds over all frames, in file units. `scale`: factor from file units to box units.
    """

    center: Float[np.ndarray, "3"]
    scale: float


def clip_box(vertices: Float[np.ndarray, "t v 3"]) -> Box:
    """Bounding box of all frames. Raises ValueError if vertices are not finite or all coincide."""
    if vertices.size == 0:
        raise ValueError(f"no vertices to bound: shape {vertices.shape}, expected (t, v, 3) with t and v above 0")
    low, high = vertices.min(axis=(0, 1)).astype(np.float64), vertices.max(axis=(0, 1)).astype(np.float64)
    extent = float((high - low).max())
    if not np.isfinite(extent):
        raise ValueError("vertices hold NaN or infinite coordinates: repair or drop those frames first")
    if extent <= 0:
        raise ValueError("all vertices of all frames coincide: there is no object to bring into the box")
    return Box(((low + high) / 2).astype(np.float32), 2 * HALF_EXTENT / extent)


def to_box(points: Float[np.ndarray, "*n 3"], box: Box) -> Float[np.ndarray, "*n 3"]:
    """Map file units to [-0.5, 0.5]^3. The clip's longest side becomes [-0.49, 0.49]."""
    return ((points - box.center) * box.scale).astype(np.float32)
