"""The holdout as a source: held-out objects, predicted here by a model or a baseline with several sampling seeds."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from torchmetrics import Metric

from sculpt4d.evaluation.measure import InProcess, Opened, Result, Sample
from sculpt4d.evaluation.metrics.motion import open_frames
from sculpt4d.evaluation.protocols.protocol import Evaluator, Protocol
from sculpt4d.types import Clip, MeshSequence

Predict = Callable[[Clip, int], MeshSequence]
Value = TypeVar("Value")


class Case(NamedTuple):
    """The data of one object. truth: closed meshes in the clip's box."""

    clip: Clip
    truth: MeshSequence


class Incomparable(ValueError):
    """This object's ground truth or prediction cannot be measured; other objects can."""


EXECUTOR = InProcess(failing=(Incomparable,))  # an error of the prediction itself would meet every object


@dataclass(frozen=True)
class HeldOut:
    """One held-out object. read: its data, when its turn comes, so that one object is in memory at a time."""

    name: str
    read: Callable[[str], Case]
    predict: Predict
    protocol: Protocol
    metrics: Mapping[str, Metric] | None = None

    def open(self) -> Opened:
        """Reads the object. Raises what `read` raises."""
        case = self.read(self.name)
        return Opened(case_digest(case), partial(self._measure, case))

    def _measure(self, case: Case, result: Result, seeds: Sequence[int]) -> Iterator[Result]:
        """A result after every seed. Raises Incomparable, and ValueError, naming the object, where `predict` does."""
        started, predicting = time.perf_counter(), 0.0
        judge = _comparable(partial(Evaluator, case.truth, self.protocol, self.metrics))
        if not result.samples:
            result = replace(result, frames=len(case.truth.frames), floor=_comparable(judge.floor).values)
        spent = result.seconds
        for seed in seeds:
            begun = time.perf_counter()
            predicted = self._predict(case.clip, seed)
            seconds = time.perf_counter() - begun
            predicting += seconds
            scores = _comparable(partial(judge.score, predicted))
            sample = Sample(scores.values, scores.failures, scores.absent, round(seconds, 3))
            result = replace(
                result,
                samples={**result.samples, seed: sample},
                open_frames=result.open_frames + open_frames(predicted.frames),
                seconds=round(spent + time.perf_counter() - started - predicting, 3),
            )
            yield result

    def _predict(self, clip: Clip, seed: int) -> MeshSequence:
        try:
            return self.predict(clip, seed)
        except ValueError as error:
            raise ValueError(f"holdout object {self.name}: {error}") from error


def case_digest(case: Case) -> str:
    """Hash of an object's images, points and true meshes."""
    digest = hashlib.sha256()
    for tensor in (case.clip.images, case.clip.surface, case.clip.queries):
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    for mesh in case.truth.frames:
        digest.update(np.ascontiguousarray(mesh.vertices).data)
        digest.update(np.ascontiguousarray(mesh.faces.astype(np.int64)).data)
    return digest.hexdigest()[:16]


def _comparable(measure: Callable[[], Value]) -> Value:
    """What `measure` returns; its ValueError becomes Incomparable."""
    try:
        return measure()
    except ValueError as error:
        raise Incomparable(str(error)) from error
