"""A published table beside measured runs: its rows, the differences to a reference row, and a verdict on each."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from experiments.budgets import budget, refuse_budgets
from experiments.report import Cell, Figure, Table
from experiments.results import ROOT, Run, default_sources, read_runs
from experiments.rows import Row, refuse_mixed, rows_of, standard_error

SEEDS = (0, 1, 2)
NONE = "-"
LISTED = 4  # reasons in the line of `unshown`
CONFIDENCE = 0.95
JITTER = {
    "volume_jitter_error": "volume jitter error ↓",
    "centroid_jitter_error": "centroid jitter error ↓",
    "area_jitter_error": "area jitter error ↓",
}
GEOMETRY = {"chamfer": "Chamfer ↓", "iou": "IoU ↑", "fscore": "F-score ↑"}
TEMPORAL = {name: JITTER[name] for name in ("volume_jitter_error", "centroid_jitter_error")} | {
    "identity_drift": "identity drift ↓"
}
APPEARANCE = {"lpips": "LPIPS ↓", "clip": "CLIP ↑", "fvd": "FVD ↓"}
COMPUTE = {"compute": "compute (TMAC)"}
LOSS = {"loss": "held-out loss ↓"}
ALIKE = (
    "Published rows are of the full-size model on the papers' own data, by protocols whose constants are not all "
    "known; they are not comparable with measured ones.",
    "±: standard error over seeds, of training and sampling at once (of sampling alone where nothing is trained); of "
    "a row without seeds over objects; one seed has none.",
)


class Published(NamedTuple):
    """A table of a paper.

    rows: label as the paper prints it, to quantity, to figure; only the figures that the paper prints. objects, frames:
    what it was measured on, None if the paper does not say. decimals: digits after the point of a quantity as printed,
    `digits` for quantities it does not name.
    """

    source: str
    objects: int | None
    frames: int | None
    rows: Mapping[str, Mapping[str, float]]
    digits: int = 4
    decimals: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Entry:
    """A row of a paper and the run that stands for it here.

    label: its name in the published rows, or our own name for a row that no paper has. variant: the variant of `sweep`;
    without a sweep the method= of outputs that evaluate.py measures; None if no run stands for it. prepare: the command
    that generates these outputs on the synthetic holdout, for methods of ours.
    """

    label: str
    variant: str | None = None
    sweep: str | None = None
    prepare: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A published table and the runs to compare with it.

    quantities: name to column heading. reference: label of the row that the others are compared with, if any. options:
    of evaluate.py for outputs of other methods. free: rules of `refuse_mixed` in which rows may differ. notes: printed
    below the table.
    """

    title: str
    published: Published
    quantities: Mapping[str, str]
    entries: tuple[Entry, ...]
    reference: str | None = None
    options: str = "protocol=sculpt4d"
    free: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sweeps(self) -> list[str]:
        """Sweeps that produce its rows."""
        return list(dict.fromkeys(entry.sweep for entry in self.entries if entry.sweep))


class Difference(NamedTuple):
    """A measured difference. error: standard error of `mean`, NaN if unknown. reach: half width of the interval around
    `mean` outside of which zero is significant, NaN if there is none. pairs: how many `mean` is over.
    """

    mean: float
    error: float
    reach: float
    pairs: int


class Words(NamedTuple):
    """The verdict for a difference below, around and above zero, for one without interval, and for none at all."""

    below: str
    around: str
    above: str
    single: str
    absent: str


def verdict(difference: Difference, words: Words) -> str:
    """The word for a difference: below or above zero only when zero lies outside its interval."""
    if math.isnan(difference.mean):
        return words.absent
    if math.isnan(difference.reach):
        return words.single
    if difference.mean > difference.reach:
        return words.above
    return words.below if -difference.mean > difference.reach else words.around


