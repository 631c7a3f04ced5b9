"""Rows of a table: the runs of a variant, averaged over seeds, and which rows may stand in one table."""

import itertools
import math
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.budgets import differing as other_budget
from experiments.report import Figure
from experiments.results import Run
from sculpt4d.evaluation.records import differing as other_objects
from sculpt4d.identity import REPEATED

RULES = ("protocol", "data", "frames", "named", "total")
TOLD = {"protocol": "protocols", "frames": "numbers of frames", "total": "numbers of objects", "named": "objects"}


@dataclass(frozen=True)
class Row:
    """The runs of a variant: one per seed, the same in everything else."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The first run, for what all runs share."""
        return self.runs[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of training; empty if evaluate.py wrote the file."""
        return tuple(run.seed for run in self.runs if run.seed is not None)

    def figure(self, quantity: str, decimals: int = 4) -> Figure:
        """Mean over seeds with its standard error; for a run without seeds the standard error over objects.

        NaN: not applicable.
        """
        values, first = self.values(quantity), self.first
        error = standard_error(values) if self.seeds else first.error.get(quantity, math.nan)
        of = first.sampling.measured.get(quantity) if first.sampling else None
        return Figure(float(np.mean(values)), error, decimals, of=of)

    def values(self, quantity: str) -> list[float]:
        """One for each run, NaN if not applicable."""
        return [run.mean.get(quantity, math.nan) for run in self.runs]

    def differences(self, other: "Row", quantity: str) -> list[float]:
        """This row minus another, for every seed with the quantity in both."""
        theirs = {run.seed: run.mean.get(quantity, math.nan) for run in other.runs}
        pairs = zip(self.runs, self.values(quantity), strict=True)
        gaps = [value - theirs.get(run.seed, math.nan) for run, value in pairs]
        return [gap for gap in gaps if not math.isnan(gap)]


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; NaN for a single value."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def rows_of(runs: Iterable[Run]) -> dict[str, Row]:
    """Variant to row, seeds in order.

    Two files for one seed of a variant must say the same: sweeps share runs. Raises ValueError where they do not, and
    where the runs of a variant differ in more than their seed.
    """
    found: dict[str, dict[int | None, Run]] = {}
    for run in runs:
        known = found.setdefault(run.variant, {})
        same = known.setdefault(run.seed, run)
        if str(same.mean) != str(run.mean):  # as text, NaN equals NaN
            which, or_name = (f", seed {run.seed}", "") if run.sweep else ("", ", or name them apart (method=NAME)")
            raise ValueError(
                f"{same.file} and {run.file} are both {run.variant}{which}, with other numbers: give one{or_name}"
            )
        if None in known and len(known) > 1:
            told = f"{known[None].file} and {run.file}" if run.seed is not None else f"{run.file} and a sweep's"
            raise ValueError(f"{told} are both {run.variant}, one of them without training seed: give one of the two")
        first = next(iter(known.values()))
        fields = [name for name in REPEATED if getattr(first, name) != getattr(run, name)]
        fields = [f"{name} ({getattr(first, name)} and {getattr(run, name)})" for name in fields]
        if words := ", ".join(fields) or other_budget(first, run):
            raise ValueError(
                f"{first.file} and {run.file} are seeds of {run.variant} but differ in {words}: they are no "
                "repetitions, make one of them anew; keep runs of another budget in a folder of their own "
                "(sweep.folder=DIR)"
            )
    order = {name: sorted(seeds.items(), key=lambda item: item[0] or 0) for name, seeds in found.items()}
    return {name: Row(tuple(run for _, run in seeds)) for name, seeds in order.items()}


def refuse_mixed(rows: Collection[Row], free: Collection[str] = ()) -> None:
    """Raises ValueError, naming files and constants, unless all rows were measured alike.

    free: rules of `RULES` in which they may differ.
    """
    runs = [run for row in rows for run in row.runs]
    for first, other in itertools.combinations(runs, 2):
        for rule in RULES:
            if rule not in free and (words := measured_apart(first, other, rule)):
                raise ValueError(
                    f"{first.file} and {other.file} were measured with different {TOLD.get(rule, rule)} ({words}): "
                    "their numbers do not belong in one table; measure both alike, or name the sources of one kind"
                )


def measured_apart(mine: Run, theirs: Run, rule: str) -> str:
    """How two runs differ in a rule of `RULES`; empty if they do not. What a file does not say is not compared."""
    if rule == "named":
        points = [(run.protocol.get("seed"), run.frames) for run in (mine, theirs)]
        return other_objects(mine.named, theirs.named, floors=points[0] == points[1])
    first, other = getattr(mine, rule), getattr(theirs, rule)
    if first is None or other is None:
        return ""
    if not isinstance(first, Mapping):
        return f"{first} and {other}" if first != other else ""
    sides = [run.compared[rule] for run in (mine, theirs)]
    names = sides[0].keys() | sides[1].keys() if rule == "protocol" else sides[0].keys() & sides[1].keys()
    if not names and any(sides):
        return "nothing that both name"
    pairs = {name: [side.get(name) for side in sides] for name in sorted(names)}
    told = [f"{name} {_short(one)} and {_short(two)}" for name, (one, two) in pairs.items() if one != two]
    return ", ".join(told[:4])


def _short(value: Any) -> str:
    return textwrap.shorten(str(value), 60, placeholder="...")
