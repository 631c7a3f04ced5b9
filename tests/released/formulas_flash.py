"""Sparse volume decoding over a state dict: coarse to fine grids, and the few keys that each group of points sees."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .formulas_autoencoder import after_attention, cross_heads, geometry_data, geometry_heads, query_rows, value
from .formulas_layers import Weights, attend, under
from .formulas_surface import corners, grid, near_surface

Config = Mapping[str, Any]
BLOCKS = 4  # blocks per axis of the coarse grid
PARTS = 6  # partition cells per axis of the points marked on a finer grid
UNKNOWN = -10000.0
BAND = 0.95  # values below it in size count as near the surface


def resolutions(asked: int, minimum: int) -> list[int]:
    """Cells per axis, coarse to fine."""
    levels = 1
    while asked >> (levels - 1) >= 2 * minimum:
        levels += 1
    coarse = round((asked >> (levels - 1)) / BLOCKS) * BLOCKS - 1
    return [coarse * 2**level for level in range(levels)]


def kept_keys(keys: int) -> int:
    """Keys left to a group in mode `mean`."""
    return {3072: 1024, 512: 256}.get(keys, keys // 3)


def chosen_keys(q: Tensor, k: Tensor, every: int, merge: bool) -> Tensor:
    """Key indices (h, n) that a group with q (1, h, g, c) attends to; in mode `merge` every head has the same."""
    similar = (q[:, :, ::every] @ k.transpose(-1, -2))[0]
    if not merge:
        return similar.mean(1).topk(kept_keys(k.shape[2]), dim=-1).indices
    kept = (similar.softmax(-1).mean(0) > 1e-6).any(0)
    return kept.nonzero()[:, 0].expand(k.shape[1], -1)


def evaluate(
    weights: Weights, config: Config, data: Tensor, points: Tensor, groups: Iterator[Tensor], every: int, merge: bool
) -> Tensor:
    """Field values (n,) at points (n, 3), group by group; `data` is what the geometry decoder attends to."""
    part = under(weights, "geo_decoder.cross_attn_decoder.")
    values = torch.full((len(points),), UNKNOWN, dtype=data.dtype)
    for group in groups:
        x = query_rows(weights, config, points[group][None].to(data.dtype))
        q, k, v = cross_heads(part, geometry_heads(config), x, data)
        index = chosen_keys(q, k, every, merge)[None, :, :, None].expand(-1, -1, -1, k.shape[-1])
        attended = attend(q, k.gather(2, index), v.gather(2, index))
        values[group] = value(weights, after_attention(part, x, attended))[0, :, 0]
    return values


def coarse_groups(side: int) -> Iterator[Tensor]:
    """Flat indices of every block of a grid with `side` points per axis."""
    index = torch.arange(side**3).view(side, side, side)
    step = side // BLOCKS
    for plane in index.split(step, 0):
        for row in plane.split(step, 1):
            for cube in row.split(step, 2):
                yield cube.flatten()


def fine_groups(points: Tensor) -> Iterator[Tensor]:
    """Rows of `points` (n, 3) in each non-empty cell of the partition of their bounding box.

    The order inside a cell decides which queries choose its keys. The release sorts by cell number without asking for
    a stable sort, so that order is torch's own and not that of the grid: with a stable sort the numbers differ.
    """
    low, high = points.amin(0), points.amax(0)
    cell = ((points - low) / (high - low) * (PARTS - 0.001)).floor().long()
    number, order = (cell @ torch.tensor([PARTS**2, PARTS, 1])).sort()
    yield from order.split(number.unique_consecutive(return_counts=True)[1].tolist())


def dilate(mask: Tensor) -> Tensor:
    """A mask grown by the full 3 x 3 x 3 neighbourhood."""
    return functional.max_pool3d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def refine(field: Tensor, level: float, last: bool) -> Tensor:
    """Which points of the grid with twice the cells are evaluated."""
    marked = near_surface(field, level) | (field.abs() < BAND)
    marked = marked if last else dilate(marked)
    fine = torch.zeros([2 * side - 1 for side in field.shape], dtype=torch.bool)
    fine[::2, ::2, ::2] = marked
    return dilate(dilate(fine)) if last else dilate(fine)


def flash(
    weights: Weights, config: Config, decoded: Tensor, asked: int, minimum: int, mode: str, bounds: float, level: float
) -> Tensor:
    """The sparse grid (1, n, n, n) of decoded tokens (1, p, w), NaN where nothing was evaluated."""
    coarse, *finer = resolutions(asked, minimum)
    data = geometry_data(weights, decoded)
    points = grid(bounds, coarse).view(-1, 3)
    field = evaluate(weights, config, data, points, coarse_groups(coarse + 1), 100, merge=False)
    field = field.view([coarse + 1] * 3)
    low, high = (torch.from_numpy(corner.astype(np.float32)) for corner in corners(bounds))
    every = 30 if mode == "merge" else 50
    for cells in finer:
        index = refine(field, level, last=cells == finer[-1]).nonzero()
        points = index * ((high - low) / cells) + low
        field = torch.full([cells + 1] * 3, UNKNOWN, dtype=data.dtype)
        values = evaluate(weights, config, data, points, fine_groups(points), every, mode == "merge")
        field[index.unbind(-1)] = values
    return torch.where(field == UNKNOWN, torch.nan, field)[None]
