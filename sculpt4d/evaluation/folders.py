"""Folders of predictions as a source: anyone's output against a ground truth, objects paired by name.

What cannot be measured fails with its reason and is left out of the means, whose number of objects is stated.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sculpt4d.evaluation.inputs.layouts import MotionSource, files_of, find_motions
from sculpt4d.evaluation.inputs.pairing import pair_objects
from sculpt4d.evaluation.inputs.reading import read_motion
from sculpt4d.evaluation.measure import Opened, Result, Sample, Source
from sculpt4d.evaluation.metrics.geometry import FAILED_CHAMFER
from sculpt4d.evaluation.metrics.motion import Cloud, Motion, open_frames
from sculpt4d.evaluation.protocols.actionbench import ActionBench
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.provenance import seconds_per_clip
from sculpt4d.files import file_digest
from sculpt4d.jobs.executor import Executor

UNKNOWN = "no prediction: the folder has no file or subfolder of this name that holds a known layout"


@dataclass(frozen=True)
class FolderObject:
    """One pair of motions. moments: at which an animated ground truth is read. engine: of the nearest neighbours."""

    name: str
    predicted: MotionSource
    truth: MotionSource
    protocol: Protocol | ActionBench
    moments: int
    engine: str

    def open(self) -> Opened:
        """Hashes all files of both sides. Raises ValueError or OSError for files that cannot be read."""
        digest = files_digest([*files_of(self.predicted), *files_of(self.truth)])
        if notes := [*self.predicted.notes, *self.truth.notes]:  # of the names of files
            digest = hashlib.sha256("\n".join([digest, *notes]).encode()).hexdigest()[:16]
        return Opened(digest, self._measure)

    def _measure(self, result: Result, seeds: Sequence[int]) -> Iterator[Result]:
        """The one sample that a folder holds. Raises ValueError or OSError."""
        started = time.perf_counter()
        truth = read_side(self.truth, self.moments, "ground_truth", self.protocol.tracked)
        predicted = read_side(self.predicted, len(truth.frames), "prediction", self.protocol.tracked)
        predicted = predicted.cut(len(truth.frames))
        judge = self.protocol.judge(truth, self.engine)
        scores, floor = judge.score(predicted), judge.floor()
        (seed,) = seeds
        yield replace(
            result,
            frames=scores.frames,
            floor=floor.values,
            samples={seed: Sample(scores.values, scores.failures, scores.absent)},
            open_frames=open_frames(predicted.frames),
            layouts={"prediction": predicted.layout, "ground_truth": truth.layout},
            notes=[
                *(f"prediction: {note}" for note in predicted.notes),
                *(f"ground truth: {note}" for note in truth.notes),
                *_rates(predicted, truth),
                *_scarce(truth, self.protocol),
            ],
            seconds=round(time.perf_counter() - started, 3),
        )


def plan_folders(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol | ActionBench,
    output: Path,
    executor: Executor,
    *,
    method: str | None = None,
    moments: int = 16,
    engine: str = "scipy",
    pattern: str | None = None,
    names: Sequence[str] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Source:
    """Every object of the ground truth, or those of `names`.

    pattern: glob of a prediction's files (layouts.py). constants: of the protocol, as its configuration has them.
    Raises FileNotFoundError when a side holds no object, and ValueError for a damaged generation.json.
    """
    sides = (predictions, find_motions(predictions, pattern)), (ground_truth, find_motions(ground_truth))
    pairs = pair_objects(*sides, names)
    method = method or predictions.name
    settings: dict[str, Any] = {"protocol": dict(constants or {}), "moments": moments}
    return Source(
        method=method,
        title=f"{method}, protocol {protocol.name}",
        output=output,
        jobs=[FolderObject(name, *pair, protocol, moments, engine) for name, pair in pairs.found.items()],
        executor=executor,
        seeds=(protocol.seed,),
        identity={"source": "folders", **settings},
        settings=settings,
        protocol={**settings["protocol"], "failed_chamfer": FAILED_CHAMFER, "definitions": protocol.definitions()},
        facts={"neighbours": engine, "seconds_per_clip": seconds_per_clip(predictions)},
        failed=dict.fromkeys(pairs.missing, UNKNOWN),
        without_ground_truth=pairs.without_ground_truth,
    )


def files_digest(files: Sequence[Path]) -> str:
    """Hash of the contents of files, in order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(file_digest(file)))
    return digest.hexdigest()[:16]


def read_side(found: MotionSource, moments: int, side: str, tracked: bool = False) -> Motion:
    """The motion of `prediction` or `ground_truth`; what is wrong with it is said with the side. Raises ValueError."""
    told = f"the {side.replace('_', ' ')}"
    try:
        motion = read_motion(found, moments, tracked)
    except ValueError as error:
        raise ValueError(f"{told} cannot be read: {error}") from error
    if not motion.frames:
        raise ValueError(f"{told} has no frame: {found.path}")
    return motion


def _scarce(truth: Motion, protocol: Protocol | ActionBench) -> list[str]:
    """A cloud is measured against itself without a common point only while it has twice the points (metrics.py)."""
    least = min((int(frame.usable.sum()) for frame in truth.frames if isinstance(frame, Cloud)), default=None)
    if isinstance(protocol, ActionBench) or least is None or least >= 2 * protocol.points:
        return []
    return [f"the ground truth has {least} points a frame, {protocol.points} are drawn twice: its floor is too low"]


def _rates(predicted: Motion, truth: Motion) -> list[str]:
    if predicted.fps is None or truth.fps is None or abs(predicted.fps - truth.fps) < 1e-3 * truth.fps:
        return []
    return [f"frame rates differ ({predicted.fps:g} and {truth.fps:g} per second): frames were paired by their number"]