def order(published: float) -> Words:
    """Words for a measured difference against the published one. published: NaN if the paper has no such row."""
    below, above = ("holds", "reversed") if published < 0 else ("reversed", "holds")
    if math.isnan(published) or published == 0:
        below = above = "differs, the paper has none"
    return Words(below, "undecided", above, "undecided (one seed)", "not measured")


def paired(values: Sequence[float]) -> Difference:
    """Mean of paired differences with its Student interval."""
    if not values:
        return Difference(math.nan, math.nan, math.nan, 0)
    error = standard_error(values)
    return Difference(float(np.mean(values)), error, _student(len(values) - 1) * error, len(values))


def unpaired(first: Sequence[float], other: Sequence[float]) -> Difference:
    """Difference of two means with the Student interval of both errors together. Equal means need no errors."""
    mean = float(np.mean(first)) - float(np.mean(other))
    error = math.hypot(standard_error(first), standard_error(other))
    reach = 0.0 if mean == 0 else _student(len(first) + len(other) - 2) * error
    return Difference(mean, error, reach, min(len(first), len(other)))


def tables_of(comparison: Comparison, sources: Sequence[Path] = ()) -> dict[str, Table]:
    """The table under the name "", and the differences to its reference row, if it has one, under "differences".

    sources: result files and folders of them; none: those of the comparison's sweeps. Raises FileNotFoundError or
    ValueError for files that cannot be read and for runs that were not measured alike.
    """
    found = {place: read_runs([place]) for place in sources or default_sources(comparison.sweeps)}
    rows = choose(comparison, [run for runs in found.values() for run in runs])
    shown = [place for place, runs in found.items() if not all(left_out(comparison, run) for run in runs)]
    tables = {"": beside(comparison, rows, shown)}
    return tables if comparison.reference is None else tables | {"differences": differences(comparison, rows)}


def choose(comparison: Comparison, runs: Iterable[Run]) -> dict[str, Row]:
    """Variant to row, of the runs that belong in the table; outputs that evaluate.py measured belong by their
    quantities.

    Raises ValueError for runs that were not measured alike, and when rows of one model differ in their budget.
    """
    ours = [entry.variant for entry in comparison.entries if entry.variant and entry.sweep]
    chosen = [run for run in runs if not left_out(comparison, run)]
    chosen.sort(key=lambda run: ours.index(run.variant) if run.sweep else -1)
    rows = rows_of(chosen)
    refuse_mixed(list(rows.values()), comparison.free)
    refuse_budgets(run for run in chosen if run.variant in ours)  # other methods have models of their own
    return rows


def left_out(comparison: Comparison, run: Run) -> str:
    """Why a run has no row in the table; empty if it has one."""
    if run.sweep is not None:  # a variant of this name in another sweep may be another
        known = any((entry.variant, entry.sweep) == (run.variant, run.sweep) for entry in comparison.entries)
        return "" if known else f"no row is of {run.variant} of sweep={run.sweep}"
    asked = comparison.quantities.keys() - {"minutes"}
    return "" if asked & run.mean.keys() else f"has none of {', '.join(comparison.quantities)}"


def unshown(comparisons: Iterable[Comparison], runs: Iterable[Run]) -> str:
    """One line: the runs that no table shows, each with the first table's reason; empty if every run has a row."""
    several = list(comparisons)
    reasons: dict[str, list[str]] = {}
    for run in runs:
        if all(why := [left_out(comparison, run) for comparison in several]):
            reasons.setdefault(why[0], []).append(str(run.file))
    told = [f"{files[0]}{f' and {len(files) - 1} more' * (len(files) > 1)} ({why})" for why, files in reasons.items()]
    more = f"; and {sum(map(len, list(reasons.values())[LISTED:]))} other files" if len(told) > LISTED else ""
    return f"Not shown: {'; '.join(told[:LISTED])}{more}" if told else ""


