"""The table that a person sees at the end of evaluate.py."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sculpt4d.evaluation.measure import Measurement
from sculpt4d.evaluation.summary import Summary


def show(found: Measurement, summary: Summary, title: str, seeds: int) -> None:
    """Prints every quantity with its errors and the floor; below, everything that no mean contains, with the reason.

    The spread is printed for several seeds, the splits where families are known.
    """
    several = f", {seeds} seeds" if seeds > 1 else ""
    failed = f", {summary.failures} of {summary.frames} frames failed" if summary.failures else ""
    caption = "error: standard error over objects; floor: ground truth against itself"
    if seeds > 1:
        caption += "; spread: standard deviation over seeds"
    if summary.open_frames:
        caption += f"; {summary.open_frames} predicted frames are not closed: solids by generalised winding number"
    title = f"{title}: {summary.objects} of {found.objects} objects measured{several}{failed}"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    spread = ["spread"] if seeds > 1 else []
    for column in ("mean", "error", *spread, *summary.splits, "floor", "objects"):
        table.add_column(column, justify="right")
    for name, mean in summary.mean.items():
        numbers = [mean, summary.error[name], *([summary.spread[name]] if spread else [])]
        numbers += [split.mean.get(name, math.nan) for split in summary.splits.values()]
        table.add_row(name, *map(_cell, [*numbers, summary.floor[name]]), str(summary.measured[name]))
    Console().print(table)
    _print_absent(list(summary.absent.values()))
    for name, reason in summary.absent_of_set.items():
        _print(f"not applicable: {name}: {reason}")
    for result in found.measured:
        if result.failed_frames:
            frames = result.frames * len(result.samples)
            _print(f"no surface in {result.failed_frames} of {frames} frames, counted as failed: {result.name}")
    for note, count in Counter(note for result in found.measured for note in set(result.notes)).items():
        _print(f"noted in {count} objects: {note}")
    if found.without_ground_truth:
        _print(f"without ground truth, not counted: {', '.join(found.without_ground_truth)}")
    for name, reason in found.failed.items():
        _print(f"not measured: {name}: {reason}")


def _cell(number: float) -> str:
    return "n/a" if math.isnan(number) else f"{number:.4f}"


def _print(line: str) -> None:
    Console(soft_wrap=True).print(line, markup=False, highlight=False)


def _print_absent(objects: Sequence[Mapping[str, str]]) -> None:
    """Every reason once, with the quantities and the number of objects it holds for."""
    for reason in sorted({reason for absent in objects for reason in absent.values()}):
        names = sorted({name for absent in objects for name, why in absent.items() if why == reason})
        count = sum(reason in absent.values() for absent in objects)
        Console().print(f"not applicable in {count} objects: {', '.join(names)}: {reason}", highlight=False)
