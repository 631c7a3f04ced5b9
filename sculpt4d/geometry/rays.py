"""Winding numbers at grid nodes, counted along columns, to find the nodes inside closed surfaces."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int16, Integer

# Columns are offset slightly from the nodes, so that none hits an edge or vertex of a mesh with round coordinates.
BESIDE = (1.0e-4 * np.sqrt(2), 1.0e-4 * np.sqrt(3))  # cells
CHUNK = 1 << 20  # triangle-column pairs per batch


def winding_grid(triangles: Float[np.ndarray, "f 3 3"], shape: Sequence[int]) -> Int16[np.ndarray, "x y z"]:
    """Winding numbers of a closed surface at the nodes of a grid.

    `shape`: three node counts. `triangles`: in index units. A column along the third axis enters the surface at a face
    that looks down and leaves it at one that looks up. Exact except for nodes within about 2e-4 cells of the surface.
    Meaningless for surfaces with a border.
    """
    change = np.zeros(shape, dtype=np.int16)
    flat = change.reshape(-1)
    triangles = triangles.astype(np.float64)
    plane = triangles[:, :, :2] - BESIDE
    first = np.clip(np.ceil(plane.min(axis=1)), 0, shape[:2]).astype(np.int64)
    last = np.clip(np.floor(plane.max(axis=1)), -1, np.subtract(shape[:2], 1)).astype(np.int64)
    below = triangles[:, :, 2].min(axis=1) <= shape[2] - 1
    size = np.where(below[:, None], np.maximum(last - first + 1, 0), 0)
    pairs = np.cumsum(size[:, 0] * size[:, 1])
    start = 0
    while start < len(pairs):
        done = pairs[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(pairs, done + CHUNK, side="right")))
        rows = np.repeat(np.arange(start, stop), size[start:stop, 0] * size[start:stop, 1])
        if len(rows):
            inner = np.arange(len(rows)) - (pairs[rows] - size[rows, 0] * size[rows, 1] - done)
            column = first[rows] + np.stack([inner // size[rows, 1], inner % size[rows, 1]], axis=1)
            _count_crossings(flat, plane[rows], triangles[rows, :, 2], column, shape)
        start = stop
    return np.cumsum(change, axis=2, dtype=np.int16, out=change)


def _count_crossings(
    change: Int16[np.ndarray, " n"],
    plane: Float[np.ndarray, "k 3 2"],
    height: Float[np.ndarray, "k 3"],
    column: Integer[np.ndarray, "k 2"],
    shape: Sequence[int],
) -> None:
    """Add each crossing of a column with its triangle to the first node above it: +1 where the column enters."""
    corner = plane - column[:, None]
    following = np.roll(corner, -1, axis=1)
    # twice the areas column-corner-corner; inside the triangle all have one sign and sum to its area
    area = corner[:, :, 0] * following[:, :, 1] - corner[:, :, 1] * following[:, :, 0]
    hit = (area > 0).all(axis=1) | (area < 0).all(axis=1)
    area, height, column = area[hit], height[hit], column[hit]
    total = area.sum(axis=1)
    crossing = np.einsum("ki,ki->k", np.roll(area, -1, axis=1), height) / total
    node = np.clip(np.ceil(crossing), 0, shape[2]).astype(np.int64)  # a crossing may exceed the integer range
    kept = node < shape[2]
    row = (column[kept, 0] * shape[1] + column[kept, 1]) * shape[2] + node[kept]
    np.add.at(change, row, np.where(total[kept] < 0, 1, -1).astype(np.int16))
