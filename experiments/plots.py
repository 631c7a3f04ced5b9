"""Draws three plots: compute against Chamfer of the masks, figures against length, loss against flow time.

python -m experiments.plots [--output FOLDER] [SOURCE ...]     seconds, no GPU; sources as for the tables
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.compare import GEOMETRY, Comparison, choose, unshown
from experiments.papers import COMPARISONS
from experiments.report import folder
from experiments.results import ROOT, default_sources, read_runs
from experiments.rows import Row, standard_error
from sculpt4d.optional import require

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MASKS, LENGTH = COMPARISONS["a1_masks"], COMPARISONS["a4_length"]
TRAINED = 16  # frames that the published length rows were trained at
BIN = re.compile(r"val/loss_time_(\d\.\d+)")  # the bin's lower end
# colour and marker of each mask in all plots, readable without colour vision; unknown variants are OTHER
STYLES = {
    "no_anchor": ("#e69f00", "v"),
    "fixed_stride": ("#d55e00", "s"),
    "aggressive": ("#cc79a7", "P"),
    "conservative": ("#009e73", "D"),
    "full": ("#4d4d4d", "X"),
    "blockmask_decay": ("#0072b2", "o"),
    "motion_adaptive": ("#56b4e9", "^"),
    "learned": ("#8c6bb1", "p"),
}
PAPER, OURS, OTHER = ("#7f7f7f", "o"), ("#0072b2", "o"), ("#000000", "*")
INK, MUTED, GRID = "#181c28", "#60687a", "#e2e5ec"
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}
HEIGHT, WIDTH, DPI = 3.6, 4.2, 200  # of a panel, in inches


class Point(NamedTuple):
    """A point and the standard error of y, NaN if there is none."""

    x: float
    y: float
    error: float = math.nan


@dataclass(frozen=True)
class Series:
    """Points of one colour and marker under one name of the legend. joined: by a line; hollow: published figures."""

    name: str
    points: tuple[Point, ...]
    style: tuple[str, str]
    joined: bool = False
    hollow: bool = False

    @property
    def shown(self) -> list[Point]:
        """Points with a figure; NaN is not applicable."""
        return [point for point in self.points if not math.isnan(point.y)]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. octaves: logarithmic x axis with a tick at every x. level: a horizontal line. apart: distance
    at which points of one x are drawn side by side, so that their bars do not overlap, in typographic points.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    octaves: bool = False
    level: float | None = None
    apart: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, metavar="source")
    parser.add_argument("--output", type=folder, default=ROOT / "results" / "tables")
    given = parser.parse_args(arguments)
    try:
        drawn = draw_all(given.output, given.sources)
        left = unshown([MASKS, LENGTH], read_runs(given.sources))
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    if left:
        print(left, file=sys.stderr)
    print("\n".join(map(str, drawn.values())))


def draw_all(folder: Path, sources: Sequence[Path] = ()) -> dict[str, Path]:
    """Name to PNG file. Raises FileNotFoundError or ValueError as the tables do, ImportError without matplotlib."""
    of_masks, of_length = (
        choose(table, read_runs(sources or default_sources(table.sweeps))) for table in (MASKS, LENGTH)
    )
    plots = {
        "compute_chamfer": (
            f"Compute against Chamfer distance: the masks{size_of(of_masks)}",
            compute_panels(MASKS, of_masks),
        ),
        "length": (
            f"Weights trained at one length, tested at others{size_of(of_length)}",
            length_panels(LENGTH, of_length),
        ),
        "loss_time": (
            f"Validation loss by flow time (0 is noise, 1 is data){size_of(of_masks)}",
            loss_panels(MASKS, of_masks),
        ),
    }
    files = {name: folder / f"{name}.png" for name in plots}
    for name, (title, panels) in plots.items():
        draw(files[name], title, panels)
    return files


def size_of(rows: Mapping[str, Row]) -> str:
    """Model and steps of all trained rows, as the end of a title."""
    trained = [row.first for row in rows.values() if row.first.steps]
    return f"; {trained[0].model}, {trained[0].steps} steps" if trained else ""


def compute_panels(comparison: Comparison, rows: Mapping[str, Row]) -> list[Panel]:
    """Published and measured masks, each with its own axes: their models are not of one size."""
    labels = ("compute of one evaluation (TMAC)", "Chamfer, lower is better")
    names = {entry.label: entry.variant or entry.label for entry in comparison.entries}
    published = tuple(
        Series(names[label], (Point(row["compute"], row["chamfer"]),), style_of(names[label]), hollow=True)
        for label, row in comparison.published.rows.items()
    )
    measured = []
    for variant, row in rows.items():
        chamfer = row.figure("chamfer")
        compute = row.first.mean.get("compute", math.nan)
        if not math.isnan(compute):
            point = Point(compute, chamfer.value, chamfer.error)
            measured.append(Series(variant, (point,), style_of(variant)))
    return [
        Panel("published, full size", *labels, published),
        Panel("measured; bars: standard error over seeds", *labels, tuple(measured), apart=9),
    ]


def length_panels(comparison: Comparison, rows: Mapping[str, Row]) -> list[Panel]:
    """A panel for each quantity, against frames as a multiple of those of training."""
    panels = []
    for quantity, heading in GEOMETRY.items():
        papers = comparison.published.rows.items()
        published = tuple(Point(int(label.split()[0]) / TRAINED, row[quantity]) for label, row in papers)
        measured = []
        for row in rows.values():
            frames, trained = row.first.frames, row.first.trained_frames
            if frames and trained:
                measured.append(Point(frames / trained, *row.figure(quantity)[:2]))
        series = (
            Series("published, full size", published, PAPER, joined=True, hollow=True),
            *([Series("measured", tuple(sorted(measured)), OURS, joined=True)] if measured else []),
        )
        title = heading.replace(" ↓", ", lower is better").replace(" ↑", ", higher is better")
        panels.append(Panel(title, "frames / frames of training", "", series, octaves=True))
    return panels


def loss_panels(comparison: Comparison, rows: Mapping[str, Row]) -> list[Panel]:
    """A curve for each mask over the middles of the bins, then its difference to the reference, seed by seed."""
    reference = next(entry.variant for entry in comparison.entries if entry.label == comparison.reference)
    whole, less = [], []
    for variant, row in rows.items():
        lower = sorted((float(found[1]), name) for name in row.first.loss if (found := BIN.fullmatch(name)))
        if not lower:
            continue
        middles = [start + 0.5 / len(lower) for start, _ in lower]
        losses = [{run.seed: run.loss.get(name, math.nan) for run in row.runs} for _, name in lower]
        whole.append(Series(variant, _means(middles, losses), style_of(variant), joined=True))
        if reference and reference in rows and variant != reference:
            theirs = [{run.seed: run.loss.get(name, math.nan) for run in rows[reference].runs} for _, name in lower]
            gaps = [
                {seed: mine[seed] - other[seed] for seed in mine.keys() & other.keys()}
                for mine, other in zip(losses, theirs, strict=True)
            ]
            less.append(Series(variant, _means(middles, gaps), style_of(variant), joined=True))
    return [
        Panel("mean and standard error over seeds", "flow time", "loss, lower is better", tuple(whole)),
        Panel(
            f"minus {reference} of the same seed; bars: standard error",
            "flow time",
            "difference, lower is better",
            tuple(less),
            level=0.0,
            apart=6,
        ),
    ]


def draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Writes the panels side by side with one legend. Raises ImportError if matplotlib is not installed."""
    matplotlib = require("matplotlib")
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * len(panels) + 1.7, HEIGHT + 0.5), layout="constrained")
        handles: dict[str, Artist] = {}
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            handles |= _panel(axes, panel)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
        if handles:
            figure.legend(list(handles.values()), list(handles), loc="outside right center")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        figure.savefig(partial, format="png", dpi=DPI)
    os.replace(partial, path)