def beside(comparison: Comparison, rows: Mapping[str, Row], sources: Sequence[Path] = ()) -> Table:
    """The table: each published row followed by the measured one. sources: named in a note."""
    listed: list[tuple[Cell, ...]] = []
    known = {entry.variant for entry in comparison.entries}
    guests = [Entry(name, name) for name in rows if name not in known]
    for entry in (*comparison.entries, *guests):
        if entry.label in comparison.published.rows:
            listed.append(_published(comparison, entry.label))
        if entry.variant is not None:
            listed.append(_measured(comparison, entry.label, entry.variant, rows.get(entry.variant)))
    runs = [run for row in rows.values() for run in row.runs]
    listed += _floors(comparison, rows)
    failed = [f"Not measured in {run.variant}: {name}: {why}" for run in runs for name, why in run.failed.items()]
    told = [f"Measured figures are from {', '.join(map(_place, sources))}."] if rows else []
    return Table(
        f"{comparison.title}. Published figures: {comparison.published.source}",
        ("method", "here", "figures", "size", "objects", "seeds", "failed frames", *comparison.quantities.values()),
        tuple(listed),
        (*comparison.notes, *budget(runs), *ALIKE, *failed, *told),
        tuple(_missing(comparison, rows)),
    )


def differences(comparison: Comparison, rows: Mapping[str, Row]) -> Table:
    """A line for every row and quantity that the paper or we have: row minus reference, published and measured.

    Jitter and drift are left out when rows may differ in length, as they are not comparable then.
    """
    compared = GEOMETRY | LOSS | ({} if "frames" in comparison.free else TEMPORAL)
    paper = comparison.published
    by_label = {entry.label: rows[name] for entry in comparison.entries if (name := entry.variant) and name in rows}
    reference = comparison.reference
    assert reference is not None, f"{comparison.title} has no reference row"
    lines: list[tuple[Cell, ...]] = []
    for entry in comparison.entries:
        if entry.label == reference or entry.variant is None:
            continue
        for quantity, heading in comparison.quantities.items():
            if quantity not in compared:
                continue
            theirs = paper.rows.get(entry.label, {}).get(quantity)
            digits = paper.decimals.get(quantity, paper.digits)
            published = math.nan if theirs is None else round(theirs - paper.rows[reference][quantity], digits)
            pairs = []
            if entry.label in by_label and reference in by_label:
                pairs = by_label[entry.label].differences(by_label[reference], quantity)
            if theirs is None and not pairs:
                continue
            gap = paired(pairs)
            shown: Cell = NONE if math.isnan(published) else Figure(published, decimals=digits, signed=True)
            ours: Cell = Figure(gap.mean, gap.error, signed=True) if pairs else NONE
            lines.append((entry.label, heading, shown, ours, str(gap.pairs), verdict(gap, order(published))))
    return Table(
        f"{comparison.title}: difference to the row '{reference}'",
        ("method", "quantity", "published", "measured", "seeds", "the paper's order"),
        tuple(lines),
        (
            "measured: mean over seeds of the difference of the two runs with the same seed, with its standard error. "
            f"holds, reversed: zero is outside Student's {100 * CONFIDENCE:.0f} % interval of that mean, on the side "
            "of the paper or on the other (differs: where the paper has no such difference); undecided: it is inside. "
            "One line in twenty lies outside by chance alone. seeds: how many differences stand behind a verdict.",
            *budget(run for row in rows.values() for run in row.runs),
        ),
    )


def command(comparison: Comparison, entry: Entry, seeds: Sequence[int]) -> str:
    """The command that makes the figures of an entry."""
    if entry.sweep is None:
        given = "predictions=DIR ground_truth=DIR"
        if entry.prepare:
            given = f"predictions=out/{entry.variant} ground_truth=data/synthetic objects=holdout"
        measure = f"python evaluate.py {given} {comparison.options} method={entry.variant}"
        return f"{entry.prepare} && {measure}" if entry.prepare else measure
    only = f"'sweep.only=[{entry.variant}]'"
    some = "" if tuple(seeds) == SEEDS else f" 'sweep.seeds=[{','.join(map(str, seeds))}]'"
    return f"python train.py sweep={entry.sweep} {only}{some}"


