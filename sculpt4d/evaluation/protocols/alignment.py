"""Bringing a prediction onto the truth by its first frame: what the protocols that align do before they measure."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sculpt4d.config.settings import RigidSettings, SimilaritySettings
from sculpt4d.evaluation.metrics.nearest import lean_tree, plant
from sculpt4d.evaluation.protocols.affine import axis_rotations
from sculpt4d.geometry.morton import morton_order

Points = Float[np.ndarray, "_ 3"]


class Placement(NamedTuple):
    """A similarity of row vectors: p' = scale p rotation + shift."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        return self.scale * points @ self.rotation + self.shift


STAY = Placement(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class Similarity(SimilaritySettings):
    """One isotropic similarity from 24 starts and ICP (iterative closest points), in both directions at once.

    Every axis-aligned rotation, centroids and sizes matched, takes `coarse_steps` steps with `coarse_points` points;
    the `kept` best go on with `points` points for `steps`, or until the residual changes by less than `tolerance` of
    itself.
    """

    def fit(self, source: Points, target: Points, seed: int) -> Placement:
        """What brings points of the first predicted frame onto points of the first true one. ValueError when those of
        the prediction coincide.
        """
        rng = np.random.default_rng((seed, 24))
        mine, theirs = (rng.permutation(side)[: self.points].astype(np.float64) for side in (source, target))
        size = _spread(mine)
        if size == 0:
            raise ValueError("frame 0 of the prediction is a single point: it cannot be aligned")
        mine /= size  # whatever unit a method counts in
        few, fewer = mine[: self.coarse_points], theirs[: self.coarse_points]
        starts = [_matched(mine, theirs, rotation) for rotation in axis_rotations()]
        coarse = [refine(few, fewer, start, self.coarse_steps, self.tolerance) for start in starts]
        best = sorted(coarse, key=lambda entry: entry[1])[: self.kept]
        fine = [refine(mine, theirs, start, self.steps, self.tolerance) for start, _ in best]
        found = min(fine, key=lambda entry: entry[1])[0]
        return found._replace(scale=found.scale / size)


@dataclass(frozen=True)
class Rigid(RigidSettings):
    """Point-to-point ICP from the identity, no search over rotations: at most `points` predicted ones follow their
    nearest true ones; then a scale about the origin, the mean ratio of the extents in x and y, within `scale_limits`.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_limits", tuple(self.scale_limits))

    def fit(self, source: Points, target: Points, seed: int) -> Placement:
        """What brings points of the first predicted frame onto points of the first true one."""
        rng = np.random.default_rng((seed, 1))
        mine, theirs = (rng.permutation(side)[: self.points].astype(np.float64) for side in (source, target))
        nearest, place, last = plant(theirs), STAY, np.inf
        for _ in range(self.steps):
            distance, rows = nearest(place(mine))
            error = float(np.square(distance).mean())
            if last - error < self.tolerance * max(last, 1e-30):
                break
            last = error
            place = best_placement(mine, theirs[rows], np.full(len(mine), 1 / len(mine)), scaled=False)
        extents = np.ptp(theirs, axis=0)[:2] / np.maximum(np.ptp(place(mine), axis=0)[:2], 1e-12)
        scale = float(np.clip(extents.mean(), min(self.scale_limits), max(self.scale_limits)))
        return Placement(scale, place.rotation, scale * place.shift)


Alignment = Similarity | Rigid


def refine(source: Points, target: Points, start: Placement, steps: int, tolerance: float) -> tuple[Placement, float]:
    """Symmetric ICP; the best placement met and its residual, the sum of the two mean nearest distances."""
    source, target = (side[morton_order(side)] for side in (source, target))
    tree, place = lean_tree(target), start
    best, least, last = start, np.inf, np.inf
    weights = np.concatenate([np.full(len(source), 0.5 / len(source)), np.full(len(target), 0.5 / len(target))])
    for _ in range(steps + 1):
        now = place(source)
        forth, rows = tree.query(now)
        back, columns = lean_tree(now).query(target)
        residual = float(forth.mean() + back.mean())
        if residual < least:
            best, least = place, residual
        if abs(last - residual) < tolerance * residual:
            break
        last = residual
        place = best_placement(
            np.concatenate([source, source[columns]]), np.concatenate([target[rows], target]), weights
        )
    return best, least


def best_placement(source: Points, target: Points, weights: Float[np.ndarray, " n"], scaled: bool = True) -> Placement:
    """Least-squares placement of paired points; the scale is the ratio of their spreads (Horn 1987), which treats the
    two sides alike: the asymmetric one shrinks a little with every wrong pair.
    """
    middle, centre = weights @ source, weights @ target
    here, there = source - middle, target - centre
    left, _, right = np.linalg.svd(here.T @ (there * weights[:, None]))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * flip) @ right
    scale = 1.0
    if scaled:
        spreads = [float(weights @ np.square(side).sum(axis=1)) for side in (there, here)]
        scale = (spreads[0] / max(spreads[1], 1e-30)) ** 0.5
    return Placement(scale, rotation, centre - scale * middle @ rotation)


def _matched(source: Points, target: Points, rotation: Float[np.ndarray, "3 3"]) -> Placement:
    """Centroid on centroid, size on size (root mean square distance from it), turned by `rotation`."""
    middle, centre = source.mean(axis=0), target.mean(axis=0)
    scale = _spread(target) / _spread(source)
    return Placement(scale, rotation, centre - scale * middle @ rotation)


def _spread(points: Points) -> float:
    """Root mean square distance from the centroid."""
    offset = points - points.mean(axis=0)
    unit = float(np.abs(offset).max()) or 1.0  # squares of very small or large offsets would leave the range
    return unit * float(np.square(offset / unit).sum(axis=1).mean()) ** 0.5
