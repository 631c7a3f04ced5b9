"""ActionBench's alignment: rotation, translation and a scale per axis, found by gradient descent from many starts.

Every start is optimised on its own by Adam; the loss is the sum of the two mean squared nearest distances. Of the best
step over all starts the rotation is kept as it was, shift and scale as that step left them: so does the public code.
"""

import itertools
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
) -> tuple[Affine, float]:
    """What brings `source` onto `target`, and its loss. All starts begin with scale 1 and no translation.

    engine: of the nearest neighbours (nearest.py); its device is that of the optimisation. rotations: the starts, all
    24 when None.
    """
    device = ENGINES[engine].device
    begun = axis_rotations() if rotations is None else rotations
    starts = torch.tensor(begun, dtype=torch.float64, device=device)
    count = len(starts)
    mine = torch.tensor(source[morton_order(source)], dtype=torch.float64, device=device)
    fixed = torch.tensor(target[morton_order(target)], dtype=torch.float64, device=device)
    match, theirs = ENGINES[engine].match(fixed), fixed.expand(count, -1, -1)
    pairs = starts.new_tensor([[1.0, 0, 0, 0, 1, 0]]).repeat(count, 1).requires_grad_()
    shift = starts.new_zeros(count, 3).requires_grad_()
    scale = starts.new_ones(count, 3).requires_grad_()
    optimizer = torch.optim.Adam([pairs, shift, scale], lr=rate)
    best, kept = float("inf"), Affine(np.ones(3), np.eye(3), np.zeros(3))
    for _ in range(steps):
        rotation = starts @ rotation_from_6d(pairs)
        moved = (mine * scale[:, None]) @ rotation + shift[:, None]
        with torch.no_grad():
            forth, back = match(moved)
        loss = _squared(moved, theirs, forth) + _squared(theirs, moved, back)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        lowest = int(loss.argmin())
        if loss[lowest].item() < best:
            best = loss[lowest].item()
            found = (scale[lowest], rotation[lowest], shift[lowest])
            kept = Affine(*(value.detach().cpu().numpy().astype(np.float64).copy() for value in found))
    return kept, best


def _squared(points: Tensor, among: Tensor, rows: Tensor) -> Float[Tensor, " k"]:
    """Mean squared distance of every set to its chosen partners."""
    partners = among.gather(1, rows[..., None].expand(-1, -1, 3))
    return (points - partners).square().sum(-1).mean(-1)
