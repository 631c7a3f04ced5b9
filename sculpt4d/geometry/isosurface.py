"""The surface of any distance function: sampled coarse to fine near its zero level, then marching cubes."""

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
HALF_DIAGONAL = 3**0.5 / 2  # of a cell: no point of it lies farther from the nearest corner


@dataclass(frozen=True)
class Extraction:
    """A surface, the number of points that its field was asked at, and the number of the whole grid's."""

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
    """Where `field` (positive inside) equals `level`, as `mesh_of` makes it of a grid with `resolution` cells an axis.

    The box has `resolution` + 1 samples per axis. The first grid halves `resolution` for as long as the result is a
    whole number of at least `coarse` cells. Each finer grid interpolates it and asks the field at the corners of every
    cell that the surface passes through, until all of them are known: a piece of surface is followed to its end, and
    is that of the dense grid wherever any grid on the way had samples on both sides of it.

    Thinner parts have no sample inside, so finer grids also ask around suspicious nodes: those whose value would fall
    to `level` within half a cell's diagonal at the slope seen there, times `safety`. In a distance field this finds
    every part that the dense grid shows, if it is convex and parts stand two cells of the first grid apart (see
    `_suspicious`). Missed can be: thin parts closer together than that, and in a field that is no distance (a network's
    away from its data) parts thinner than a cell that leave no trace at the corners around them. Raise `coarse` for
    both, `safety` for the latter. `band` asks around all values below it in size, as the official program does (0.95);
    `safety=0` follows sign changes alone; `coarse=resolution` is the dense grid.

    `field` gets at most `chunk` float32 CPU points at a time, without gradients. `start`: its values on the first grid,
    from `sample`, if they are known already; they count as queries. `progress` hears the number of points after each
    call. ValueError when the field is not finite; an empty mesh when it is positive nowhere.
    """
    cells = first_cells(resolution, coarse)
    alone: Fields = lambda points: field(points)[None]  # noqa: E731
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
    """Cells per axis of the grid that `extract` starts with."""
    if resolution < 1 or coarse < 1:
        raise ValueError(f"resolution {resolution} and coarse {coarse} must be at least 1")
    cells = resolution
    while cells % 2 == 0 and cells // 2 >= coarse:
        cells //= 2
    return cells


def sample(
    fields: Fields, cells: int, bounds: Bounds, chunk: int, progress: Progress | None = None
) -> Float32[np.ndarray, "k x y z"]:
    """Values of k fields, asked together, at every node of a grid: from corner to corner of the box, x slowest."""
    answers = _ask(fields, np.arange((cells + 1) ** 3), cells, bounds, chunk, progress)
    return answers.reshape(-1, *(cells + 1,) * 3)


def _ask(
    fields: Fields, rows: np.ndarray, cells: int, bounds: Bounds, chunk: int, progress: Progress | None
) -> Float32[np.ndarray, "k m"]:
    """Values at the nodes of the grid with these rows."""
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
    """Nodes that may have a part nearby which no sample has met.

    Let x be a point of the part, h the side of a cell and y the node nearest to x. They are at most h sqrt(3) / 2
    apart, so a field that is s times the distance has |f(y)| <= s h sqrt(3) / 2. The distance to a convex part is a
    convex function: away from the part it grows along axis i by at least h |n_i| from y to its neighbour, n the unit
    gradient at y. Hence the norm of the larger differences per axis is at least s h, and |f(y)| at most sqrt(3) / 2 of
    it: `safety` 1 finds y. x lies within half a cell of y on every axis, so the grid of half the cell asks at y and one
    node around it, the node next to x is among them, and the argument repeats down to the grid that meets the part. A
    field that saturates at a distance of 1.45 h or more does not disturb this (worst where n is a cell's diagonal).
    """
    squared = np.zeros_like(values)
    for axis in range(3):
        step, larger = np.moveaxis(np.abs(np.diff(values, axis=axis)), axis, 0), np.zeros_like(values)
        view = np.moveaxis(larger, axis, 0)
        view[1:] = step
        view[:-1] = np.maximum(view[:-1], step)
        squared += larger**2
    size = np.abs(values)
    # strictly less: where the field is flat it says nothing of distance
    return (size < safety * HALF_DIAGONAL * np.sqrt(squared)) | (size < band)


def _passed(values: Float32[np.ndarray, "x y z"], level: float) -> Bool[np.ndarray, "x y z"]:
    """Corners of every cell that has some of them inside and some outside.

    Both ends of every cut edge would do for the vertices, but not for the end of the search: in an ambiguous face the
    two edges that are known can hide the other two.
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
    """The nodes of a grid among those of the grid of half the cell."""
    fine = np.zeros(np.multiply(mask.shape, 2) - 1, dtype=bool)
    fine[::2, ::2, ::2] = mask
    return fine


def _double(values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "u v w"]:
    """The grid of half the cell, new nodes halfway between their neighbours."""
    for axis in range(3):
        coarse = np.moveaxis(values, axis, 0)
        fine = np.empty((2 * len(coarse) - 1, *coarse.shape[1:]), dtype=np.float32)
        fine[::2] = coarse
        fine[1::2] = (coarse[1:] + coarse[:-1]) / 2
        values = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(values)
