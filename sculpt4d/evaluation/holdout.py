"""The holdout, object by object and seed by seed, each result kept so that a second run recomputes nothing."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torchmetrics import Metric

from sculpt4d.data.files import write_text
from sculpt4d.evaluation.protocols.protocol import Judge, Protocol
from sculpt4d.evaluation.records import kept
from sculpt4d.types import Clip, MeshSequence

log = logging.getLogger(__name__)

FORMAT = 2  # raised when the same settings would give other numbers, so that old results are not taken up

Measured = TypeVar("Measured")
Predict = Callable[[Clip, int], MeshSequence]


class Case(NamedTuple):
    """One held-out object. `seen`: whether its family was trained on. `truth`: closed meshes in the clip's box."""

    name: str
    family: str
    seen: bool
    clip: Clip
    truth: MeshSequence


@dataclass(frozen=True)
class Sample:
    """What one sampling seed gave. failures: frames without a surface. seconds: of the prediction alone. absent: why a
    quantity is NaN.
    """

    values: Mapping[str, float]
    failures: int
    seconds: float
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Everything measured of one object. floor: the truth against itself. samples: by sampling seed.

    `digest` is that of the object's own data: prepared again with other content, it is measured again.
    """

    name: str
    family: str
    seen: bool
    frames: int
    digest: str
    floor: Mapping[str, float]
    samples: Mapping[int, Sample]


class Incomparable(ValueError):
    """An object's truth or prediction cannot be measured; it is no fault of the settings."""


class Outcome(NamedTuple):
    """measured: objects with all sampling seeds. failed: name to reason of those that could not be measured."""

    measured: list[Result]
    failed: dict[str, str]


def evaluate_cases(
    cases: Iterable[Case],
    predict: Predict,
    protocol: Protocol,
    seeds: Sequence[int],
    folder: Path,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Metric] | None = None,
    total: int | None = None,
) -> Outcome:
    """Results of all cases. `settings` is everything the numbers depend on but data and seeds; results lie under
    `folder`/objects/<its hash>. An object that cannot be compared is told and left out, and tried again by the next
    run. Raises ValueError when none is left, and, naming the object, where `predict` does.
    """
    if not seeds:
        raise ValueError("seeds=[]: at least one sampling seed is needed")
    kept = folder / "objects" / settings_key(settings)
    found = Outcome([], {})
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("holdout", total=None if total is None else total * len(seeds))
        for case in cases:
            progress.update(task, description=case.name)
            path = kept / f"{case.name}.json"
            step = partial(progress.advance, task)
            try:
                found.measured.append(_evaluate_case(case, predict, protocol, seeds, path, metrics, step))
            except Incomparable as error:
                found.failed[case.name] = str(error)
                log.warning("%s was not measured: %s", case.name, error)
            except ValueError as error:
                raise ValueError(f"holdout object {case.name}: {error}") from error
    if not found.measured and found.failed:
        told = "; ".join(f"{name}: {why}" for name, why in found.failed.items())
        raise ValueError(f"none of the {len(found.failed)} held-out objects could be measured: {told}")
    if not found.measured:
        raise ValueError("the holdout is empty: prepare data with a holdout, or set limit to at least 1")
    return found


def _evaluate_case(
    case: Case,
    predict: Predict,
    protocol: Protocol,
    seeds: Sequence[int],
    path: Path,
    metrics: Mapping[str, Metric] | None,
    advance: Callable[[], None],
) -> Result:
    digest = case_digest(case)
    result = kept(path, read_result)
    if result is not None and result.digest != digest:
        result = None
    missing = [seed for seed in seeds if result is None or seed not in result.samples]
    for _ in range(len(seeds) - len(missing)):
        advance()
    if missing:
        judge = _measured(partial(Judge, case.truth, protocol, metrics))
        if result is None:
            floor = _measured(judge.floor).values
            result = Result(case.name, case.family, case.seen, len(case.truth.frames), digest, floor, {})
        for seed in missing:
            started = time.perf_counter()
            predicted = predict(case.clip, seed)
            seconds = time.perf_counter() - started
            scores = _measured(partial(judge.score, predicted))
            sample = Sample(scores.values, scores.failures, round(seconds, 3), scores.absent)
            result = replace(result, samples={**result.samples, seed: sample})
            write_json(path, asdict(result))
            advance()
    assert result is not None
    return replace(result, family=case.family, seen=case.seen, samples={seed: result.samples[seed] for seed in seeds})


def _measured(measure: Callable[[], Measured]) -> Measured:
    """What `measure` gives; a ValueError of its own says that the object is not comparable."""
    try:
        return measure()
    except ValueError as error:
        raise Incomparable(str(error)) from error


def settings_key(settings: Mapping[str, Any]) -> str:
    """Short hash of settings that JSON can hold."""
    text = json.dumps({"format": FORMAT, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def case_digest(case: Case) -> str:
    """Hash of an object's pictures, points and true meshes."""
    digest = hashlib.sha256()
    for tensor in (case.clip.images, case.clip.surface, case.clip.queries):
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    for mesh in case.truth.frames:
        digest.update(np.ascontiguousarray(mesh.vertices).data)
        digest.update(np.ascontiguousarray(mesh.faces.astype(np.int64)).data)
    return digest.hexdigest()[:16]


def read_result(path: Path) -> Result:
    """A kept result; null is NaN."""
    record = json.loads(path.read_text())
    record["floor"] = _numbers(record["floor"])
    record["samples"] = {
        int(seed): Sample(**{**sample, "values": _numbers(sample["values"])})
        for seed, sample in record["samples"].items()
    }
    return Result(**record)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes strict JSON (NaN becomes null), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_plain(record), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in values.items()}
