"""Morton order: rows of points sorted so that neighbours in the list are neighbours in space (the Z curve)."""

import numpy as np
from jaxtyping import Float, Int64

BITS = 16  # of each coordinate


def morton_order(points: Float[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
    """Rows of `points` along the Z curve of their bounding cube; rows of one cell keep their order.

    A radial attention pattern takes neighbouring tokens for neighbours in space: sort the query points of a clip by
    this, `queries[morton_order(points[queries])]`, before they are encoded. ValueError for NaN or infinite points.
    """
    if not np.isfinite(points).all():
        raise ValueError("points hold NaN or infinite coordinates: drop them before sorting")
    low = points.min(axis=0, initial=np.inf)
    side = (points.max(axis=0, initial=-np.inf) - low).max(initial=0) if len(points) else 0.0
    cells = ((points - low) / (side or 1.0) * (2**BITS - 1)).astype(np.uint64)
    code = np.zeros(len(points), dtype=np.uint64)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + 2 - axis)
    return np.argsort(code, kind="stable")
