"""Several metrics.json as one comparison, beside the paper's rows: python -m sculpt4d.evaluation.report RUN_DIR ..."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from sculpt4d.evaluation.published import GEOMETRY, shown
from sculpt4d.evaluation.records import Objects, differing, failures, numbers, part, read_objects, read_record

COLUMNS = tuple(GEOMETRY)
DECIDING = ("chamfer", "volume_jitter_error", "centroid_jitter_error")  # lower is better in all of them


@dataclass(frozen=True)
class Row:
    """One metrics.json. by_object: object name to quantity, averaged over seeds. measured: of how many objects a mean
    is, where that is not all of them.
    """

    name: str
    method: str
    objects: int
    seeds: tuple[int, ...]
    failures: int
    frames: int
    mean: Mapping[str, float]
    error: Mapping[str, float]
    spread: Mapping[str, float]
    floor: Mapping[str, float]
    by_object: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    failed_objects: Mapping[str, str]
    without_ground_truth: Sequence[str] = ()
    measured: Mapping[str, int] = field(default_factory=dict)
    named: Objects | None = None

    @property
    def model(self) -> str | None:
        """The baseline on the holdout, None for the 4D model there; of anyone's output the name it was given."""
        named = None if self.method == "4d" else self.method
        return self.settings.get("baseline", named)


@dataclass(frozen=True)
class Comparison:
    """The 4D model against a baseline in one quantity, on the same objects. gain: baseline minus 4D.

    spread: the larger standard deviation over seeds of the two (NaN with one seed). error: standard error over objects
    of the paired difference. objects: those of which both have the quantity.
    """

    quantity: str
    gain: float
    spread: float
    error: float
    objects: int

    @property
    def better(self) -> bool:
        """Whether the gain is larger than the spread over sampling seeds; with one seed it never is."""
        return self.gain > self.spread


def read_row(path: Path) -> Row:
    """A run's folder, or its metrics.json. Raises FileNotFoundError or ValueError with what to do."""
    path = path / "metrics.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run python evaluate.py output={path.parent} first")
    return read_record(path, "the result of an evaluation", lambda record: _row(path.parent.name, record))


def table(rows: Sequence[Row], published: bool = True) -> str:
    """Markdown: runs with ± standard error over objects, truth against itself, the paper marked. Jitter: its error.

    `n/a`: no object has the quantity; `(of 2)`: two of them have. Raises ValueError when the rows were measured by
    different protocols.
    """
    refuse_mixed(rows)
    names = shown(rows[0].settings["protocol"].get("name") if rows else None)
    lines = ["| method | objects | " + " | ".join(names.columns.values()) + " | failed frames |"]
    lines.append("|---|---|" + "---|" * (len(names.columns) + 1))
    floors: dict[str, list[str]] = {}  # one line where rows have the same: other objects have another
    for row in rows:
        cells = [_cell(row, name) for name in names.columns]
        objects = f"{row.objects} of {row.objects + len(row.failed_objects)}" if row.failed_objects else row.objects
        lines.append(f"| {row.name} | {objects} | {' | '.join(cells)} | {row.failures} of {row.frames} |")
        cells = [_format(row.floor.get(name, math.nan)) for name in names.columns]
        floors.setdefault(f"{row.objects} | {' | '.join(cells)}", []).append(row.name)
    for line, of in floors.items():
        which = f" ({', '.join(of)})" if len(floors) > 1 else ""
        lines.append(f"| *truth against itself{which}* | {line} | |")
    for name, values in names.rows.items() if published else ():
        cells = [_format(values.get(column, math.nan)) for column in names.columns]
        lines.append(f"| *{names.note}: {name}* | {names.objects} | {' | '.join(cells)} | |")
    lines += [f"\n{told}" for told in _other_objects(rows)]
    for row in rows:
        lines += [f"\nNot measured in {row.name}: {name}: {why}" for name, why in row.failed_objects.items()]
        if row.without_ground_truth:
            lines.append(f"\nWithout ground truth in {row.name}, not counted: {', '.join(row.without_ground_truth)}")
    return "\n".join(lines)


def refuse_mixed(rows: Sequence[Row]) -> None:
    """Raises ValueError, naming the constants, when rows were measured by different protocols."""
    for row in rows[1:]:
        first, other = rows[0].settings["protocol"], row.settings["protocol"]
        if apart := [key for key in {**first, **other} if first.get(key) != other.get(key)]:
            constants = ", ".join(f"{key} {first.get(key)} and {other.get(key)}" for key in apart[:4])
            raise ValueError(
                f"{rows[0].name} and {row.name} were measured by different protocols ({constants}): their numbers do "
                "not belong in one table; evaluate both with the same one"
            )


