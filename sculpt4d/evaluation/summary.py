"""Results of the objects to the numbers of a table: means, standard errors, spread over seeds, splits and families."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sculpt4d.evaluation.measure import Measurement, Result, Source
from sculpt4d.evaluation.metrics.geometry import summarize


@dataclass(frozen=True)
class Split:
    """Some of the objects: how many, mean of every quantity and its standard error over these objects."""

    objects: int
    mean: Mapping[str, float]
    error: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """All measured objects.

    measured: how many objects each mean is of. seed_means: by quantity, the mean over the objects with each seed.
    spread: standard deviation of these, NaN with one seed. floor: ground truth against itself. splits: objects of
    families that were trained on (`seen`) and others. failures: predicted frames without a surface, of `frames`, in
    `objects_with_failures` objects; open_frames: predicted meshes that are not closed. absent: by object and
    quantity, the reason why it has none; absent_of_set: the same of quantities of all objects together.
    seconds_per_clip: mean time of a prediction, None where a result does not have it.
    """

    objects: int
    mean: Mapping[str, float]
    error: Mapping[str, float]
    measured: Mapping[str, int]
    seed_means: Mapping[str, Sequence[float]]
    spread: Mapping[str, float]
    floor: Mapping[str, float]
    splits: Mapping[str, Split]
    families: Mapping[str, Split]
    failures: int
    objects_with_failures: int
    open_frames: int
    frames: int
    absent: Mapping[str, Mapping[str, str]]
    absent_of_set: Mapping[str, str]
    seconds_per_clip: float | None


def summarize_results(found: Measurement, source: Source) -> Summary:
    """The numbers of a table; without any result every count is 0 and no quantity has a mean."""
    results, families = found.measured, source.families
    of_set = source.of_set(results) if source.of_set else {}
    whole = split_of(results)
    having = {name: [r for r in results if math.isfinite(r.values.get(name, math.nan))] for name in whole.mean}
    seed_means = {
        name: [summarize([result.samples[seed].values[name] for result in those]).mean for seed in source.seeds]
        for name, those in having.items()
    }
    spread = {name: float(np.std(means, ddof=1)) if len(means) > 1 else math.nan for name, means in seed_means.items()}
    groups: dict[str, list[Result]] = {"seen": [], "unseen": []}
    by_family: dict[str, list[Result]] = {
        family: [] for family in sorted({family.name for family in families.values()})
    }
    for result in results:
        if family := families.get(result.name):
            groups["seen" if family.seen else "unseen"].append(result)
            by_family[family.name].append(result)
    seconds = [sample.seconds for result in results for sample in result.samples.values()]
    known = [value for value in seconds if value is not None]
    floor = {name: summarize([result.floor.get(name, math.nan) for result in results]).mean for name in whole.mean}
    return Summary(
        objects=whole.objects,
        mean={**whole.mean, **{name: value.value for name, value in of_set.items()}},
        error={**whole.error, **dict.fromkeys(of_set, math.nan)},
        measured={name: len(those) for name, those in having.items()} | {n: v.objects for n, v in of_set.items()},
        seed_means=seed_means,
        spread={**spread, **dict.fromkeys(of_set, math.nan)},
        floor={**floor, **{name: value.floor for name, value in of_set.items()}},
        splits={name: split_of(group) for name, group in groups.items() if group},
        families={name: split_of(group) for name, group in by_family.items() if group},
        failures=sum(result.failed_frames for result in results),
        objects_with_failures=sum(result.failed_frames > 0 for result in results),
        open_frames=sum(result.open_frames for result in results),
        frames=sum(result.frames * len(result.samples) for result in results),
        absent={result.name: result.absent for result in results if result.absent},
        absent_of_set={name: value.absent for name, value in of_set.items() if value.absent},
        seconds_per_clip=float(np.mean(known)) if known and len(known) == len(seconds) else None,
    )


def split_of(results: Sequence[Result]) -> Split:
    """Mean and standard error over some objects, of every quantity that one of them has."""
    names = dict.fromkeys(name for result in results for name in result.values)
    averages = {name: summarize([result.values.get(name, math.nan) for result in results]) for name in names}
    return Split(
        len(results),
        {name: average.mean for name, average in averages.items()},
        {name: average.error for name, average in averages.items()},
    )
