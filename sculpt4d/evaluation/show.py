"""The tables that a person sees at the end of evaluate.py."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sculpt4d.evaluation.folders import Measurement
from sculpt4d.evaluation.summary import Summary


def show(summary: Summary, failed: Mapping[str, str], method: str, seeds: int) -> None:
    """The table a person reads: every quantity with its errors, and the sampling floor beside it; below it what no
    number is in, objects that `failed` among them.
    """
    objects = (
        f"{summary.objects} of {summary.objects + len(failed)} objects" if failed else f"{summary.objects} objects"
    )
    title = f"{method}: {objects}, {seeds} seeds, {summary.failures} of {summary.frames} frames failed"
    caption = "error: standard error over objects; spread: standard deviation over seeds; floor: truth against itself"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD)
    splits: Mapping[str, Any] = summary.splits
    table.add_column("", no_wrap=True)
    for column in ("mean", "error", "spread", *splits, "floor"):
        table.add_column(column, justify="right")
    for name in summary.mean:
        numbers = [summary.mean[name], summary.error[name], summary.spread[name]]
        numbers += [split.mean[name] for split in splits.values()]
        table.add_row(name, *(_cell(number) for number in [*numbers, summary.floor[name]]))
    Console().print(table)
    _tell_absent(list(summary.absent.values()))
    _tell_failed(failed)


def show_folders(found: Measurement, numbers: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Every quantity with its error and, beside it, the floor; what no object has is not applicable."""
    title = f"{name}: {len(found.measured)} of {found.objects} objects measured"
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
        table.add_row(quantity, *map(_cell, cells), str(numbers["measured"][quantity]))
    Console().print(table)
    _tell_absent([entry.absent for entry in found.measured])
    for entry in found.measured:
        if entry.failed_frames:
            told = f"no surface in {entry.failed_frames} of {entry.frames} frames, counted as failed: {entry.name}"
            Console(soft_wrap=True).print(told, markup=False, highlight=False)
    noted = Counter(note for entry in found.measured for note in set(entry.notes))
    for note, count in noted.items():
        Console(soft_wrap=True).print(f"noted in {count} objects: {note}", markup=False, highlight=False)
    if found.without_ground_truth:
        told = ", ".join(found.without_ground_truth)
        Console(soft_wrap=True).print(f"without ground truth, not counted: {told}", markup=False, highlight=False)
    _tell_failed(found.failed)


def _cell(number: float) -> str:
    return "n/a" if math.isnan(number) else f"{number:.4f}"


def _tell_absent(objects: Sequence[Mapping[str, str]]) -> None:
    """For every reason the quantities that some objects lack, and how many do."""
    for reason in sorted({reason for absent in objects for reason in absent.values()}):
        names = sorted({name for absent in objects for name, why in absent.items() if why == reason})
        count = sum(reason in absent.values() for absent in objects)
        Console().print(f"not applicable in {count} objects: {', '.join(names)}: {reason}", highlight=False)


def _tell_failed(failed: Mapping[str, str]) -> None:
    for name, reason in failed.items():
        Console(soft_wrap=True).print(f"not measured: {name}: {reason}", markup=False, highlight=False)
