"""ActionBench's three Chamfer distances, by its public constants: CD-3D, CD-4D and CD-M.

Points of the truth are tracked (surfaces.npy, or drawn on frame 0 of a mesh whose faces stay and carried along); the
prediction is sampled anew in every frame and aligned from the benchmark's starts (affine.py). Generators and seeds are
those of the public code, so that the same files give the same numbers: see docs/evaluation.md.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float

from sculpt4d.config.settings import ActionBenchSettings
from sculpt4d.evaluation.metrics.geometry import frame_failed
from sculpt4d.evaluation.metrics.motion import Cloud, Frame, Motion, Sided, one_topology, points_of
from sculpt4d.evaluation.metrics.nearest import plant
from sculpt4d.evaluation.protocols.affine import PUBLIC_STARTS, Affine, Screening, axis_rotations, descend, fit_affine
from sculpt4d.evaluation.protocols.protocol import Scores
from sculpt4d.types import Mesh

Points = Float[np.ndarray, "_ 3"]
QUERY_SEEDS = (1, 0)  # added to query_seed: queries of the truth, of the prediction
TRUTH_SEED = 1 << 20  # added to the seed for points of a truth that are drawn: no frame of a prediction has theirs
PROBE_STEPS = 2  # timed for an expected duration
PASSING = 1 / 6  # share of the starts that an expected duration takes to pass the screening
DEFINITIONS = {
    "cd_3d": "a fresh alignment for every frame; chamfer, mean over frames",
    "cd_4d": "the alignment of frame 0 for every frame; chamfer, mean over frames",
    "cd_m": "nearest partners chosen in frame 0, aligned; their un-squared distance, mean over frames and over all "
    "points of either side, summed over both directions; needs faces that stay",
    "chamfer": "mean un-squared distance of query points of either side to all points of the other, summed",
    "alignment": "24 axis-aligned starts, or without every_start the 22 rotations of the public list; rotation, "
    "shift, scale per axis by Adam on the sum of mean squared distances; kept of the best step: the rotation before "
    "its update, shift and scale after it; without exhaustive only starts that pass a screening use all points: its "
    "lowest loss with screen_points of either side is at most 1 + screen_margin times the least",
    "average": "mean over the objects that could be measured; the others are listed",
    "floor": "the truth against a second drawing of itself (a cloud: its two halves), not aligned; predictions have "
    "other points than the truth too, so the truth as a prediction does not fall below it",
}


@dataclass(frozen=True)
class ActionBench(ActionBenchSettings):
    """points: drawn per predicted frame. alignment_points: of either side in the alignment, `steps` of Adam at `rate`.
    queries: points of either side whose nearest distance counts in CD-3D and CD-4D. every_start: all 24 axis
    rotations; else those of the public list, which names two of them twice and so lacks two. seed: of drawn points and
    of the rows for the alignment.

    exhaustive: every start takes its steps with all `alignment_points`. Else each first takes them with `screen_points`
    of either side, and only those whose lowest loss is at most 1 + `screen_margin` times the least do so with all
    (affine.py: Screening). Figures are the same, but for rounding, unless the start that would have won is dropped.
    """

    tracked = True  # the moving mesh of a prepared object is its truth, not the closed ones

    def definitions(self) -> dict[str, str]:
        """Every quantity and rule in words."""
        return DEFINITIONS

    def starts(self) -> Float[np.ndarray, "k 3 3"]:
        """The rotations at which the alignment begins."""
        return axis_rotations() if self.every_start else axis_rotations()[list(PUBLIC_STARTS)]

    def screening(self) -> Screening | None:
        """The rule by which starts drop out of the alignment; None keeps all."""
        return None if self.exhaustive else Screening(self.screen_points, self.screen_margin)

    def expected_seconds(self, frames: int, engine: str = "scipy") -> float:
        """Time to align an object of `frames` frames here and now, nearly all of its cost: `PROBE_STEPS` steps are
        timed on two ellipsoids. With screening, a sixth of the starts is assumed to pass.
        """
        unit = np.random.default_rng(0).normal(size=(2, self.alignment_points, 3))
        unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
        source, target = unit * np.array([[1.0, 0.5, 0.3], [0.5, 0.4, 1.0]])[:, None]

        def seconds(points: int, share: float) -> float:
            starts = self.starts()[: max(1, round(share * len(self.starts())))]
            begun = time.perf_counter()
            descend(source[:points], target[:points], starts, PROBE_STEPS, self.rate, engine)
            return (time.perf_counter() - begun) / PROBE_STEPS

        if self.exhaustive or self.screen_points >= self.alignment_points:
            step = seconds(self.alignment_points, 1.0)
        else:
            step = seconds(self.screen_points, 1.0) + seconds(self.alignment_points, PASSING)
        return frames * self.steps * step

    def judge(self, truth: Sided, engine: str = "scipy") -> "BenchJudge":
        """The truth made ready, for an engine of nearest.py. Raises ValueError for a frame without a surface."""
        return BenchJudge(truth, self, engine)


class BenchJudge:
    """A true motion as points, against which predictions are measured."""

    def __init__(self, truth: Sided, protocol: ActionBench, engine: str = "scipy") -> None:
        self.protocol, self.source, self.engine = protocol, truth, engine
        self.followed = _followed(truth)
        self.truth = _points_of_truth(truth, protocol.points, protocol.seed + TRUTH_SEED)

    def score(self, predicted: Sided) -> Scores:
        """The three distances. Raises ValueError for a frame without a surface, as nothing can be aligned to it."""
        protocol, frames = self.protocol, predicted.frames
        if len(frames) != len(self.truth):
            raise ValueError(f"{len(frames)} predicted frames cannot be compared with {len(self.truth)} true ones")
        drawn = [draw(frame, protocol.points, protocol.seed + number) for number, frame in enumerate(frames)]
        rows = _rows(protocol.points, protocol.alignment_points, protocol.seed)
        others = _rows(len(self.truth[0]), protocol.alignment_points, protocol.seed)
        places = [self._fit(mine[rows], theirs[others]) for mine, theirs in zip(drawn, self.truth, strict=True)]
        pairs = list(zip(drawn, self.truth, places, strict=True))
        values = {
            "cd_3d": float(np.mean([self._chamfer(place(mine), theirs) for mine, theirs, place in pairs])),
            "cd_4d": float(np.mean([self._chamfer(places[0](mine), theirs) for mine, theirs, _ in pairs])),
            "cd_m": float("nan"),
        }
        absent = {}
        if not self.followed:
            absent["cd_m"] = "the points of the ground truth are not tracked"
        elif not one_topology(frames):
            absent["cd_m"] = "the faces of the prediction change, or it has none"
        else:
            values["cd_m"] = self._motion([places[0](points) for points in carried(frames, protocol)])
        return Scores(values, len(frames), 0, absent)

    def floor(self) -> Scores:
        """The truth against itself: a mesh is drawn again, a cloud is split in two halves. Nothing is aligned."""
        if isinstance(self.source.frames[0], Mesh):
            again = _points_of_truth(self.source, self.protocol.points, self.protocol.seed)
            truth = self.truth
        else:
            rows = np.random.default_rng(self.protocol.seed).permutation(len(self.truth[0]))
            half = len(rows) // 2
            again = [points[rows[:half]] for points in self.truth]
            truth = [points[rows[half:]] for points in self.truth]
        distance = float(np.mean([self._chamfer(*pair) for pair in zip(again, truth, strict=True)]))
        motion = self._motion(again, truth) if self.followed else float("nan")
        return Scores({"cd_3d": distance, "cd_4d": distance, "cd_m": motion}, len(truth), 0)

    def _fit(self, source: Points, target: Points) -> Affine:
        protocol = self.protocol
        return fit_affine(
            source, target, protocol.steps, protocol.rate, self.engine, protocol.starts(), protocol.screening()
        )[0]

    def _chamfer(self, predicted: Points, truth: Points) -> float:
        of_truth, of_predicted = (self.protocol.query_seed + extra for extra in QUERY_SEEDS)
        theirs = _rows(len(truth), self.protocol.queries, of_truth)
        mine = _rows(len(predicted), self.protocol.queries, of_predicted)
        back, _ = plant(predicted, self.engine)(truth[theirs])
        forth, _ = plant(truth, self.engine)(predicted[mine])
        return float(back.mean() + forth.mean())

    def _motion(self, predicted: Sequence[Points], truth: Sequence[Points] | None = None) -> float:
        """CD-M of aligned, followed points."""
        truth = self.truth if truth is None else truth
        _, of_theirs = plant(predicted[0], self.engine)(truth[0])
        _, of_mine = plant(truth[0], self.engine)(predicted[0])
        back = [np.linalg.norm(t - p[of_theirs], axis=1) for p, t in zip(predicted, truth, strict=True)]
        forth = [np.linalg.norm(p - t[of_mine], axis=1) for p, t in zip(predicted, truth, strict=True)]
        return float(np.mean(back) + np.mean(forth))


def draw(frame: Frame, count: int, seed: int) -> Points:
    """`count` points: of a mesh uniform by area, of a cloud in proportion to its weights. ValueError when empty."""
    if frame_failed(frame):
        raise ValueError("a predicted frame has no surface (no triangle of positive area, or vertices not finite)")
    if isinstance(frame, Cloud):
        points, weights = frame.points[frame.usable], frame.weights[frame.usable].astype(np.float64)
        return points[np.random.default_rng(seed).choice(len(points), count, p=weights / weights.sum())].astype(float)
    return np.asarray(trimesh.sample.sample_surface(_trimesh(frame), count, seed=seed)[0], dtype=np.float64)


def carried(frames: Sequence[Frame], protocol: ActionBench) -> list[Points]:
    """Points drawn on frame 0 and followed through frames of one topology."""
    return follow_points(frames, protocol.points, protocol.seed)


def follow_points(frames: Sequence[Frame], count: int, seed: int) -> list[Points]:
    """Barycentric points of frame 0 in every frame, drawn as PyTorch3D draws: by float32 area, uniform in each."""
    first = frames[0]
    assert isinstance(first, Mesh)
    generator = torch.Generator().manual_seed(seed)
    placed = first.vertices.astype(np.float64)[first.faces]
    # a power of two keeps the draw as it is, and areas within the range of float32
    unit = 2.0 ** -round(np.log2(np.ptp(placed.reshape(-1, 3), axis=0).max()))
    corners = torch.from_numpy((placed * unit).astype(np.float32))
    edges = corners[:, 1:] - corners[:, :1]
    areas = torch.linalg.cross(edges[:, 0], edges[:, 1]).norm(dim=-1) / 2
    face = areas.multinomial(count, replacement=True, generator=generator)
    far, along = torch.rand(2, count, generator=generator)
    far = far.sqrt()
    weights = torch.stack([1 - far, far * (1 - along), far * along], dim=-1).double().numpy()
    rows = first.faces[face.numpy()]
    return [np.einsum("nk,nkc->nc", weights, points_of(frame).astype(np.float64)[rows]) for frame in frames]


def _followed(truth: Sided) -> bool:
    """Whether a point of frame 0 is known in all others."""
    return one_topology(truth.frames) or (isinstance(truth, Motion) and truth.tracked)


def _points_of_truth(truth: Sided, count: int, seed: int) -> list[Points]:
    for number, frame in enumerate(truth.frames):
        if frame_failed(frame):
            raise ValueError(f"the true mesh of frame {number} has no surface: prepare the object again")
    if one_topology(truth.frames):
        return follow_points(truth.frames, count, seed)
    if isinstance(truth, Motion) and truth.tracked:
        return [points_of(frame).astype(np.float64) for frame in truth.frames]
    return [draw(frame, count, seed + number) for number, frame in enumerate(truth.frames)]


def _trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.astype(np.float64), mesh.faces, process=False)


def _rows(points: int, count: int, seed: int) -> np.ndarray:
    """The first rows of one permutation by numpy's legacy generator, whose stream is frozen."""
    return np.random.RandomState(seed).permutation(points)[:count]
