"""Anyone's output against a ground truth: objects paired by name, measured side by side, each result kept.

What cannot be measured is listed with its reason and left out of the means, whose number of objects is stated.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sculpt4d.data.files import file_digest
from sculpt4d.evaluation.holdout import settings_key, write_json
from sculpt4d.evaluation.inputs.layouts import Found, files_of, find_motions
from sculpt4d.evaluation.inputs.pairing import pair_objects
from sculpt4d.evaluation.inputs.reading import read_motion
from sculpt4d.evaluation.metrics.average import summarize
from sculpt4d.evaluation.metrics.motion import Cloud, Motion, open_frames
from sculpt4d.evaluation.protocols.actionbench import ActionBench
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.records import kept
from sculpt4d.jobs.executor import Executor
from sculpt4d.jobs.progress import shown

FORMAT = 3  # raised when the same files and constants would give other numbers
UNKNOWN = "no prediction: the folder has no file or subfolder of this name that holds a known layout"


class Task(NamedTuple):
    """One object to measure. moments: at which an animated ground truth is read; engine: of the nearest neighbours
    (nearest.py); path: of its result.
    """

    name: str
    predicted: Found
    truth: Found
    protocol: Protocol | ActionBench
    moments: int
    engine: str
    path: Path


@dataclass(frozen=True)
class Measured:
    """One object's numbers. absent: why a quantity has none. failed_frames: predicted frames without a surface, charged
    as the protocol says; open_frames: predicted meshes whose solid is one of generalised winding numbers.
    """

    name: str
    digest: str
    values: Mapping[str, float]
    floor: Mapping[str, float]
    absent: Mapping[str, str]
    frames: int
    failed_frames: int
    open_frames: int
    layouts: Mapping[str, str]
    notes: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class Measurement:
    """All objects of a ground truth, `objects` in number: those measured, and by name why the others were not.

    without_ground_truth: names of predictions that the ground truth does not have; they are no failure of the method.
    """

    measured: Sequence[Measured]
    failed: Mapping[str, str]
    objects: int
    without_ground_truth: Sequence[str] = ()

    @property
    def success_rate(self) -> float:
        """Share of the ground truth's objects that could be measured."""
        return len(self.measured) / max(self.objects, 1)


def measure_folders(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol | ActionBench,
    folder: Path,
    settings: Mapping[str, Any],
    executor: Executor,
    moments: int = 16,
    engine: str = "scipy",
    pattern: str | None = None,
    names: Sequence[str] | None = None,
) -> Measurement:
    """Every object of the ground truth, or those of `names`. pattern: of a prediction's files (layouts.py).

    Results lie under `folder`/objects/<hash of settings> and are taken up again while the files they were made from
    are the same. Raises FileNotFoundError when a side holds no object.
    """
    sides = (predictions, find_motions(predictions, pattern)), (ground_truth, find_motions(ground_truth))
    pairs = pair_objects(*sides, names)
    kept = folder.absolute() / "objects" / settings_key({"folders": FORMAT, "moments": moments, **settings})
    tasks = [Task(name, *pair, protocol, moments, engine, kept / f"{name}.json") for name, pair in pairs.found.items()]
    failed = {name: UNKNOWN for name in pairs.missing}
    kept.mkdir(parents=True, exist_ok=True)
    for outcome in shown(executor.run(tasks, measure, kept), len(tasks), "Measuring"):
        if outcome.status == "failed":
            failed[outcome.name] = outcome.reason
    done = [task for task in tasks if task.name not in failed]
    measured = [read_measured(task.path) for task in done]
    return Measurement(measured, dict(sorted(failed.items())), pairs.objects, pairs.without_ground_truth)


def refuse_nothing(found: Measurement, path: Path) -> None:
    """Raises ValueError, naming the result file, when no object was measured."""
    if found.measured:
        return
    if found.failed:
        raise ValueError(f"none of the {len(found.failed)} objects could be measured: {path} says why")
    asked = ", ".join(found.without_ground_truth)
    raise ValueError(f"the ground truth has none of the objects {asked}: see its names, and those of predictions")


def measure(task: Task) -> None:
    """One object to its file, unless that is there and of the same input. Raises ValueError or OSError."""
    digest = input_digest(task)
    done = kept(task.path, read_measured)
    if done is not None and done.digest == digest:
        return
    started = time.perf_counter()
    truth = read_side(task.truth, task.moments, "ground_truth", task.protocol.tracked)
    predicted = read_side(task.predicted, len(truth.frames), "prediction", task.protocol.tracked)
    predicted = predicted.cut(len(truth.frames))
    judge = task.protocol.judge(truth, task.engine)
    scores, floor = judge.score(predicted), judge.floor()
    result = Measured(
        name=task.name,
        digest=digest,
        values=scores.values,
        floor=floor.values,
        absent=scores.absent,
        frames=scores.frames,
        failed_frames=scores.failures,
        open_frames=open_frames(predicted.frames),
        layouts={"prediction": predicted.layout, "ground_truth": truth.layout},
        notes=[
            *(f"prediction: {note}" for note in predicted.notes),
            *(f"ground truth: {note}" for note in truth.notes),
            *_rates(predicted, truth),
            *_scarce(truth, task.protocol),
        ],
        seconds=round(time.perf_counter() - started, 3),
    )
    write_json(task.path, asdict(result))


def input_digest(task: Task) -> str:
    """Hash of all files, and of what was noted of their names."""
    files = files_digest([*files_of(task.predicted), *files_of(task.truth)])
    notes = [*task.predicted.notes, *task.truth.notes]
    return hashlib.sha256("\n".join([files, *notes]).encode()).hexdigest()[:16] if notes else files


def read_measured(path: Path) -> Measured:
    """A kept result; null is NaN."""
    record = json.loads(path.read_text())
    for side in ("values", "floor"):
        record[side] = {name: float("nan") if value is None else value for name, value in record[side].items()}
    return Measured(**record)


def files_digest(files: Sequence[Path]) -> str:
    """Hash of the contents of files, in order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(file_digest(file)))
    return digest.hexdigest()[:16]


def record_of(found: Measurement, numbers: Mapping[str, Any], method: str, seed: int) -> dict[str, Any]:
    """What metrics.json says of the objects, whatever was measured of them."""
    return {
        "method": method,
        "objects": len(found.measured),
        "success_rate": found.success_rate,
        "failed_objects": dict(found.failed),
        "without_ground_truth": list(found.without_ground_truth),
        **numbers,
        "spread": dict.fromkeys(numbers["mean"], float("nan")),
        "seeds": [seed],
        "frames": sum(entry.frames for entry in found.measured),
        "failures": sum(entry.failed_frames for entry in found.measured),
        "per_object": [{**asdict(entry), "samples": {seed: {"values": entry.values}}} for entry in found.measured],
    }


def summarize_measured(measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """`mean`, its standard `error` and the `floor` by quantity; a quantity that no object has is NaN."""
    names = list(dict.fromkeys(name for entry in measured for name in entry.values))
    columns = {name: summarize([entry.values.get(name, float("nan")) for entry in measured]) for name in names}
    floors = {name: summarize([entry.floor.get(name, float("nan")) for entry in measured]) for name in names}
    return {
        "mean": {name: column.mean for name, column in columns.items()},
        "error": {name: column.error for name, column in columns.items()},
        "floor": {name: column.mean for name, column in floors.items()},
        "measured": {name: column.objects for name, column in columns.items()},
    }


def read_side(found: Found, moments: int, side: str, tracked: bool = False) -> Motion:
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
