"""The surface of any distance function: sampled coarse to fine near its zero level, then marching cubes."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from sculpt4d.geometry.band import grow
from sculpt4d.geometry.marching import march
from sculpt4d.types import Mesh

Field = Callable[[Float[Tensor, "m 3"]], Float[Tensor, " m"]]
Progress = Callable[[int], None]


def extract(
    field: Field,
    resolution: int = 64,
    extent: float = 1.01,
    level: float = 0.0,
    coarse: int = 32,
    band: float = 0.95,
    chunk: int = 32768,
    progress: Progress | None = None,
) -> Mesh:
    """Where `field` (positive inside) equals `level`: a closed, outward mesh in the coordinates of the field.

    The cube [-extent, extent]^3 has resolution + 1 samples per axis. The first grid halves `resolution` for as long as
    the result is a whole number of at least `coarse` cells; each finer grid asks the field only near samples next to a
    change of sign or below `band` in size (the released field saturates at 1) and interpolates the rest. It asks on
    until both ends of every cut edge are known, so the mesh is that of the dense grid, except for pieces that no
    coarse sample noticed; `coarse=resolution` is the dense grid. Solids are cut off half a cell beyond the cube.

    `field` gets at most `chunk` float32 CPU points at a time, without gradients. `progress` hears the number of points
    after each call. ValueError when the field is not finite; an empty mesh when it is positive nowhere.
    """
    if resolution < 1 or chunk < 1:
        raise ValueError(f"resolution {resolution} and chunk {chunk} must be at least 1")
    cells = resolution
    while cells % 2 == 0 and cells // 2 >= coarse:
        cells //= 2
    values = np.empty((cells + 1,) * 3, dtype=np.float32)
    _ask(field, values, np.ones_like(values, dtype=bool), extent, level, chunk, progress)
    while cells < resolution:
        wanted = np.zeros((2 * cells + 1,) * 3, dtype=bool)
        wanted[::2, ::2, ::2] = _cut(values) | (np.abs(values) < band)
        known = np.zeros_like(wanted)
        known[::2, ::2, ::2] = True
        values, cells, wanted = _double(values), 2 * cells, grow(wanted, 2)
        while (missing := wanted & ~known).any():
            _ask(field, values, missing, extent, level, chunk, progress)
            known |= missing
            wanted = _cut(values)
    return march(values, -extent, 2 * extent / resolution)


def _ask(
    field: Field,
    values: Float32[np.ndarray, "x y z"],
    where: Bool[np.ndarray, "x y z"],
    extent: float,
    level: float,
    chunk: int,
    progress: Progress | None,
) -> None:
    """Put field - level into `values` at the marked nodes."""
    spacing = 2 * extent / (len(values) - 1)
    rows = np.flatnonzero(where)
    flat = values.reshape(-1)
    for first in range(0, len(rows), chunk):
        part = rows[first : first + chunk]
        points = np.stack(np.unravel_index(part, where.shape), axis=1) * spacing - extent
        with torch.no_grad():
            answer = field(torch.from_numpy(points.astype(np.float32))).float().cpu().numpy().reshape(-1)
        if len(answer) != len(part) or not np.isfinite(answer).all():
            raise ValueError(
                f"the field gave {len(answer)} values, {int(np.isfinite(answer).sum())} of them finite, for "
                f"{len(part)} points: check its weights and precision"
            )
        flat[part] = answer - level
        if progress is not None:
            progress(len(part))


def _cut(values: Float32[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Nodes with an axis neighbour on the other side."""
    inside, cut = values > 0, np.zeros(values.shape, dtype=bool)
    for axis in range(3):
        side, near = np.moveaxis(inside, axis, 0), np.moveaxis(cut, axis, 0)
        change = side[1:] != side[:-1]
        near[1:] |= change
        near[:-1] |= change
    return cut


def _double(values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "u v w"]:
    """The grid of twice the cells, new nodes halfway between their neighbours."""
    for axis in range(3):
        coarse = np.moveaxis(values, axis, 0)
        fine = np.empty((2 * len(coarse) - 1, *coarse.shape[1:]), dtype=np.float32)
        fine[::2] = coarse
        fine[1::2] = (coarse[1:] + coarse[:-1]) / 2
        values = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(values)
