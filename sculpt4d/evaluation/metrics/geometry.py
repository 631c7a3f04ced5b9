"""How close a predicted surface is to the true one: Chamfer distance, F-score and solid IoU of every frame.

Each metric is a number per object (the mean over its frames), then the mean over objects with its standard error.
Constants: protocol.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from sculpt4d.evaluation.metrics.motion import Cloud, Frame, Sided
from sculpt4d.evaluation.metrics.nearest import Index, plant
from sculpt4d.geometry.occupancy import occupancy, occupancy_beyond
from sculpt4d.geometry.surface import carry, sample_surface
from sculpt4d.geometry.triangles import face_crosses
from sculpt4d.types import Mesh

START = 1024  # cells along the longest side of the mesh's box


def coarsen(mesh: Mesh, faces: int) -> Mesh:
    """Vertices of one grid cell become their mean; the grid is halved until at most `faces` faces are left.

    Faces that collapse vanish. An edge walked once each way stays so, hence a closed mesh stays closed and its winding
    numbers stay whole. No vertex moves further than a cell's diagonal.
    """
    cells = START
    while len(mesh.faces) > faces and cells >= 2:
        mesh, cells = _clustered(mesh, cells), cells // 2
    return mesh


def _clustered(mesh: Mesh, cells: int) -> Mesh:
    low = mesh.vertices.min(axis=0).astype(np.float64)
    extent = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-30)
    place = np.minimum(((mesh.vertices - low) / extent * cells).astype(np.int64), cells - 1)
    row = np.unique((place[:, 0] * cells + place[:, 1]) * cells + place[:, 2], return_inverse=True)[1].reshape(-1)
    counts = np.bincount(row)
    means = np.stack([np.bincount(row, mesh.vertices[:, axis]) / counts for axis in range(3)], axis=1)
    faces = row[mesh.faces]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return Mesh(means.astype(np.float32), faces[whole])


class Average(NamedTuple):
    """Mean over objects and its standard error (NaN where there is one object)."""

    mean: float
    error: float
    objects: int


def summarize(values: Sequence[float] | Float[Tensor, " n"]) -> Average:
    """Mean and standard error over objects; a quantity that no object has is NaN, and so is the error of one object."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return Average(float("nan"), float("nan"), 0)
    error = numbers.std(ddof=1) / len(numbers) ** 0.5 if len(numbers) > 1 else math.nan
    return Average(float(numbers.mean()), float(error), len(numbers))


FAILED_CHAMFER = 2 * 3**0.5  # a frame without a surface costs the diagonal of the box; its F-score and IoU are 0
SOLID_FACES = 1_000_000  # a finer mesh is coarsened for its solid, which bounds time and memory; its points are not


@dataclass(frozen=True, eq=False)
class SampledSurface:
    """One frame's mesh with `points` (n, 3) drawn on it; n = 0 marks a frame in which nothing usable was found.

    A cloud of points has no mesh, and no solid. engine: of nearest.py.
    """

    mesh: Mesh | None
    points: Float[np.ndarray, "n 3"]
    solids: dict[int, Bool[np.ndarray, "r r r"]] = field(default_factory=dict, repr=False)
    engine: str = "scipy"

    @property
    def failed(self) -> bool:
        """No triangle of positive area, or one with a vertex that is not finite."""
        return len(self.points) == 0

    @cached_property
    def index(self) -> Index:
        """The points, ready for exact nearest-neighbour queries."""
        return plant(self.points, self.engine)

    @cached_property
    def body(self) -> Mesh:
        """The mesh that its solid is taken from."""
        if self.mesh is None:
            raise ValueError("a cloud of points encloses nothing: compare its solid with nothing")
        return coarsen(self.mesh, SOLID_FACES)

    def solid(self, resolution: int) -> Bool[np.ndarray, "r r r"]:
        """Cells of [-1, 1]^3 whose centre lies inside, computed once."""
        if resolution not in self.solids:
            self.solids[resolution] = occupancy(self.body, resolution)
        return self.solids[resolution]


