"""Morton order: sort points along a space-filling curve, so that neighbours in the order are neighbours in space."""

import numpy as np
from jaxtyping import Float, Int64

BITS = 20  # bits per coordinate: a millionth of the extent


def morton_order(points: Float[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
    """Indices of `points` sorted by the interleaved bits of their coordinates; ties keep their order.

    Coordinates are quantised over the bounding box of the points. Raises ValueError if they are not finite.
    """
    if not np.isfinite(points).all():
        raise ValueError("points hold NaN or infinite coordinates: drop them before ordering")
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    low, extent = points.min(axis=0), np.ptp(points, axis=0).max()
    scaled = (points.astype(np.float64) - low) / (extent if extent > 0 else 1.0)
    cells = np.minimum((scaled * 2**BITS).astype(np.int64), 2**BITS - 1)
    code = np.zeros(len(points), dtype=np.int64)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")
