"""A published table and what was measured here, side by side: every row says which of the two it is.

Of a row that nothing was measured for, the command that would is named.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.budgets import budget, refuse_budgets
from experiments.report import Cell, Figure, Table
from experiments.results import ROOT, Run
from experiments.rows import Row, refuse_mixed, rows_of
from sculpt4d.evaluation.published import GEOMETRY, Published

SEEDS = (0, 1, 2)
NONE = "-"
GEOMETRIC = {name: GEOMETRY[name] for name in ("chamfer", "iou", "fscore")}
TEMPORAL = {name: GEOMETRY[name] for name in ("volume_jitter_error", "centroid_jitter_error")} | {
    "identity_drift": "identity drift ↓"
}
APPEARANCE_QUANTITIES = {"lpips": "LPIPS ↓", "clip": "CLIP ↑", "fvd": "FVD ↓"}
COMPUTE = {"compute": "compute (TMAC)"}
LOSS = {"loss": "held-out loss ↓"}
ALIKE = (
    "Published rows are of the full-size model on the papers' own data, by protocols whose constants are not all "
    "known; they are not comparable with measured ones.",
    "±: standard error over seeds, of training and sampling at once (of sampling alone where nothing is trained); of "
    "a row without seeds over objects; one seed has none.",
)
CLIPS = "for clip in data/synthetic/*_holdout_*"


@dataclass(frozen=True)
class Entry:
    """A row of the paper and what stands for it here.

    label: its name in the published rows; of a row that no paper has, our own. variant: of the sweep `sweep`; without a
    sweep the method= of outputs that evaluate.py measures. None: nothing here stands for it. prepare: a command that
    makes these outputs from the synthetic holdout, where they are ours.
    """

    label: str
    variant: str | None = None
    sweep: str | None = None
    prepare: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A published table. quantities: to headings. reference: label of the row that others are held against, if any.

    options: of evaluate.py for outputs of others. free: rules in which rows may differ. notes: stand below the table.
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
        """Those that make its rows."""
        return list(dict.fromkeys(entry.sweep for entry in self.entries if entry.sweep))


def generated(label: str, variant: str, options: str = "", trained: bool = False) -> Entry:
    """A row of clips that generate.py makes with `options`; trained: after a training with the same attention.

    The shipped temporal weights are those of blockmask_decay; others are trained as they were (weights/tiny).
    """
    folder = f"runs/train/{variant}"
    train = f"python train.py attention={variant} flow=logit_normal flow.time.mean=-0.8 output={folder} && "
    given = f"{options} checkpoint={folder}" if trained else options
    make = f"{CLIPS}; do python generate.py input=$clip output=out/{variant}/${{clip##*/}}{given}; done"
    return Entry(label, variant, prepare=(train if trained else "") + make)


def left_out(comparison: Comparison, run: Run) -> str:
    """Why a run has no place in the table, in words; nothing where it has one."""
    if run.sweep is not None:  # a variant of this name in another sweep may be another
        known = any((entry.variant, entry.sweep) == (run.variant, run.sweep) for entry in comparison.entries)
        return "" if known else f"no row is of {run.variant} of sweep={run.sweep}"
    asked = comparison.quantities.keys() - {"minutes"}
    return "" if asked & run.mean.keys() else f"has none of {', '.join(comparison.quantities)}"


def choose(comparison: Comparison, runs: Iterable[Run]) -> dict[str, Row]:
    """Variant to row: of the runs those that belong here; outputs that evaluate.py measured do by their quantities.

    Raises ValueError for runs that were not measured alike, and where rows of one model differ in their budget.
    """
    ours = [entry.variant for entry in comparison.entries if entry.variant and entry.sweep]
    chosen = [run for run in runs if not left_out(comparison, run)]
    chosen.sort(key=lambda run: ours.index(run.variant) if run.sweep else -1)
    rows = rows_of(chosen)
    refuse_mixed(list(rows.values()), comparison.free)
    refuse_budgets(run for run in chosen if run.variant in ours)  # other methods have models of their own
    return rows


def beside(comparison: Comparison, rows: Mapping[str, Row], sources: Sequence[Path] = ()) -> Table:
    """The table: published row, then what was measured for it. sources: are told below."""
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


def command(comparison: Comparison, entry: Entry, seeds: Sequence[int]) -> str:
    """What makes the figures of an entry."""
    if entry.sweep is None:
        given = "predictions=DIR ground_truth=DIR"
        if entry.prepare:
            given = f"predictions=out/{entry.variant} ground_truth=data/synthetic objects=holdout"
        measure = f"python evaluate.py {given} {comparison.options} method={entry.variant}"
        return f"{entry.prepare} && {measure}" if entry.prepare else measure
    only = f"'sweep.only=[{entry.variant}]'"
    some = "" if tuple(seeds) == SEEDS else f" 'sweep.seeds=[{','.join(map(str, seeds))}]'"
    return f"python train.py sweep={entry.sweep} {only}{some}"


def _place(source: Path) -> str:
    """From the checkout; of a place elsewhere the last three folders."""
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
    """The truth against itself: one row for all that have the same, with their names where there are several."""
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
    """Four decimals; what is counted rather than measured has three digits and no error."""
    if quantity not in COMPUTE or math.isnan(value) or value == 0:
        return Figure(value, error)
    return Figure(value, decimals=max(0, 2 - math.floor(math.log10(value))))


def _missing(comparison: Comparison, rows: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
    """(row, command) of every entry that has no figures, or not those of every seed."""
    for entry in comparison.entries:
        if entry.variant is None:
            continue
        row = rows.get(entry.variant)
        if row is None:
            yield f"{entry.label} ({entry.variant})", command(comparison, entry, SEEDS)
        elif row.seeds and (left := [seed for seed in SEEDS if seed not in row.seeds]):
            name = f"{entry.label} ({entry.variant}), seed {', '.join(map(str, left))}"
            yield name, command(comparison, entry, left)
