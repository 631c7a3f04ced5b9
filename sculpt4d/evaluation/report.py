"""Several metrics.json as one comparison, beside the paper's rows: python -m sculpt4d.evaluation.report RUN_DIR ..."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

COLUMNS = ("chamfer", "iou", "fscore", "volume_jitter_error", "centroid_jitter_error", "area_jitter_error")
HEADINGS = ("Chamfer ↓", "IoU ↑", "F-score ↑", "volume jitter ↓", "centroid jitter ↓", "area jitter ↓")
DECIDING = ("chamfer", "volume_jitter_error", "centroid_jitter_error")  # lower is better in all of them

# Sculpt4D, main results: 50 held-out Objaverse models, 16 frames, the full-size base. Not comparable with other data.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "Hunyuan3D, per frame": {"chamfer": 0.1220, "iou": 0.3125, "fscore": 0.2820},
    "Hunyuan3D, shared noise": {"chamfer": 0.1231, "iou": 0.3176, "fscore": 0.2883},
    "V2M4": {"chamfer": 0.1268, "iou": 0.3071, "fscore": 0.2909},
    "L4GM": {"chamfer": 0.1655, "fscore": 0.2033},
    "GVFD": {"chamfer": 0.4235, "fscore": 0.0717},
    "Sculpt4D": {"chamfer": 0.1052, "iou": 0.3381, "fscore": 0.3137},
}


@dataclass(frozen=True)
class Row:
    """One metrics.json. by_object: object name to quantity, averaged over seeds."""

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


@dataclass(frozen=True)
class Comparison:
    """The 4D model against a baseline in one quantity, on the same objects. gain: baseline minus 4D.

    spread: the larger standard deviation over seeds of the two (NaN with one seed). error: standard error over objects
    of the paired difference.
    """

    quantity: str
    gain: float
    spread: float
    error: float

    @property
    def better(self) -> bool:
        """Whether the gain is larger than the spread over sampling seeds; with one seed it never is."""
        return self.gain > self.spread


def read_row(path: Path) -> Row:
    """A run's folder, or its metrics.json. Raises FileNotFoundError or ValueError with what to do."""
    path = path / "metrics.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run python evaluate.py output={path.parent} first")
    record = json.loads(path.read_text())
    if "per_object" not in record:
        raise ValueError(f"{path} is not the result of an evaluation: give the folder that evaluate.py wrote")
    by_object = {}
    for entry in record["per_object"]:
        samples = [_numbers(sample["values"]) for sample in entry["samples"].values()]
        by_object[entry["name"]] = {name: sum(s[name] for s in samples) / len(samples) for name in samples[0]}
    return Row(
        name=path.parent.name,
        method=record["method"],
        objects=record["objects"],
        seeds=tuple(record["seeds"]),
        failures=record["failures"],
        frames=record["frames"],
        mean=_numbers(record["mean"]),
        error=_numbers(record["error"]),
        spread=_numbers(record["spread"]),
        floor=_numbers(record["floor"]),
        by_object=by_object,
        settings=record["settings"],
    )


def table(rows: Sequence[Row], published: bool = True) -> str:
    """Markdown: runs with ± standard error over objects, truth against itself, the paper marked. Jitter: its error."""
    lines = ["| method | objects | " + " | ".join(HEADINGS) + " | failed frames |"]
    lines.append("|---|---|" + "---|" * (len(COLUMNS) + 1))
    for row in rows:
        cells = [f"{_format(row.mean[name])} ± {_format(row.error[name])}" for name in COLUMNS]
        lines.append(f"| {row.name} | {row.objects} | {' | '.join(cells)} | {row.failures} of {row.frames} |")
    if rows:
        cells = [_format(rows[0].floor[name]) for name in COLUMNS]
        lines.append(f"| *truth against itself* | {rows[0].objects} | {' | '.join(cells)} | |")
    for name, values in PUBLISHED.items() if published else ():
        cells = [_format(values.get(column, math.nan)) for column in COLUMNS]
        lines.append(f"| *paper, other data: {name}* | 50 | {' | '.join(cells)} | |")
    return "\n".join(lines)


def compare(ours: Row, baseline: Row) -> tuple[Comparison, ...]:
    """Chamfer and jitter errors of two rows. Raises ValueError when objects or rules differ."""
    if ours.by_object.keys() != baseline.by_object.keys():
        raise ValueError(
            f"{ours.name} measured {ours.objects} objects, {baseline.name} {baseline.objects} that are not the same: "
            "evaluate both with the same data and limit"
        )
    for rule in ("protocol", "data", "frames"):
        if ours.settings[rule] != baseline.settings[rule]:
            raise ValueError(f"{ours.name} and {baseline.name} differ in {rule}: evaluate both with the same one")
    comparisons = []
    for name in DECIDING:
        gains = [baseline.by_object[key][name] - ours.by_object[key][name] for key in ours.by_object]
        gain = sum(gains) / len(gains)
        variance = sum((value - gain) ** 2 for value in gains) / (len(gains) - 1) if len(gains) > 1 else math.nan
        spreads = (ours.spread[name], baseline.spread[name])
        spread = math.nan if any(map(math.isnan, spreads)) else max(spreads)
        comparisons.append(Comparison(name, gain, spread, (variance / len(gains)) ** 0.5))
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
            f"{_format(entry.spread)}, paired standard error {_format(entry.error)})"
        )
    won = "beats" if all(entry.better for entry in comparisons) else "does not beat"
    head = f"{ours.name} {won} {baseline.name} in Chamfer and in jitter error by more than the spread of the seeds:"
    return "\n".join([head, *lines])


def report(folders: Sequence[Path], published: bool = True) -> str:
    """The table of all runs, then every 4D run against every per-frame baseline among them."""
    rows = [read_row(folder) for folder in folders]
    parts = [table(rows, published)]
    baselines = [row for row in rows if row.method.startswith("per_frame")]
    parts += [verdict(ours, baseline) for ours in rows if ours.method == "4d" for baseline in baselines]
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sculpt4d.evaluation.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that evaluate.py wrote")
    parser.add_argument("--without-paper", action="store_true", help="leave the paper's rows out")
    options = parser.parse_args(arguments)
    try:
        text = report(options.runs, not options.without_paper)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def _format(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.4f}"


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}


if __name__ == "__main__":
    main()
