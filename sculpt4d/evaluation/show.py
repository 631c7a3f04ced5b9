"""The tables that a person sees at the end of evaluate.py."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sculpt4d.evaluation.folders import Measurement
from sculpt4d.evaluation.summary import Summary


def show(summary: Summary, method: str, seeds: int) -> None:
    """The table a person reads: every quantity with its errors, and the sampling floor beside it."""
    title = f"{method}: {summary.objects} objects, {seeds} seeds, {summary.failures} of {summary.frames} frames failed"
    caption = "error: standard error over objects; spread: standard deviation over seeds; floor: truth against itself"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD)
    splits: Mapping[str, Any] = summary.splits
    table.add_column("", no_wrap=True)
    for column in ("mean", "error", "spread", *splits, "floor"):
        table.add_column(column, justify="right")
    for name in summary.mean:
        numbers = [summary.mean[name], summary.error[name], summary.spread[name]]
        numbers += [split.mean[name] for split in splits.values()]
        table.add_row(name, *(f"{number:.4f}" for number in [*numbers, summary.floor[name]]))
    Console().print(table)


def show_folders(found: Measurement, numbers: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Every quantity with its error and, beside it, the floor; what no object has is not applicable."""
    total = len(found.measured) + len(found.failed)
    title = f"{name}: {len(found.measured)} of {total} objects measured"
    open_frames = sum(entry.open_frames for entry in found.measured)
    caption = "error: standard error over objects; floor: truth against itself"
    if open_frames:
        caption += f"; {open_frames} predicted frames are not closed: solids by generalised winding number"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for column in ("mean", "error", "floor", "objects"):
        table.add_column(column, justify="right")
    for quantity, mean in numbers["mean"].items():
        cells = [mean, numbers["error"][quantity], numbers["floor"][quantity]]
        words = ["n/a" if math.isnan(cell) else f"{cell:.4f}" for cell in cells]
        table.add_row(quantity, *words, str(numbers["measured"][quantity]))
    Console().print(table)
    for reason in sorted({reason for entry in found.measured for reason in entry.absent.values()}):
        names = sorted({name for entry in found.measured for name, why in entry.absent.items() if why == reason})
        count = sum(reason in entry.absent.values() for entry in found.measured)
        Console().print(f"not applicable in {count} objects: {', '.join(names)}: {reason}", highlight=False)
    noted = Counter(note for entry in found.measured for note in entry.notes)
    for note, count in noted.items():
        Console(soft_wrap=True).print(f"noted in {count} objects: {note}", markup=False, highlight=False)
    for failed, reason in found.failed.items():
        Console(soft_wrap=True).print(f"not measured: {failed}: {reason}", markup=False, highlight=False)
