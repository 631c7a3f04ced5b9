"""The constants of an evaluation, and one sequence measured by them, frame by frame.

The paper follows ShapeGen4D, whose evaluation code is not public; the constants are our reading, fitted to the
published pairs of Chamfer and F-score, and every result file states them. ActionBench's own are in actionbench.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from torchmetrics import Metric

from sculpt4d.config.settings import ProtocolSettings
from sculpt4d.evaluation.metrics.geometry import (
    FAILED_CHAMFER,
    SampledSurface,
    draw_points,
    geometry_metrics,
    pair_frames,
)
from sculpt4d.evaluation.metrics.motion import Cloud, Motion, Sided, moved, points_of, used
from sculpt4d.evaluation.metrics.stability import (
    OF_SOLIDS,
    SolidHistory,
    compare_departures,
    departures,
    follow,
    stability,
)
from sculpt4d.evaluation.protocols.alignment import Alignment, Rigid, Similarity
from sculpt4d.geometry.occupancy import BEYOND
from sculpt4d.types import Mesh, MeshSequence

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "chamfer": "mean nearest distance from prediction to truth plus the same from truth to prediction, un-squared",
        "fscore": "harmonic mean of the shares of points nearer than the radius",
        "iou": "solid occupancy at cell centres of a grid over [-1, 1]^3; open or non-manifold meshes by generalised "
        "winding number; frames whose truth holds no cell are left out",
        "iou_beyond": "solid cells outside of [-1, 1]^3 count too, at centres of the same lattice laid further out; "
        f"cells double their sides there while more than {BEYOND} times those of the box were needed",
        "jitter": "mean |second difference| over time; volume and area over the true mean, centroid in box units; an "
        "inside-out mesh is turned; of volume and centroid only where all frames of both sides are closed",
        "jitter_error": "the same of prediction minus truth",
        "identity_drift": "mean over later frames of |Chamfer distance to frame 0, prediction minus truth|",
        "flicker": "mean Chamfer distance of neighbouring frames",
        "flicker_error": "mean |the same, prediction minus truth|",
        "average": "mean over frames, then over sampling seeds, then over objects",
        "error": "standard error over objects",
        "spread": "standard deviation over sampling seeds of the mean over objects",
        "failed_frame": f"no surface: chamfer {FAILED_CHAMFER:.4f}, fscore 0, iou 0, volume 0, centroid 0; a pair of "
        f"frames that holds one: {FAILED_CHAMFER:.4f} in identity_drift, flicker and flicker_error",
        "absent": "a quantity that cannot be had of an object is left out of its mean, with the reason; `measured` "
        "says of how many objects every mean is",
    }
)
BOXES = {
    "clip": "the longest side of the true animation becomes [-1, 1], the prediction moves along",
    "first_frame": "the longest side of frame 0 becomes [-1, 1], of truth and prediction each by its own",
    "none": "coordinates stay as they are: chamfer, identity_drift, flicker and centroid jitter are in their unit; "
    "every constant that is a length (radii, the grid, the cost of a failed frame) counts in halves of the longest "
    "side of the true animation, the grid lies around its middle",
}
LENGTHS = ("chamfer", "identity_drift", "flicker", "flicker_error", "centroid_jitter", "centroid_jitter_error")
STABILITY = tuple(f"{what}_jitter{kind}" for what in ("volume", "area", "centroid") for kind in ("", "_error"))
NO_SOLID = "a cloud of points encloses nothing"
HOLLOW = "the ground truth encloses nothing"
SHORT = "the clip has too few frames: jitter is of three, drift and flicker are of two"
OPEN = "a frame of the {} is not closed: it has no volume"
ALIGNMENTS = {
    type(None): "none: predictions are compared where they lie",
    Similarity: "one similarity (rotation, shift, isotropic scale) found on frame 0 by ICP in both directions from 24 "
    "axis-aligned starts, applied to all frames",
    Rigid: "one rigid motion found by ICP on frame 0 from the identity, then one scale; applied to all frames",
}


@dataclass(frozen=True)
class Protocol(ProtocolSettings):
    """points: drawn on every frame of either side, uniform by area. radius: of the F-score; radii: further ones.
    resolution: cells along an axis of the occupancy grid, None for no IoU. box: a name of `BOXES`. alignment: of the
    prediction, before it is measured. seed: of the drawn points.
    """

    alignment: Alignment | None = None

    tracked = False  # the closed meshes of a prepared object are its truth

    def metrics(self) -> dict[str, Metric]:
        """Chamfer, F-scores and IoU with these constants."""
        return geometry_metrics(self.radius, self.radii, self.resolution)

    def definitions(self) -> dict[str, str]:
        """Every quantity and rule in words."""
        return {**DEFINITIONS, "box": BOXES[self.box], "alignment": ALIGNMENTS[type(self.alignment)]}

    def judge(self, truth: Sided, engine: str = "scipy") -> "Evaluator":
        """The truth made ready, for an engine of nearest.py. Raises ValueError when it is empty."""
        return Evaluator(truth, self, engine=engine)


@dataclass(frozen=True)
class Scores:
    """One sequence against its truth. values: quantity by name, mean over frames; failures: frames without surface.

    absent: why a quantity is NaN.
    """

    values: Mapping[str, float]
    frames: int
    failures: int
    absent: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.values[name]


class Evaluator:
    """A true sequence, made ready once, against which any number of predictions are measured."""

    def __init__(
        self,
        truth: Sided,
        protocol: Protocol,
        metrics: Mapping[str, Metric] | None = None,
        engine: str = "scipy",
    ) -> None:
        self.protocol, self.engine = protocol, engine
        self.metrics = protocol.metrics() if metrics is None else metrics
        raw = protocol.box == "none"  # measured in the truth's box like any other, then given back in its unit
        self.box = own_box(truth, "clip" if raw else protocol.box)
        self.unit = self.box[1] if raw else 1.0
        self.inside = into_box(truth, *self.box)
        self.truth = self._draw(self.inside, 0)
        self.course = _course(self.inside)
        self.departures = departures(self.truth)

    def score(self, predicted: Sided) -> Scores:
        """Metrics and stability of a prediction. Raises ValueError when frame counts differ, or when the protocol needs
        a first frame and the prediction has none.
        """
        box = own_box(predicted, "first_frame") if self.protocol.box == "first_frame" else self.box
        placed = aligned(into_box(predicted, *box), self.truth[0], self.protocol)
        return self._compare(self._draw(placed, 1), _course(placed))

    def floor(self) -> Scores:
        """The truth against itself, drawn twice: what a perfect prediction gets, and the jitter of true motion."""
        again = self._draw(self.inside, 1)
        known = tuple(replace(new, solids=old.solids) for new, old in zip(again, self.truth, strict=True))
        return self._compare(known, self.course)

    def _draw(self, motion: Motion, side: int) -> tuple[SampledSurface, ...]:
        return draw_points(motion, self.protocol.points, (self.protocol.seed, side), self.engine)

    def _compare(self, predicted: Sequence[SampledSurface], course: SolidHistory | None) -> Scores:
        frames = pair_frames(predicted, self.truth)
        values = {name: float(metric(frames).mean) for name, metric in self.metrics.items()}
        if course is not None and self.course is not None:
            values |= stability(course, self.course)
        else:
            values |= dict.fromkeys([*values.keys() & {"iou"}, *STABILITY], float("nan"))
        values |= compare_departures(departures(predicted), self.departures)
        absent = {name: self._reason(name, course) for name, value in values.items() if np.isnan(value)}
        values |= {name: self.unit * values[name] for name in LENGTHS if name in values}
        return Scores(values, len(frames), sum(surface.failed for surface in predicted), absent)

    def _reason(self, name: str, predicted: SolidHistory | None) -> str:
        """Why a quantity is not a number."""
        if name in ("iou", *STABILITY) and (predicted is None or self.course is None):
            return NO_SOLID
        if len(self.truth) < (3 if name in STABILITY else 2) and name != "iou":
            return SHORT
        sides = {"ground truth": self.course, "prediction": predicted} if name in OF_SOLIDS else {}
        holed = [side for side, course in sides.items() if course is not None and not course.closed]
        return OPEN.format(holed[0]) if holed else HOLLOW


def aligned(predicted: Motion, first: SampledSurface, protocol: Protocol) -> Motion:
    """The prediction as the protocol's alignment moves it onto the true frame 0, both in the protocol's box.

    Raises ValueError when either first frame has no surface.
    """
    alignment = protocol.alignment
    if alignment is None:
        return predicted
    start = Motion(predicted.frames[:1])
    (drawn,) = draw_points(start, alignment.points, (protocol.seed, 1))
    if drawn.failed:
        raise ValueError("frame 0 of the prediction has no surface: it cannot be aligned")
    if first.failed:
        raise ValueError("frame 0 of the ground truth has no surface: nothing can be aligned to it")
    source = drawn.points
    if isinstance(alignment, Rigid):
        source = points_of(start.frames[0])
        source = source[np.isfinite(source).all(axis=1)]
    place = alignment.fit(source, first.points, protocol.seed)
    return replace(predicted, frames=tuple(moved(frame, place(points_of(frame))) for frame in predicted.frames))


def evaluate_sequence(predicted: Sided, truth: Sided, protocol: Protocol) -> Scores:
    """All quantities of one prediction. Raises ValueError when the frame counts differ or a true frame is empty."""
    return Evaluator(truth, protocol).score(predicted)


def sampling_floor(truth: Sided, protocol: Protocol) -> Scores:
    """All quantities of the truth against itself, with two independent drawings of points."""
    return Evaluator(truth, protocol).floor()


def own_box(sequence: Sided, rule: str) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and half extent that a rule of `BOXES` takes from a sequence."""
    if rule == "none":
        return np.zeros(3), 1.0
    return clip_box(Motion(sequence.frames[:1]) if rule == "first_frame" else sequence)


def clip_box(sequence: Sided) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre (3,) of the bounds over all frames and half of their longest side. Raises ValueError when empty.

    Of a mesh the vertices of its faces count, of a cloud the points that can be drawn.
    """
    frames = map(used, sequence.frames)
    sides = [frame.points[frame.usable] if isinstance(frame, Cloud) else frame.vertices for frame in frames]
    points = np.concatenate(sides).astype(np.float64)
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError("the sequence is empty or not finite, so it has no box: prepare or export the object again")
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max() / 2)
    if half == 0:
        raise ValueError("all vertices of the sequence coincide: there is no box")
    return (low + high) / 2, half


def into_box(sequence: Sided, center: Float[np.ndarray, "3"], scale: float) -> Motion:
    """The sequence moved and scaled so that `center` is the origin and `scale` is one, without unused vertices."""
    frames = map(used, sequence.frames)
    return Motion(tuple(moved(frame, (points_of(frame) - center) / scale) for frame in frames))


def _course(motion: Motion) -> SolidHistory | None:
    """None where a frame is a cloud."""
    meshes = tuple(frame for frame in motion.frames if isinstance(frame, Mesh))
    return follow(MeshSequence(meshes)) if len(meshes) == len(motion.frames) else None
