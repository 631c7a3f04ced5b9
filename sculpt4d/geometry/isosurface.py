"""Isosurface extraction from any distance function: coarse-to-fine sampling near the level, then marching cubes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from sculpt4d.geometry.band import grow
from sculpt4d.geometry.marching import Bounds, corners, mesh_of
from sculpt4d.types import Mesh

Field = Callable[[Float[Tensor, "m 3"]], Float[Tensor, " m"]]
Fields = Callable[[Float[Tensor, "m 3"]], Float[Tensor, "k m"]]
Progress = Callable[[int], None]
HALF_DIAGONAL = 3**0.5 / 2  # of a cell: the largest distance of its points to the nearest corner


@dataclass(frozen=True)
class Extraction:
    """Extracted mesh, number of field queries, and number of points of the full grid."""

    mesh: Mesh
    queries: int
    dense: int


def extract(
    field: Field,
    resolution: int = 64,
    bounds: Bounds = 1.01,
    level: float = 0.0,
    coarse: int = 32,
    safety: float = 1.0,
    band: float = 0.0,
    extractor: str = "mc",
    chunk: int = 32768,
    start: Float32[np.ndarray, "x y z"] | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Extract the surface where `field` (positive inside) equals `level`, on a grid of `resolution` cells per axis.

    The box has `resolution` + 1 samples per axis. The first grid halves `resolution` for as long as the result is a
    whole number of at least `coarse` cells. Each finer grid interpolates the previous one. It then evaluates the field
    at the corners of every cell that the surface crosses, until all of these corners are known. So a piece of surface
    is followed to its end. It equals that of the dense grid if any grid on the way had samples on both sides of it.

    Thinner parts have no sample inside. Finer grids therefore also evaluate around suspicious nodes: those whose value
    would reach `level` within half a cell's diagonal at the local slope, times `safety`. In a distance field this finds
    every convex part that the dense grid shows, if parts are two cells of the first grid apart (see `_suspicious`).
    These parts can be missed:

    - thin parts closer together than that;
    - parts thinner than a cell of the first grid where the field saturates within 1.45 of those cells;
    - such parts where the field is not a distance (a network's, away from its data) and leaves no trace at the corners.

    Raise `coarse` for all of these, `safety` for the last. `band` also evaluates around all smaller absolute values, as
    the official program does (0.95). `safety=0` follows sign changes only. `coarse=resolution` is the dense grid.

    `field` gets at most `chunk` float32 CPU points per call, without gradients. `start`: values on the first grid from
    `sample`, if known; they count as queries. `progress` is called with the number of points after each call.
    Raises ValueError if the field is not finite. Returns an empty mesh if the field is nowhere positive.
    """
    cells = first_cells(resolution, coarse)

    def alone(points: Float[Tensor, "m 3"]) -> Float[Tensor, "1 m"]:
        return field(points)[None]

    values = sample(alone, cells, bounds, chunk, progress)[0] if start is None else start
    if values.shape != (cells + 1,) * 3:
        raise ValueError(f"start has shape {values.shape}: the first grid has {cells + 1} samples an axis")
    known, queries = np.ones(values.shape, dtype=bool), values.size
    while cells < resolution:
        suspicious = known & _suspicious(values - np.float32(level), safety, band)
        values, cells, known = _double(values), 2 * cells, _spread(known)
        wanted = grow(_spread(suspicious), 1) | _passed(values, level)
        while (missing := wanted & ~known).any():
            rows = np.flatnonzero(missing)
            values.reshape(-1)[rows] = _ask(alone, rows, cells, bounds, chunk, progress)[0]
            known |= missing
            queries += len(rows)
            wanted = _passed(values, level)
    return Extraction(mesh_of(values, bounds, level, extractor), queries, (resolution + 1) ** 3)


def first_cells(resolution: int, coarse: int) -> int:
    """Cells per axis of the first grid of `extract`."""
    if resolution < 1 or coarse < 1:
        raise ValueError(f"resolution {resolution} and coarse {coarse} must be at least 1")
    cells = resolution
    while cells % 2 == 0 and cells // 2 >= coarse:
        cells //= 2
    return cells


def sample(
    fields: Fields, cells: int, bounds: Bounds, chunk: int, progress: Progress | None = None
) -> Float32[np.ndarray, "k x y z"]:
    """Values of k fields, evaluated together, at every grid node: from corner to corner of the box, x slowest."""
    answers = _ask(fields, np.arange((cells + 1) ** 3), cells, bounds, chunk, progress)
    return answers.reshape(-1, *(cells + 1,) * 3)


