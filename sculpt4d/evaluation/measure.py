"""The measuring loop: objects of any source, one kept result per object, read back for the summary.

A source (holdout.py, folders.py, appearance_source.py) plans its objects and says how each is measured. What follows is
the same for all: a result lies under `<output>/objects/<hash of the settings>`, is reused while the object's data are
the same, and is measured again when it is damaged.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sculpt4d import identity
from sculpt4d.evaluation.records import kept, number, numbers, part
from sculpt4d.files import write_json
from sculpt4d.jobs.executor import DISK_FULL, Executor, Named, Outcome, Work, refuse_doubles
from sculpt4d.jobs.progress import shown

FORMAT = 4  # raised when the same files and settings would give other numbers, or when results have other fields


@dataclass(frozen=True)
class Sample:
    """One prediction of an object, measured.

    values: by quantity, NaN where `absent` has the reason. failures: predicted frames without a surface. seconds: that
    the prediction took; None where nothing says it.
    """

    values: Mapping[str, float]
    failures: int = 0
    absent: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True)
class Result:
    """Everything measured of one object.

    digest: of all data the numbers come from. frames: of the ground truth. floor: the ground truth measured against
    itself. samples: by seed. open_frames: predicted meshes that are not closed, of all samples. layouts: what each side
    was read as. seconds: that measuring took. features: rows by side, for quantities of the whole set.
    """

    name: str
    digest: str
    frames: int = 0
    floor: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[int, Sample] = field(default_factory=dict)
    open_frames: int = 0
    layouts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    seconds: float = 0.0
    features: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)

    @cached_property
    def values(self) -> dict[str, float]:
        """Every quantity averaged over the samples; NaN where one of them does not have it."""
        samples = list(self.samples.values())
        return {name: float(np.mean([sample.values[name] for sample in samples])) for name in samples[0].values}

    @property
    def absent(self) -> dict[str, str]:
        """Why quantities are NaN."""
        return {name: why for sample in self.samples.values() for name, why in sample.absent.items()}

    @property
    def failed_frames(self) -> int:
        """Predicted frames without a surface, of all samples."""
        return sum(sample.failures for sample in self.samples.values())


class Opened(NamedTuple):
    """One object, read. measure: takes the result so far and the missing seeds, yields a result after each sample."""

    digest: str
    measure: Callable[[Result, Sequence[int]], Iterator[Result]]


@runtime_checkable
class MeasureJob(Protocol):
    """One object to measure; pickles where the source's executor starts processes.

    `open` reads it. Raises ValueError or OSError for data that cannot be read or compared.
    """

    @property
    def name(self) -> str: ...

    def open(self) -> Opened: ...


class Family(NamedTuple):
    """What an object is. seen: whether training objects are of the same family."""

    name: str
    seen: bool


class SetValue(NamedTuple):
    """A quantity of all objects together. objects: how many have a part in it; absent: why it is NaN."""

    value: float
    floor: float
    objects: int
    absent: str = ""


@dataclass(frozen=True)
class Source:
    """A planned measurement: predictions, ground truths and everything metrics.json says of them.

    method: name in tables. title: what is measured, for the printed table. output: folder of metrics.json. seeds: of
    the samples. identity: all settings that the numbers depend on, but for the seeds; kept results are found by its
    hash. settings, protocol: as in metrics.json; facts: its further keys. failed: objects that cannot be measured, with
    the reason. without_ground_truth: predictions that count neither as measured nor as failed. families: by object.
    of_set: quantities of all results together.
    """

    method: str
    title: str
    output: Path
    jobs: Sequence[MeasureJob]
    executor: Executor
    seeds: Sequence[int]
    identity: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    without_ground_truth: Sequence[str] = ()
    families: Mapping[str, Family] = field(default_factory=dict)
    of_set: Callable[[Sequence[Result]], Mapping[str, SetValue]] | None = None


@dataclass(frozen=True)
class Measurement:
    """measured: results in the order of the jobs. failed: object to the reason why it was not measured."""

    measured: Sequence[Result]
    failed: Mapping[str, str]
    without_ground_truth: Sequence[str] = ()

    @property
    def objects(self) -> int:
        """Objects measured and not."""
        return len(self.measured) + len(self.failed)

    @property
    def success_rate(self) -> float:
        """Share of the objects that were measured."""
        return len(self.measured) / max(self.objects, 1)

    def refuse_nothing(self, path: Path) -> None:
        """Raises ValueError, naming the result file, when no object was measured."""
        if self.measured:
            return
        if self.failed:
            name, reason = next(iter(self.failed.items()))
            raise ValueError(
                f"none of the {len(self.failed)} objects could be measured ({path} has every reason): {name}: {reason}"
            )
        asked = ", ".join(self.without_ground_truth)
        raise ValueError(f"the ground truth has none of the objects {asked}: see its names, and those of predictions")


class Task(NamedTuple):
    """One object and the file of its result."""

    job: MeasureJob
    path: Path
    seeds: Sequence[int]

    @property
    def name(self) -> str:
        return self.job.name


@dataclass(frozen=True)
class InProcess:
    """Executor for jobs that share networks: one after the other in this process.

    An error of the kinds `failing` fails its object; any other ends the run, and so does a full disk.
    """

    failing: tuple[type[Exception], ...]

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        """See `Executor`."""
        refuse_doubles(jobs)
        for job in jobs:
            start, reason = time.monotonic(), ""
            try:
                work(job)
            except self.failing as error:
                if isinstance(error, OSError) and error.errno in DISK_FULL:
                    raise
                reason = str(error) or type(error).__name__
            yield Outcome(job.name, "failed" if reason else "prepared", reason, time.monotonic() - start)


def measure(source: Source) -> Measurement:
    """Measures every object of a source; what an earlier run has kept is not measured again.

    Raises ValueError when two objects have one name, and what the source's executor raises.
    """
    folder = source.output.absolute() / "objects" / identity.digest({"format": FORMAT, **source.identity})
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [Task(job, folder / f"{job.name}.json", source.seeds) for job in source.jobs]
    failed = dict(source.failed)
    for outcome in shown(source.executor.run(tasks, measure_object, folder), len(tasks), "Measuring"):
        if outcome.status == "failed":
            failed[outcome.name] = outcome.reason
    results = [read_result(task.path) for task in tasks if task.name not in failed]
    asked = [replace(entry, samples={seed: entry.samples[seed] for seed in source.seeds}) for entry in results]
    return Measurement(asked, dict(sorted(failed.items())), source.without_ground_truth)


def measure_object(task: Task) -> None:
    """Leaves the object's result in its file, with a sample for every seed. Raises what the job raises."""
    opened = task.job.open()
    result = kept(task.path, read_result)
    if result is None or result.digest != opened.digest:
        result = Result(task.name, opened.digest)
    missing = [seed for seed in task.seeds if seed not in result.samples]
    for measured in opened.measure(result, missing) if missing else ():
        write_json(task.path, asdict(measured))


def read_result(path: Path) -> Result:
    """A kept result. Raises ValueError, TypeError or LookupError when the file is damaged."""
    record = part({"result": json.loads(path.read_text())}, "result")
    samples = {}
    for seed, sample in part(record, "samples").items():
        seconds = number(sample, "seconds") if part(sample, "seconds", float | int | None) is not None else None
        samples[int(seed)] = Sample(**{**sample, "values": numbers(sample, "values"), "seconds": seconds})
    return Result(**{**record, "floor": numbers(record, "floor"), "samples": samples})
