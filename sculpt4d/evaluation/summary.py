"""Results of the objects to the numbers of a table: means, standard errors, spread over seeds, splits and families."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sculpt4d.evaluation.holdout import Result
from sculpt4d.evaluation.metrics.average import summarize


@dataclass(frozen=True)
class Split:
    """Some of the objects: how many, mean of every quantity and its standard error over these objects."""

    objects: int
    mean: Mapping[str, float]
    error: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """All objects. measured: of how many objects each mean is. seed_means: mean over the objects, by quantity, one per
    seed; spread: standard deviation of these (NaN with one seed). floor: the truth against itself. failures: frames
    without a surface, of `frames` in all, in `objects_with_failures` objects. absent: name of the object to quantity to
    the reason why it has none with one of the seeds.
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
    frames: int
    absent: Mapping[str, Mapping[str, str]]
    seconds_per_clip: float


def object_means(result: Result) -> dict[str, float]:
    """Every quantity of one object, averaged over its sampling seeds; NaN where it is absent with one of them."""
    samples = list(result.samples.values())
    return {name: float(np.mean([sample.values[name] for sample in samples])) for name in samples[0].values}


def absent_of(result: Result) -> dict[str, str]:
    """Why quantities of one object are NaN."""
    return {name: why for sample in result.samples.values() for name, why in sample.absent.items()}


def split_of(results: Sequence[Result]) -> Split:
    """Mean and standard error over some objects."""
    objects = [object_means(result) for result in results]
    summaries = {name: summarize([values[name] for values in objects]) for name in objects[0]}
    return Split(
        len(results),
        {name: summary.mean for name, summary in summaries.items()},
        {name: summary.error for name, summary in summaries.items()},
    )


def summarize_results(results: Sequence[Result]) -> Summary:
    """The numbers of a table. All results hold the same seeds."""
    whole = split_of(results)
    seeds = list(results[0].samples)
    having = {name: [r for r in results if math.isfinite(object_means(r)[name])] for name in whole.mean}
    seed_means = {
        name: [summarize([result.samples[seed].values[name] for result in those]).mean for seed in seeds]
        for name, those in having.items()
    }
    spread = {name: float(np.std(means, ddof=1)) if len(seeds) > 1 else math.nan for name, means in seed_means.items()}
    groups = {"seen": [r for r in results if r.seen], "unseen": [r for r in results if not r.seen]}
    families = sorted({result.family for result in results})
    samples = [sample for result in results for sample in result.samples.values()]
    return Summary(
        objects=whole.objects,
        mean=whole.mean,
        error=whole.error,
        measured={name: len(those) for name, those in having.items()},
        seed_means=seed_means,
        spread=spread,
        floor={name: summarize([result.floor[name] for result in results]).mean for name in results[0].floor},
        splits={name: split_of(group) for name, group in groups.items() if group},
        families={family: split_of([r for r in results if r.family == family]) for family in families},
        failures=sum(sample.failures for sample in samples),
        objects_with_failures=sum(any(s.failures for s in result.samples.values()) for result in results),
        frames=sum(result.frames * len(result.samples) for result in results),
        absent={result.name: reasons for result in results if (reasons := absent_of(result))},
        seconds_per_clip=float(np.mean([sample.seconds for sample in samples])),
    )
