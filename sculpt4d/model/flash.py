"""Flash decoding of the release: sparse evaluation near the surface, with few latents per group of points.

Base spec 2.8 (b). It is an approximation, kept to compare numbers with the official program. The hierarchical decoder
of 2.8 (a) is broken in the release; `geometry.isosurface` is its corrected, exact form (coarse to fine search).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sculpt4d.model.field import DecodedShape, GeometryDecoder

SIDE = 4  # blocks per axis of the first grid
PARTS = 5.999  # cells per axis of the partition on finer grids: 6, the largest coordinate in the last cell
NEAR = 0.95  # the field saturates near 1
HEARD = 1e-6  # attention weight below which mode merge drops a latent
KEPT = {3072: 1024, 512: 256}  # latents that mode mean keeps; a third for other counts

Choice = Callable[[Float[Tensor, "1 h n k"], DecodedShape], DecodedShape]


class FlashGrid(NamedTuple):
    """Grid of field values.

    `values` are computed where `known`. Elsewhere they are interpolated from the previous grid (the release has NaN
    there). `queries`: points evaluated so far, on all grids.
    """

    values: Float[Tensor, "x y z"]
    known: Bool[Tensor, "x y z"]
    queries: int


@torch.no_grad()
def flash_grid(
    decoder: GeometryDecoder,
    shape: DecodedShape,
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
    resolution: int,
    level: float = 0.0,
    mode: str = "mean",
    minimum: int = 63,
    chunk: int = 8192,
) -> FlashGrid:
    """Values of one shape on the grid from corner `low` to `high` that the release uses for `resolution`.

    The grid has `flash_cells(resolution, minimum)[-1]` cells per axis. Each group of points attends, per head, to the
    third of the latents with the highest mean similarity to every hundredth of its points (every fiftieth on finer
    grids). On finer grids, mode "merge" keeps every latent that gets attention from any of every thirtieth of the
    points. The network evaluates `chunk` points at a time.
    Raises ValueError for another mode, for more than one shape, and for resolutions below 3.
    """
    if mode not in ("mean", "merge"):
        raise ValueError(f"flash mode {mode} is neither mean nor merge")
    if len(shape.keys) != 1:
        raise ValueError(f"{len(shape.keys)} shapes at once: the sparse decoder takes one")
    cells = flash_cells(resolution, minimum)
    place = _Places(low, high, chunk)
    grid = _first(decoder, shape, place, cells[0])
    for number, size in enumerate(cells[1:], start=2):
        marked = _marked(grid, level, last=number == len(cells))
        values = functional.interpolate(grid.values[None, None], marked.shape, mode="trilinear", align_corners=True)
        nodes = marked.nonzero()
        values[0, 0][tuple(nodes.T)] = _finer(decoder, shape, place, nodes, size, mode)
        grid = FlashGrid(values[0, 0], marked, grid.queries + len(nodes))
    return grid


def flash_cells(resolution: int, minimum: int = 63) -> list[int]:
    """Cells per axis from the first grid to the last; 384 gives 95, 190, 380."""
    first = resolution
    doublings = 0
    while first // 2 >= minimum:
        first, doublings = first // 2, doublings + 1
    first = round(first / SIDE) * SIDE - 1
    if first < 1:
        raise ValueError(f"resolution {resolution} is too coarse for the sparse decoder: take at least 3")
    return [first << doubling for doubling in range(doublings + 1)]


def near_surface(values: Float[Tensor, "x y z"], known: Bool[Tensor, "x y z"], offset: float) -> Bool[Tensor, "x y z"]:
    """Known nodes with a known axis neighbour whose value + offset has another sign. Zero counts as a separate sign."""
    sign = (values + offset).sign()
    near = torch.zeros_like(known)
    for axis in range(3):
        one, other = sign.narrow(axis, 1, sign.shape[axis] - 1), sign.narrow(axis, 0, sign.shape[axis] - 1)
        change = (one != other) & known.narrow(axis, 1, len(known) - 1) & known.narrow(axis, 0, len(known) - 1)
        near.narrow(axis, 1, len(known) - 1).logical_or_(change)
        near.narrow(axis, 0, len(known) - 1).logical_or_(change)
    return near


class _Places(NamedTuple):
    """Conversion of nodes to points, and the chunk size."""

    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]
    chunk: int

    def points(self, nodes: Int[Tensor, "n 3"], cells: int) -> Float[Tensor, "n 3"]:
        return nodes * ((self.high - self.low) / cells) + self.low


def _first(decoder: GeometryDecoder, shape: DecodedShape, place: _Places, cells: int) -> FlashGrid:
    """Evaluate every node of the first grid in groups of 4 x 4 x 4 blocks."""
    side = cells + 1
    index = torch.arange(side, device=place.low.device)
    nodes = torch.stack(torch.meshgrid(index, index, index, indexing="ij"), dim=-1)
    blocks = rearrange(nodes, "(i x) (j y) (k z) xyz -> (i j k) (x y z) xyz", i=SIDE, j=SIDE, k=SIDE)
    answers = [_group(decoder, shape, place.points(block, cells), 100, _best, place.chunk) for block in blocks]
    block_side = side // SIDE
    values = rearrange(
        torch.stack(answers), "(i j k) (x y z) -> (i x) (j y) (k z)", i=SIDE, j=SIDE, x=block_side, y=block_side
    )
    return FlashGrid(values, torch.ones_like(values, dtype=torch.bool), values.numel())


def _marked(grid: FlashGrid, level: float, last: bool) -> Bool[Tensor, "u v w"]:
    """Nodes of the next grid to evaluate. The release adds the level here."""
    near = near_surface(grid.values, grid.known, level) | (grid.known & (grid.values.abs() < NEAR))
    if not last:
        near = _dilate(near)
    marked = near.new_zeros([2 * size - 1 for size in near.shape])
    marked[::2, ::2, ::2] = near
    marked = _dilate(marked)
    return _dilate(marked) if last else marked


def _dilate(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    return functional.max_pool3d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def _finer(
    decoder: GeometryDecoder, shape: DecodedShape, place: _Places, nodes: Int[Tensor, "n 3"], cells: int, mode: str
) -> Float[Tensor, " n"]:
    """Values at the marked nodes, grouped by the cells of a 6 x 6 x 6 partition of their bounding box."""
    points = place.points(nodes, cells)
    every, choice = (50, _best) if mode == "mean" else (30, _heard)
    answers = points.new_empty(len(points))
    for rows in _partition(points):
        answers[rows] = _group(decoder, shape, points[rows], every, choice, place.chunk)
    return answers


def _partition(points: Float[Tensor, "n 3"]) -> Iterator[Int[Tensor, " m"]]:
    """Point indices of every non-empty cell."""
    if not len(points):
        return
    low, high = points.amin(dim=0), points.amax(dim=0)
    x, y, z = ((points - low) / (high - low).clamp_min(1e-9) * PARTS).floor().long().unbind(dim=1)
    # the first point of a cell selects its latents; the release relies on torch's default sort, which is not stable
    cell, order = (36 * x + 6 * y + z).sort()
    yield from order.split(cell.unique_consecutive(return_counts=True)[1].tolist())


def _group(
    decoder: GeometryDecoder, shape: DecodedShape, points: Float[Tensor, "n 3"], every: int, choice: Choice, chunk: int
) -> Float[Tensor, " n"]:
    """Values at the points of one group. All of them attend to the latents selected by every `every`-th point."""
    chosen = choice(decoder.embed(points[None, ::every]).queries, shape)
    answers = [decoder(part[None], chosen)[0] for part in points.split(chunk)]
    return torch.cat(answers)


def _best(queries: Float[Tensor, "1 h n k"], shape: DecodedShape) -> DecodedShape:
    """Latents with the highest mean similarity to the queries, per head."""
    similarity = (queries @ shape.keys.mT).mean(dim=2)
    kept = KEPT.get(shape.keys.shape[2], shape.keys.shape[2] // 3)
    rows = similarity.topk(kept, dim=-1).indices[..., None].expand(-1, -1, -1, shape.keys.shape[-1])
    return DecodedShape(shape.keys.gather(2, rows), shape.values.gather(2, rows))


def _heard(queries: Float[Tensor, "1 h n k"], shape: DecodedShape) -> DecodedShape:
    """Latents that get attention from any query in any head."""
    attention = (queries @ shape.keys.mT).softmax(dim=-1).mean(dim=1)
    rows = (attention > HEARD).any(dim=1)[0]
    return DecodedShape(shape.keys[:, :, rows], shape.values[:, :, rows])