def _ask(
    fields: Fields, rows: np.ndarray, cells: int, bounds: Bounds, chunk: int, progress: Progress | None
) -> Float32[np.ndarray, "k m"]:
    """Evaluate the fields at the grid nodes with these indices."""
    if chunk < 1:
        raise ValueError(f"chunk {chunk} must be at least 1")
    low, high = corners(bounds)
    answers = []
    for first in range(0, len(rows), chunk):
        part = rows[first : first + chunk]
        nodes = np.stack(np.unravel_index(part, (cells + 1,) * 3), axis=1)
        points = nodes * ((high - low) / cells) + low
        with torch.no_grad():
            answer = fields(torch.from_numpy(points.astype(np.float32))).float().cpu().numpy()
        if answer.shape[-1] != len(part) or not np.isfinite(answer).all():
            raise ValueError(
                f"the field gave {answer.shape[-1]} values, {int(np.isfinite(answer).sum())} of them finite, for "
                f"{len(part)} points: check its weights and precision"
            )
        answers.append(answer)
        if progress is not None:
            progress(len(part))
    return np.concatenate(answers, axis=1)


def _suspicious(values: Float32[np.ndarray, "x y z"], safety: float, band: float) -> Bool[np.ndarray, "x y z"]:
    """Nodes near which a part may lie that no sample has hit.

    Let x be a point of the part, h the side of a cell and y the node nearest to x. They are at most h sqrt(3) / 2
    apart, so a field that is s times the distance has |f(y)| <= s h sqrt(3) / 2. The distance to a convex part is a
    convex function: away from the part it grows along axis i by at least h |n_i| from y to its neighbour, n being the
    unit gradient at y. Hence the norm of the larger differences per axis is at least s h, and |f(y)| at most sqrt(3) /
    2 of it: `safety` 1 finds y. x lies within half a cell of y on every axis. So the grid of half the cell size
    evaluates y and one node around it, which includes the node next to x. The argument repeats down to the grid that
    hits the part. A field that saturates at a distance of 1.45 h or more does not affect this (worst case: n along a
    cell's diagonal).
    """
    squared = np.zeros_like(values)
    for axis in range(3):
        step, larger = np.moveaxis(np.abs(np.diff(values, axis=axis)), axis, 0), np.zeros_like(values)
        view = np.moveaxis(larger, axis, 0)
        view[1:] = step
        view[:-1] = np.maximum(view[:-1], step)
        squared += larger**2
    size = np.abs(values)
    # strictly less: a flat field contains no distance information
    return (size < safety * HALF_DIAGONAL * np.sqrt(squared)) | (size < band)


def _passed(values: Float32[np.ndarray, "x y z"], level: float) -> Bool[np.ndarray, "x y z"]:
    """Corners of every cell that has corners both inside and outside.

    Both ends of every cut edge would suffice for the vertices, but not to end the search: in an ambiguous face the two
    known edges can hide the other two.
    """
    some = every = values > level
    for axis in range(3):
        one, all_ = np.moveaxis(some, axis, 0), np.moveaxis(every, axis, 0)
        some, every = np.moveaxis(one[1:] | one[:-1], 0, axis), np.moveaxis(all_[1:] & all_[:-1], 0, axis)
    corner = some & ~every
    for axis in range(3):
        cell = np.moveaxis(corner, axis, 0)
        node = np.zeros((len(cell) + 1, *cell.shape[1:]), dtype=bool)
        node[1:] = cell
        node[:-1] |= cell
        corner = np.moveaxis(node, 0, axis)
    return corner


def _spread(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "u v w"]:
    """Mark the nodes on the grid of half the cell size."""
    fine = np.zeros(np.multiply(mask.shape, 2) - 1, dtype=bool)
    fine[::2, ::2, ::2] = mask
    return fine


def _double(values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "u v w"]:
    """Interpolate to the grid of half the cell size; new nodes are the mean of their neighbours."""
    for axis in range(3):
        coarse = np.moveaxis(values, axis, 0)
        fine = np.empty((2 * len(coarse) - 1, *coarse.shape[1:]), dtype=np.float32)
        fine[::2] = coarse
        fine[1::2] = (coarse[1:] + coarse[:-1]) / 2
        values = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(values)
