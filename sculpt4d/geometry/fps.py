"""Farthest point sampling: few rows that cover all points, the same rows on every machine."""

import numpy as np
from jaxtyping import Float, Int64


def farthest_points(points: Float[np.ndarray, "n 3"], count: int, start: int = 0) -> Int64[np.ndarray, " count"]:
    """Rows of `count` points, each the farthest from those before it, from row `start` on; ties go to the lowest row.

    Plain numpy: 4096 of 81,920 points take about 0.3 s, 512 of 10,000 five milliseconds. fpsample 1.0.2 is ten times
    faster and not used: its bucket samplers reorder the points and read the start row after that, so they begin at
    another point than asked for. ValueError when there are fewer points than asked for, or coordinates are not finite.
    """
    if not 0 < count <= len(points):
        raise ValueError(f"{count} points asked for, {len(points)} given: ask for 1 to {len(points)}, or sample more")
    if not 0 <= start < len(points):
        raise ValueError(f"start row {start} is not one of the {len(points)} points")
    if not np.isfinite(points).all():
        raise ValueError("points hold NaN or infinite coordinates: drop them before sampling")
    axes = np.ascontiguousarray(points.T, dtype=np.float32)
    rows = np.empty(count, dtype=np.int64)
    rows[0] = start
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    offset, squared = np.empty_like(axes), np.empty_like(nearest)
    for chosen in range(1, count):
        np.subtract(axes, axes[:, rows[chosen - 1], None], out=offset)
        np.einsum("cn,cn->n", offset, offset, out=squared)
        np.minimum(nearest, squared, out=nearest)
        rows[chosen] = nearest.argmax()
    return rows
