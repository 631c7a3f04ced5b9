"""Several metrics.json side by side, and the 4D model against the per-frame baselines among them.

The rows are single evaluations of given weights, so errors are over objects and the verdict compares the gain with the
spread over sampling seeds. Tables of sweeps (compare.py) take the spread over trainings instead.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import papers
from experiments.compare import APPEARANCE, GEOMETRY, JITTER, NONE, Difference, Published, Words, verdict
from experiments.report import Cell, Figure, Table
from experiments.results import Run, SampledScores, read_runs
from experiments.rows import RULES, Row, measured_apart, refuse_mixed, standard_error

DECIDING = ("chamfer", "volume_jitter_error", "centroid_jitter_error")  # lower is better in all of them
GAIN = Words("worse", "undecided", "better", "undecided", "undecided")
PRINTED = "paper, other data"


class Shown(NamedTuple):
    """Columns of a protocol (quantity to heading) and the published rows below them, marked with `note`."""

    columns: Mapping[str, str]
    published: Published | None = None
    note: str = PRINTED


def shown(protocol: str | None) -> Shown:
    """What the table of a protocol shows; the constants of `motion324` and `none` are in no paper that prints rows."""
    if protocol == "actionbench":
        columns = {"cd_3d": "CD-3D ↓", "cd_4d": "CD-4D ↓", "cd_m": "CD-M ↓"}
        return Shown(columns, papers.ACTIONBENCH, "paper, ActionBench")
    if protocol == "appearance":
        return Shown(APPEARANCE | {"dreamsim": "DreamSim ↓"})
    return Shown(GEOMETRY | JITTER, None if protocol in ("motion324", "none") else papers.MAIN)


def evaluations(sources: Sequence[Path], published: bool = True) -> Table:
    """A row for every metrics.json, the ground truth against itself, the published rows, and verdicts as notes.

    sources: folders that evaluate.py wrote, or their metrics.json; a row is named after its folder. Raises
    FileNotFoundError or ValueError for files that cannot be read, for runs of different protocols, and for a 4D model
    and a baseline that were not measured alike.
    """
    runs = read_runs(sources)
    refuse_mixed([Row((run,)) for run in runs], free=set(RULES) - {"protocol"})
    columns, paper, note = shown(runs[0].protocol.get("name"))
    rows: list[tuple[Cell, ...]] = []
    floors: dict[tuple[Cell, ...], list[str]] = {}  # other objects have another floor
    for run in runs:
        objects = f"{run.objects} of {run.total}" if run.failed else str(run.objects)
        means = [Row((run,)).figure(quantity) for quantity in columns]
        rows.append((_name(run), objects, *means, f"{run.failures} of {_sampling(run).frames}"))
        floors.setdefault((str(run.objects), *_figures(columns, run.floor)), []).append(_name(run))
    for cells, names in floors.items():
        which = f" ({', '.join(names)})" if len(floors) > 1 else ""
        rows.append((f"*truth against itself{which}*", *cells, ""))
    if published and paper is not None:
        for name, values in paper.rows.items():
            figures = _figures(columns, values, paper.digits)
            rows.append((f"*{note}: {name}*", str(paper.objects or "not stated"), *figures, ""))
    return Table(
        f"Evaluations, protocol {runs[0].protocol.get('name', 'not named')}",
        ("method", "objects", *columns.values(), "failed frames"),
        tuple(rows),
        (*_other_objects(runs), *_left_out(runs), *_verdicts(runs)),
    )


def gain(ours: Run, baseline: Run, quantity: str) -> Difference:
    """Baseline minus ours, over the objects with the quantity in both.

    error: standard error over objects. reach: the larger of the two standard deviations over sampling seeds; NaN with
    one seed, which decides nothing.
    """
    mine, theirs = _sampling(ours), _sampling(baseline)
    both = [name for name in mine.by_object if name in theirs.by_object]
    pairs = [[side.by_object[name].get(quantity, math.nan) for side in (theirs, mine)] for name in both]
    gains = [other - own for other, own in pairs if not math.isnan(other - own)]
    spreads = [side.spread.get(quantity, math.nan) for side in (mine, theirs)]
    spread = math.nan if any(map(math.isnan, spreads)) else max(spreads)
    mean = sum(gains) / len(gains) if gains else math.nan
    return Difference(mean, standard_error(gains), spread, len(gains))


def against(ours: Run, baseline: Run) -> str:
    """In words: what the 4D model gains over a baseline, and whether by more than the spread over sampling seeds.

    Raises ValueError when they were not measured alike.
    """
    refuse_mixed([Row((ours,)), Row((baseline,))])
    gains = {quantity: gain(ours, baseline, quantity) for quantity in DECIDING}
    words = {quantity: verdict(found, GAIN) for quantity, found in gains.items()}
    seeds = min(len(_sampling(run).seeds) for run in (ours, baseline))
    won = "beats" if set(words.values()) == {GAIN.above} else "does not beat"
    head = f"{_name(ours)} {won} {_name(baseline)} in Chamfer and in jitter error by more than the spread of the seeds:"
    lines = [head]
    for quantity, found in gains.items():
        fewer = f", of {found.pairs} objects that both have it of" if found.pairs < ours.objects else ""
        lines.append(
            f"- {quantity}: {words[quantity]}, {baseline.mean[quantity]:.4f} -> {ours.mean[quantity]:.4f} "
            f"(gain {found.mean:+.4f}, spread over {seeds} seeds {_number(found.reach)}, "
            f"paired standard error {_number(found.error)}{fewer})"
        )
    return "\n".join(lines)


def _verdicts(runs: Sequence[Run]) -> list[str]:
    """Every 4D model of the runs against every per-frame baseline."""
    judged = [run for run in runs if run.mean.keys() >= set(DECIDING)]
    named = [(run, _sampling(run).baseline) for run in judged]
    baselines = [run for run, name in named if name and name.startswith("per_frame")]
    return [against(ours, baseline) for ours, name in named if name is None for baseline in baselines]


def _other_objects(runs: Sequence[Run]) -> list[str]:
    """A sentence for every run on other objects than the first."""
    apart = {_name(run): measured_apart(runs[0], run, "named") for run in runs[1:]}
    told = ((name, words) for name, words in apart.items() if words)
    return [f"Other objects: {_name(runs[0])} and {name} do not compare ({words})." for name, words in told]


def _left_out(runs: Sequence[Run]) -> list[str]:
    """Objects that no number is of, with the reason."""
    told = []
    for run in runs:
        told += [f"Not measured in {_name(run)}: {name}: {why}" for name, why in run.failed.items()]
        if unpaired := _sampling(run).unpaired:
            told.append(f"Without ground truth in {_name(run)}, not counted: {', '.join(unpaired)}")
    return told


def _figures(columns: Mapping[str, str], values: Mapping[str, float], decimals: int = 4) -> list[Cell]:
    numbers = [values.get(quantity, math.nan) for quantity in columns]
    return [NONE if math.isnan(value) else Figure(value, decimals=decimals) for value in numbers]


def _name(run: Run) -> str:
    return run.file.parent.name


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.4f}"


def _sampling(run: Run) -> SampledScores:
    if run.sampling is None:
        raise ValueError(f"{run.file} is the result of a sweep: name folders that evaluate.py wrote (output=DIR)")
    return run.sampling
