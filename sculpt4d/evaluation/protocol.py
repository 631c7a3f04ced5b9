"""The constants of an evaluation, and one sequence measured by them.

The paper follows ShapeGen4D, whose evaluation code is not public; the constants are our reading, fitted to the
published pairs of Chamfer and F-score, and every result file states them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from torchmetrics import Metric

from sculpt4d.evaluation.metrics import FAILED_CHAMFER, Surface, draw_points, geometry_metrics, pair_frames
from sculpt4d.evaluation.stability import Course, follow, stability
from sculpt4d.types import Mesh, MeshSequence

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "chamfer": "mean nearest distance from prediction to truth plus the same from truth to prediction, un-squared",
        "fscore": "harmonic mean of the shares of points nearer than the radius",
        "iou": "solid occupancy at the cell centres of a grid over [-1, 1]^3",
        "jitter": "mean |second difference| over time; volume and area over the true mean, centroid in box units",
        "jitter_error": "the same of prediction minus truth",
        "average": "mean over frames, then over sampling seeds, then over objects",
        "error": "standard error over objects",
        "spread": "standard deviation over sampling seeds of the mean over objects",
        "alignment": "none: predictions are compared where they lie",
        "failed_frame": f"no surface: chamfer {FAILED_CHAMFER:.4f}, fscore 0, iou 0, volume 0, centroid 0",
    }
)


@dataclass(frozen=True)
class Protocol:
    """points: drawn on every frame of either side, uniform by area. radius: of the F-score; radii: further ones.
    resolution: cells along an axis of the occupancy grid. box: `clip` scales truth and prediction alike so that the
    longest side of the true animation is exactly [-1, 1]; `none` leaves both as they are. seed: of the drawn points.
    """

    points: int = 10_000
    radius: float = 0.02
    radii: Sequence[float] = (0.01, 0.03, 0.05, 0.1)
    resolution: int = 64
    box: str = "clip"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "radii", tuple(self.radii))
        if self.points < 1:
            raise ValueError(f"protocol.points={self.points}: at least one point is needed")
        if self.resolution < 1:
            raise ValueError(f"protocol.resolution={self.resolution}: at least one cell is needed")
        if min(self.radius, *self.radii) <= 0:
            raise ValueError(f"protocol.radius={self.radius}, radii={self.radii}: radii must be positive")
        if self.box not in ("clip", "none"):
            raise ValueError(f"protocol.box={self.box}: must be clip or none")

    def metrics(self) -> dict[str, Metric]:
        """Chamfer, F-scores and IoU with these constants."""
        return geometry_metrics(self.radius, self.radii, self.resolution)


@dataclass(frozen=True)
class Scores:
    """One sequence against its truth. values: quantity by name, mean over frames; failures: frames without surface."""

    values: Mapping[str, float]
    frames: int
    failures: int

    def __getitem__(self, name: str) -> float:
        return self.values[name]


class Judge:
    """A true sequence, made ready once, against which any number of predictions are measured."""

    def __init__(self, truth: MeshSequence, protocol: Protocol, metrics: Mapping[str, Metric] | None = None) -> None:
        self.protocol = protocol
        self.metrics = protocol.metrics() if metrics is None else metrics
        self.box = clip_box(truth) if protocol.box == "clip" else (np.zeros(3), 1.0)
        moved = into_box(truth, *self.box)
        self.truth = draw_points(moved, protocol.points, (protocol.seed, 0))
        self.course = follow(moved)

    def score(self, predicted: MeshSequence) -> Scores:
        """Metrics and stability of a prediction. Raises ValueError when the frame counts differ."""
        moved = into_box(predicted, *self.box)
        return self._compare(draw_points(moved, self.protocol.points, (self.protocol.seed, 1)), follow(moved))

    def floor(self) -> Scores:
        """The truth against itself, drawn twice: what a perfect prediction gets, and the jitter of true motion."""
        truth = MeshSequence(tuple(surface.mesh for surface in self.truth))
        again = draw_points(truth, self.protocol.points, (self.protocol.seed, 1))
        known = tuple(replace(new, solids=old.solids) for new, old in zip(again, self.truth, strict=True))
        return self._compare(known, self.course)

    def _compare(self, predicted: Sequence[Surface], course: Course) -> Scores:
        frames = pair_frames(predicted, self.truth)
        values = {name: float(metric(frames).mean) for name, metric in self.metrics.items()}
        failures = sum(surface.failed for surface in predicted)
        return Scores(values | stability(course, self.course), len(frames), failures)


def evaluate_sequence(predicted: MeshSequence, truth: MeshSequence, protocol: Protocol) -> Scores:
    """All quantities of one prediction. Raises ValueError when the frame counts differ or a true frame is empty."""
    return Judge(truth, protocol).score(predicted)


def sampling_floor(truth: MeshSequence, protocol: Protocol) -> Scores:
    """All quantities of the truth against itself, with two independent drawings of points."""
    return Judge(truth, protocol).floor()


def clip_box(sequence: MeshSequence) -> tuple[np.ndarray, float]:
    """Centre (3,) of the bounds over all frames and half of their longest side. Raises ValueError when empty."""
    points = np.concatenate([mesh.vertices for mesh in sequence.frames]).astype(np.float64)
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError("the true sequence is empty or not finite: prepare the object again")
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, float((high - low).max() / 2)


def into_box(sequence: MeshSequence, center: np.ndarray, scale: float) -> MeshSequence:
    """The sequence moved and scaled so that `center` is the origin and `scale` is one."""
    meshes = (Mesh(((m.vertices - center) / scale).astype(np.float32), m.faces) for m in sequence.frames)
    return MeshSequence(tuple(meshes), sequence.fps)