def _student(freedom: int) -> float:
    """Standard errors in half of the two-sided interval; NaN without degrees of freedom."""
    return float(student.ppf((1 + CONFIDENCE) / 2, freedom)) if freedom > 0 else math.nan


def _place(source: Path) -> str:
    """Relative to the checkout; of a path elsewhere the last three folders."""
    source = source.resolve()
    return str(source.relative_to(ROOT)) if source.is_relative_to(ROOT) else str(Path("...", *source.parts[-3:]))


def _published(comparison: Comparison, label: str) -> tuple[Cell, ...]:
    paper = comparison.published
    figures = [
        Figure(paper.rows[label][name], decimals=paper.decimals.get(name, paper.digits))
        if name in paper.rows[label]
        else NONE
        for name in comparison.quantities
    ]
    return (label, "", "published", "full", str(paper.objects or "not stated"), NONE, NONE, *figures)


def _measured(comparison: Comparison, label: str, variant: str, row: Row | None) -> tuple[Cell, ...]:
    if row is None:
        return (label, variant, "not measured", *(NONE,) * (4 + len(comparison.quantities)))
    run = row.first
    size = f"{run.model}, {run.steps} steps" if run.steps else run.model or NONE
    fewest = min(run.objects for run in row.runs)
    objects = f"{fewest} of {run.total}" if fewest < run.total else str(fewest)
    failures = str(sum(run.failures for run in row.runs))
    figures = [
        NONE if run.sweep and name == "minutes" else _figure(name, *row.figure(name)[:2])
        for name in comparison.quantities
    ]
    return (label, variant, "measured", size, objects, str(len(row.seeds) or NONE), failures, *figures)


def _floors(comparison: Comparison, rows: Mapping[str, Row]) -> Iterator[tuple[Cell, ...]]:
    """The truth against itself: one row for all variants with the same floor, named if there are several rows."""
    groups: dict[tuple[int | None, str], dict[str, Run]] = {}
    for variant, row in rows.items():
        for run in row.runs:
            frames = run.frames if "frames" in comparison.free else None
            shown = " ".join(figure.text() for figure in _floor(comparison, run))  # beyond its digits: rounding
            groups.setdefault((frames, f"{run.objects} {shown}"), {}).setdefault(variant, run)
    for (frames, _), runs in groups.items():
        of = f", {frames} frames" if "frames" in comparison.free else ""
        names = f" ({', '.join(runs)})" if sum(other == frames for other, _ in groups) > 1 else ""
        run = next(iter(runs.values()))
        label = f"truth against itself{of}{names}"
        yield (label, "", "measured", NONE, str(run.objects), NONE, NONE, *_floor(comparison, run))


def _floor(comparison: Comparison, run: Run) -> list[Figure]:
    return [_figure(name, run.floor.get(name, math.nan)) for name in comparison.quantities]


def _figure(quantity: str, value: float, error: float = math.nan) -> Figure:
    """Four decimals; a counted quantity has three digits and no error."""
    if quantity not in COMPUTE or math.isnan(value) or value == 0:
        return Figure(value, error)
    return Figure(value, decimals=max(0, 2 - math.floor(math.log10(value))))


def _missing(comparison: Comparison, rows: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
    """(row, command) of every entry without figures, or without those of every seed."""
    for entry in comparison.entries:
        if entry.variant is None:
            continue
        row = rows.get(entry.variant)
        if row is None:
            yield f"{entry.label} ({entry.variant})", command(comparison, entry, SEEDS)
        elif row.seeds and (left := [seed for seed in SEEDS if seed not in row.seeds]):
            name = f"{entry.label} ({entry.variant}), seed {', '.join(map(str, left))}"
            yield name, command(comparison, entry, left)
