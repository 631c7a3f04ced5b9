"""ActionBench's alignment: rotation, translation and a scale per axis, found by gradient descent from many starts.

Adam optimises every start by itself; the loss is the sum of the two mean squared nearest distances. The step with the
lowest loss over all starts wins. Its rotation is kept from before the update, its shift and scale from after it, as in
the public code.

Nearly all time goes into nearest neighbours, so `Screening` removes starts that cannot win before the full run. A start
takes the same steps, but for rounding, whether others run beside it or not: the result is that of all starts whenever
the winner passes the screening.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sculpt4d.evaluation.metrics.nearest import ENGINES
from sculpt4d.geometry.morton import morton_order

# rows of axis_rotations: the public list has 24 triples of Euler angles, two of which repeat the rotation of another
PUBLIC_STARTS = tuple(row for row in range(24) if row not in (17, 23))


class Affine(NamedTuple):
    """p' = ((scale * p) rotation) + shift, row vectors: scale (3,), rotation (3, 3), shift (3,)."""

    scale: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        return (points * self.scale) @ self.rotation + self.shift


@dataclass(frozen=True)
class Screening:
    """Rule by which starts drop out: all take every step with the first `points` points of either side; those whose
    lowest loss is at most 1 + `margin` times the least go on with all points, from their beginning.

    The points must be in random order. With fewer points the loss has a larger floor, the same for all starts, so
    ratios of losses are nearer to one than with all points: the rule keeps too many starts rather than too few.
    """

    points: int = 1_000
    margin: float = 0.15


class Descent(NamedTuple):
    """The best step of one start."""

    loss: float
    place: Affine


def axis_rotations() -> Float[np.ndarray, "24 3 3"]:
    """The 24 rotations that map the coordinate axes to coordinate axes, the identity first."""
    found = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), axes] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.stack(found)


def rotation_from_6d(pairs: Float[Tensor, "k 6"]) -> Float[Tensor, "k 3 3"]:
    """Two rows made orthonormal, the third by the right hand (Zhou et al., On the Continuity of Rotations, 2019)."""
    first = torch.nn.functional.normalize(pairs[:, :3], dim=-1)
    second = pairs[:, 3:] - (first * pairs[:, 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=1)


def fit_affine(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "m 3"],
    steps: int = 200,
    rate: float = 0.01,
    engine: str = "scipy",
    rotations: Float[np.ndarray, "k 3 3"] | None = None,
    screening: Screening | None = None,
) -> tuple[Affine, float]:
    """The affine map that brings `source` onto `target`, and its loss. All starts begin with scale 1 and no shift.

    engine: of the nearest neighbours (nearest.py); its device is that of the optimisation. rotations: the starts, all
    24 when None. screening: None runs every start with all points. Where `source` and `target` have no more points
    than the screening takes, or one start remains, there is nothing to screen.
    """
    starts = axis_rotations() if rotations is None else rotations
    if screening is not None and screening.points < max(len(source), len(target)):
        few = source[: screening.points], target[: screening.points]
        losses = np.array([descent.loss for descent in descend(*few, starts, steps, rate, engine)])
        starts = starts[~(losses > (1 + screening.margin) * losses.min())]
    best = min(descend(source, target, starts, steps, rate, engine), key=lambda descent: descent.loss)
    return best.place, best.loss


def descend(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "m 3"],
    rotations: Float[np.ndarray, "k 3 3"],
    steps: int,
    rate: float,
    engine: str = "scipy",
) -> list[Descent]:
    """The best step of every start."""
    device = ENGINES[engine].device
    starts = torch.tensor(rotations, dtype=torch.float64, device=device)
    count = len(starts)
    mine = torch.tensor(source[morton_order(source)], dtype=torch.float64, device=device)
    fixed = torch.tensor(target[morton_order(target)], dtype=torch.float64, device=device)
    match, theirs = ENGINES[engine].match(fixed), fixed.expand(count, -1, -1)
    pairs = starts.new_tensor([[1.0, 0, 0, 0, 1, 0]]).repeat(count, 1).requires_grad_()
    shift = starts.new_zeros(count, 3).requires_grad_()
    scale = starts.new_ones(count, 3).requires_grad_()
    optimizer = torch.optim.Adam([pairs, shift, scale], lr=rate)
    lowest = starts.new_full((count,), float("inf"))
    kept = [scale.detach().clone(), starts.clone(), shift.detach().clone()]
    for _ in range(steps):
        rotation = starts @ rotation_from_6d(pairs)
        moved = (mine * scale[:, None]) @ rotation + shift[:, None]
        with torch.no_grad():
            forth, back = match(moved)
        loss = _squared(moved, theirs, forth) + _squared(theirs, moved, back)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        with torch.no_grad():
            better = loss < lowest
            lowest = torch.where(better, loss, lowest)
            for best, now in zip(kept, (scale, rotation, shift), strict=True):
                best[better] = now[better]
    places = zip(*(value.cpu().numpy() for value in kept), strict=True)
    return [Descent(loss, Affine(*place)) for loss, place in zip(lowest.tolist(), places, strict=True)]


def _squared(points: Tensor, among: Tensor, rows: Tensor) -> Float[Tensor, " k"]:
    """Mean squared distance of every set to its chosen partners."""
    partners = among.gather(1, rows[..., None].expand(-1, -1, 3))
    return (points - partners).square().sum(-1).mean(-1)