def compare(ours: Row, baseline: Row) -> tuple[Comparison, ...]:
    """Chamfer and jitter errors of two rows. Raises ValueError when objects or rules differ."""
    if ours.by_object.keys() != baseline.by_object.keys():
        raise ValueError(
            f"{ours.name} measured {ours.objects} objects, {baseline.name} {baseline.objects} that are not the same: "
            "evaluate both with the same data and limit"
        )
    for rule in ("protocol", "data", "frames"):
        if ours.settings.get(rule) != baseline.settings.get(rule):
            raise ValueError(f"{ours.name} and {baseline.name} differ in {rule}: evaluate both with the same one")
    comparisons = []
    for name in DECIDING:
        pairs = [[row.by_object[key].get(name, math.nan) for row in (baseline, ours)] for key in ours.by_object]
        gains = [theirs - mine for theirs, mine in pairs if not math.isnan(theirs - mine)]
        gain = sum(gains) / len(gains) if gains else math.nan
        variance = sum((value - gain) ** 2 for value in gains) / (len(gains) - 1) if len(gains) > 1 else math.nan
        spreads = [row.spread.get(name, math.nan) for row in (ours, baseline)]
        spread = math.nan if any(map(math.isnan, spreads)) else max(spreads)
        error = (variance / len(gains)) ** 0.5 if gains else math.nan
        comparisons.append(Comparison(name, gain, spread, error, len(gains)))
    return tuple(comparisons)


def verdict(ours: Row, baseline: Row) -> str:
    """In words: what the 4D model wins against a baseline, and whether by more than the spread over seeds."""
    comparisons = compare(ours, baseline)
    lines = []
    for entry in comparisons:
        outcome = "better" if entry.better else "worse" if -entry.gain > entry.spread else "undecided"
        lines.append(
            f"- {entry.quantity}: {outcome}, {baseline.mean[entry.quantity]:.4f} -> {ours.mean[entry.quantity]:.4f} "
            f"(gain {entry.gain:+.4f}, spread over {min(len(ours.seeds), len(baseline.seeds))} seeds "
            f"{_format(entry.spread)}, paired standard error {_format(entry.error)}"
            f"{f', of {entry.objects} objects that both have it of' if entry.objects < ours.objects else ''})"
        )
    won = "beats" if all(entry.better for entry in comparisons) else "does not beat"
    head = f"{ours.name} {won} {baseline.name} in Chamfer and in jitter error by more than the spread of the seeds:"
    return "\n".join([head, *lines])


def report(folders: Sequence[Path], published: bool = True) -> str:
    """The table of all runs, then every 4D run against every per-frame baseline among them."""
    rows = [read_row(folder) for folder in folders]
    judged = [row for row in rows if row.mean.keys() >= set(DECIDING)]
    baselines = [row for row in judged if row.model and row.model.startswith("per_frame")]
    pairs = [(ours, baseline) for ours in judged if ours.model is None for baseline in baselines]
    return "\n\n".join([table(rows, published), *(verdict(*pair) for pair in pairs)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sculpt4d.evaluation.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that evaluate.py wrote")
    parser.add_argument("--without-paper", action="store_true", help="leave the paper's rows out")
    options = parser.parse_args(arguments)
    try:
        Console(soft_wrap=True).print(report(options.runs, not options.without_paper), markup=False, highlight=False)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _other_objects(rows: Sequence[Row]) -> list[str]:
    """A sentence for every row that is not of the objects of the first."""
    told = []
    for row in rows[1:]:
        points = [entry.settings["protocol"].get("seed") for entry in (rows[0], row)]
        if words := differing(rows[0].named, row.named, floors=points[0] == points[1]):
            told.append(f"Other objects: {rows[0].name} and {row.name} do not compare ({words}).")
    return told


def _row(name: str, record: Mapping[str, Any]) -> Row:
    by_object = {}
    for entry in part(record, "per_object", list):
        samples = [numbers(sample, "values") for sample in part(entry, "samples").values()]
        by_object[entry["name"]] = {name: sum(s[name] for s in samples) / len(samples) for name in samples[0]}
    fields: dict[str, Any] = {name: numbers(record, name) for name in ("mean", "error", "spread", "floor")}
    fields |= {name: part(record, name, int) for name in ("objects", "failures", "frames")}
    part(record["settings"], "protocol")
    return Row(
        name=name.replace("|", r"\|"),
        method=part(record, "method", str),
        seeds=tuple(part(record, "seeds", list)),
        by_object=by_object,
        settings=part(record, "settings"),
        failed_objects=failures(record),
        without_ground_truth=tuple(record.get("without_ground_truth", ())),
        measured={name: count for name, count in record.get("measured", {}).items() if count < record["objects"]},
        named=read_objects(record),
        **fields,
    )


def _cell(row: Row, quantity: str) -> str:
    mean = row.mean.get(quantity, math.nan)
    of = f" (of {row.measured[quantity]})" if quantity in row.measured else ""
    return "n/a" if math.isnan(mean) else f"{mean:.4f} ± {_format(row.error.get(quantity, math.nan))}{of}"


def _format(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.4f}"


if __name__ == "__main__":
    main()
