"""The release's sparse "flash" decoding: near the surface alone, each group of points reading its best latents.

Base spec 2.8 (b). An approximation, kept to compare numbers with the official program. 2.8 (a), the hierarchical
decoder that is broken there, is in its corrected form our exact coarse to fine search (geometry.isosurface).
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
PARTS = 5.999  # cells per axis of the partition of the finer grids' points: 6, the greatest coordinate in the last
NEAR = 0.95  # the field saturates near 1
HEARD = 1e-6  # attention below which mode merge drops a latent
KEPT = {3072: 1024, 512: 256}  # latents kept by mode mean where it is not a third of them

Choice = Callable[[Float[Tensor, "1 h n k"], DecodedShape], DecodedShape]


class FlashGrid(NamedTuple):
    """`values` where `known`; elsewhere what the grid before says, interpolated (the release has NaN there).

    queries: points asked so far, on all grids.
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
    """Values of one shape on the grid from corner `low` to `high` that the release answers `resolution` with.

    It has `flash_cells(resolution, minimum)[-1]` cells per axis. Each group of points attends to the third of the
    latents that fits every hundredth (finer grids: fiftieth) of its points best, head by head; mode "merge" keeps on
    finer grids every latent that every thirtieth of its points hears at all. `chunk` points at a time go through the
    network. Raises ValueError for another mode, for more than one shape, and for resolutions below 3.
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
    """Known nodes with a known axis neighbour of another sign of value + offset; zero is a sign of its own."""
    sign = (values + offset).sign()
    near = torch.zeros_like(known)
    for axis in range(3):
        one, other = sign.narrow(axis, 1, sign.shape[axis] - 1), sign.narrow(axis, 0, sign.shape[axis] - 1)
        change = (one != other) & known.narrow(axis, 1, len(known) - 1) & known.narrow(axis, 0, len(known) - 1)
        near.narrow(axis, 1, len(known) - 1).logical_or_(change)
        near.narrow(axis, 0, len(known) - 1).logical_or_(change)
    return near


class _Places(NamedTuple):
    """Nodes to points, and how many points at a time."""

    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]
    chunk: int

    def points(self, nodes: Int[Tensor, "n 3"], cells: int) -> Float[Tensor, "n 3"]:
        return nodes * ((self.high - self.low) / cells) + self.low


def _first(decoder: GeometryDecoder, shape: DecodedShape, place: _Places, cells: int) -> FlashGrid:
    """Every node of the first grid; its groups are 4 x 4 x 4 blocks."""
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
    """Nodes of the next grid at which the decoder is asked. The release adds the level here."""
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
    """Values at the marked nodes; their groups are the cells of a 6 x 6 x 6 partition of their bounding box."""
    points = place.points(nodes, cells)
    every, choice = (50, _best) if mode == "mean" else (30, _heard)
    answers = points.new_empty(len(points))
    for rows in _partition(points):
        answers[rows] = _group(decoder, shape, points[rows], every, choice, place.chunk)
    return answers


def _partition(points: Float[Tensor, "n 3"]) -> Iterator[Int[Tensor, " m"]]:
    """Rows of every cell that holds points."""
    if not len(points):
        return
    low, high = points.amin(dim=0), points.amax(dim=0)
    x, y, z = ((points - low) / (high - low).clamp_min(1e-9) * PARTS).floor().long().unbind(dim=1)
    # the first row of a cell chooses its latents: the release takes it from torch's default sort, which is not stable
    cell, order = (36 * x + 6 * y + z).sort()
    yield from order.split(cell.unique_consecutive(return_counts=True)[1].tolist())


def _group(
    decoder: GeometryDecoder, shape: DecodedShape, points: Float[Tensor, "n 3"], every: int, choice: Choice, chunk: int
) -> Float[Tensor, " n"]:
    """Values at the points of one group: all of them read the latents that every so-manieth of them chose."""
    chosen = choice(decoder.embed(points[None, ::every]).queries, shape)
    answers = [decoder(part[None], chosen)[0] for part in points.split(chunk)]
    return torch.cat(answers)


def _best(queries: Float[Tensor, "1 h n k"], shape: DecodedShape) -> DecodedShape:
    """The latents most similar to the queries on average, for each head its own."""
    similarity = (queries @ shape.keys.mT).mean(dim=2)
    kept = KEPT.get(shape.keys.shape[2], shape.keys.shape[2] // 3)
    rows = similarity.topk(kept, dim=-1).indices[..., None].expand(-1, -1, -1, shape.keys.shape[-1])
    return DecodedShape(shape.keys.gather(2, rows), shape.values.gather(2, rows))


def _heard(queries: Float[Tensor, "1 h n k"], shape: DecodedShape) -> DecodedShape:
    """The latents that any of the queries gives attention to, over all heads."""
    attention = (queries @ shape.keys.mT).softmax(dim=-1).mean(dim=1)
    rows = (attention > HEARD).any(dim=1)[0]
    return DecodedShape(shape.keys[:, :, rows], shape.values[:, :, rows])