@dataclass(frozen=True, eq=False)
class Pair:
    """A predicted and a true frame. The true one is never empty."""

    predicted: SampledSurface
    truth: SampledSurface

    @cached_property
    def distances(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
        """Of each predicted point to the nearest true one and the other way round, un-squared."""
        return nearest(self.predicted, self.truth), nearest(self.truth, self.predicted)


def nearest(points: SampledSurface, among: SampledSurface) -> Float[np.ndarray, " n"]:
    """Distance of every point of one surface to the nearest point of the other, exact."""
    return among.index(points.points)[0]


def draw_points(
    sequence: Sided, count: int, seed: tuple[int, int], engine: str = "scipy"
) -> tuple[SampledSurface, ...]:
    """`count` points per frame; a frame's points depend on `seed` (of the run, of the side) and its number alone.

    Of a mesh they are uniform by area, of a cloud as `draw_from_cloud` says.
    """
    surfaces = []
    for number, frame in enumerate(sequence.frames):
        points = np.zeros((0, 3), np.float32)
        if isinstance(frame, Cloud):
            points = draw_from_cloud(frame, count, seed, number)
        elif has_surface(frame):
            drawn = sample_surface(frame.vertices, frame.faces, count, np.random.default_rng([*seed, number]))
            points = carry(drawn, frame.vertices[None], frame.faces)[0]
        surfaces.append(SampledSurface(frame if isinstance(frame, Mesh) else None, points, engine=engine))
    return tuple(surfaces)


def draw_from_cloud(cloud: Cloud, count: int, seed: tuple[int, int], number: int) -> Float[np.ndarray, "n 3"]:
    """Equal weights: rows drawn without repetition, all when there are no more; the two sides take them from the two
    ends of one permutation, so that a cloud measured against itself shares no point while it has 2 `count`.
    Other weights: rows drawn with probabilities in their proportion, with repetition.
    """
    points, weights = cloud.points[cloud.usable], cloud.weights[cloud.usable].astype(np.float64)
    if not len(points):
        return np.zeros((0, 3), np.float32)
    if np.ptp(weights) == 0:
        rows = np.random.default_rng([seed[0], number]).permutation(len(points))
        return points[rows[:count] if seed[1] == 0 else rows[-count:]]
    return points[np.random.default_rng([*seed, number]).choice(len(points), count, p=weights / weights.sum())]


def frame_failed(frame: Frame) -> bool:
    """Whether nothing can be drawn on it."""
    return not frame.usable.any() if isinstance(frame, Cloud) else not has_surface(frame)


def has_surface(mesh: Mesh) -> bool:
    """Whether the faces have finite vertices and some area."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    if not np.isfinite(corners).all():
        return False
    return bool(np.abs(face_crosses(corners)).sum() > 0)


def pair_frames(predicted: Sequence[SampledSurface], truth: Sequence[SampledSurface]) -> tuple[Pair, ...]:
    """Frames side by side. Raises ValueError when the counts differ or a true frame is empty."""
    if len(predicted) != len(truth):
        raise ValueError(
            f"{len(predicted)} predicted frames cannot be compared with {len(truth)} true ones: set frames to the "
            "number that is stored"
        )
    for number, surface in enumerate(truth):
        if surface.failed:
            raise ValueError(f"the true mesh of frame {number} has no surface: prepare the object again")
    return tuple(Pair(*pair) for pair in zip(predicted, truth, strict=True))


def chamfer(pair: Pair) -> float:
    """Sum of the two mean un-squared nearest distances, in box units; `FAILED_CHAMFER` for a failed frame."""
    if pair.predicted.failed:
        return FAILED_CHAMFER
    to_truth, to_predicted = pair.distances
    return float(to_truth.mean() + to_predicted.mean())


def fscore(pair: Pair, radius: float) -> float:
    """Harmonic mean of the shares of predicted and of true points closer than `radius` to the other surface."""
    if pair.predicted.failed:
        return 0.0
    precision, recall = (float((distance < radius).mean()) for distance in pair.distances)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def solid_iou(pair: Pair, resolution: int) -> float:
    """Cells inside both over cells inside either, those beyond [-1, 1]^3 among them; 0 for a failed frame, NaN where a
    side is a cloud of points or the truth holds no cell of the box.
    """
    if pair.truth.mesh is None or pair.predicted.mesh is None or not pair.truth.solid(resolution).any():
        return float("nan")
    if pair.predicted.failed:
        return 0.0
    predicted, truth = pair.predicted.solid(resolution), pair.truth.solid(resolution)
    beyond = occupancy_beyond((pair.predicted.body, pair.truth.body), resolution)
    return float(((predicted & truth).sum() + beyond.both) / ((predicted | truth).sum() + beyond.either))


class Chamfer(Metric):
    """Chamfer distance; `update` takes the frames of one object."""

    is_differentiable, higher_is_better, full_state_update = False, False, False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, frames: Sequence[Pair]) -> None:
        """Add one object."""
        self.values.append(torch.tensor([np.mean([chamfer(pair) for pair in frames])], dtype=torch.float64))

    def compute(self) -> Average:
        """Mean over the objects of all processes."""
        return summarize(dim_zero_cat(self.values).cpu())


class FScore(Metric):
    """F-score at one radius (box units); `update` takes the frames of one object."""

    is_differentiable, higher_is_better, full_state_update = False, True, False
    values: list[Tensor]

    def __init__(self, radius: float = 0.02) -> None:
        super().__init__()
        self.radius = radius
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, frames: Sequence[Pair]) -> None:
        """Add one object."""
        self.values.append(torch.tensor([np.mean([fscore(pair, self.radius) for pair in frames])], dtype=torch.float64))

    def compute(self) -> Average:
        """Mean over the objects of all processes."""
        return summarize(dim_zero_cat(self.values).cpu())


class SolidIoU(Metric):
    """Intersection over union of the solids on a grid over [-1, 1]^3, whose lattice goes on where a solid leaves it;
    `update` takes the frames of one object. Frames whose truth holds no cell have none; an object without any other is
    NaN.
    """

    is_differentiable, higher_is_better, full_state_update = False, True, False
    values: list[Tensor]

    def __init__(self, resolution: int = 64) -> None:
        super().__init__()
        self.resolution = resolution
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, frames: Sequence[Pair]) -> None:
        """Add one object."""
        frames_iou = np.array([solid_iou(pair, self.resolution) for pair in frames])
        known = frames_iou[np.isfinite(frames_iou)]
        self.values.append(torch.tensor([known.mean() if len(known) else np.nan], dtype=torch.float64))

    def compute(self) -> Average:
        """Mean over the objects of all processes."""
        return summarize(dim_zero_cat(self.values).cpu())


def geometry_metrics(radius: float, radii: Sequence[float], resolution: int | None) -> dict[str, Metric]:
    """The metrics of the paper by name, and the F-score at further `radii` (`fscore_0.05`). No resolution, no IoU."""
    metrics: dict[str, Metric] = {"chamfer": Chamfer(), "fscore": FScore(radius)}
    if resolution is not None:
        metrics["iou"] = SolidIoU(resolution)
    return metrics | {f"fscore_{further:g}": FScore(further) for further in radii}