def style_of(variant: str) -> tuple[str, str]:
    """Colour and marker of a mask."""
    return STYLES.get(variant, OTHER)


def _panel(axes: "Axes", panel: Panel) -> "dict[str, Artist]":
    """Draws one panel and returns its legend handles by name."""
    from matplotlib.transforms import ScaledTranslation

    axes.set_title(panel.title, loc="left", color=INK)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if not any(series.shown for series in panel.series):
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes, color=MUTED)
        axes.set(xticks=[], yticks=[])
        return {}
    if panel.level is not None:
        axes.axhline(panel.level, color=MUTED, linewidth=1)
    if panel.octaves:
        found = sorted({point.x for series in panel.series for point in series.shown})
        axes.set_xscale("log", base=2)
        axes.set_xticks(found, [f"{x:g}" for x in found])
        axes.minorticks_off()
    else:
        axes.locator_params(axis="x", nbins=5)
    handles: dict[str, Artist] = {}
    figure = axes.get_figure(root=True)
    assert figure is not None
    for number, series in enumerate(panel.series):
        points = series.shown
        if not points:
            continue
        colour, marker = series.style
        bars = [point.error for point in points]
        aside = ScaledTranslation(_aside(panel, number) / 72, 0, figure.dpi_scale_trans)
        handles[series.name] = axes.errorbar(
            [point.x for point in points],
            [point.y for point in points],
            yerr=None if all(map(math.isnan, bars)) else bars,
            transform=axes.transData + aside,
            color=colour,
            marker=marker,
            markersize=6,
            markerfacecolor="white" if series.hollow else colour,
            markeredgewidth=1.5,
            linestyle=("--" if series.hollow else "-") if series.joined else "none",
            linewidth=1.5,
            elinewidth=1.2,
            capsize=3,
        )[0]
        reach = [0.0 if math.isnan(bar) else bar for bar in bars]  # limits leave shifted artists out
        ends = [(point.x, point.y + s * bar) for point, bar in zip(points, reach, strict=True) for s in (-1, 1)]
        axes.update_datalim(ends)
    axes.margins(x=0.15 if panel.apart else 0.08, y=0.08)
    axes.autoscale_view()
    return handles


def _aside(panel: Panel, number: int) -> float:
    """Horizontal offset of a series among those that share an x with it, in typographic points."""
    xs = {point.x for point in panel.series[number].shown}
    alike = [k for k, series in enumerate(panel.series) if xs & {point.x for point in series.shown}]
    return panel.apart * (alike.index(number) - (len(alike) - 1) / 2)


def _means(middles: Sequence[float], bins: Sequence[Mapping[int | None, float]]) -> tuple[Point, ...]:
    """A point for each bin that has a value, with the standard error over seeds."""
    values = [list(found.values()) for found in bins]
    pairs = [(x, found) for x, found in zip(middles, values, strict=True) if found]
    return tuple(Point(x, float(np.mean(found)), standard_error(found)) for x, found in pairs)


if __name__ == "__main__":
    main()
