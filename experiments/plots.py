"""Three pictures: compute against Chamfer with the masks as points, figures against length, loss by bin of flow time.

python -m experiments.plots [--output FOLDER] [SOURCE ...]     seconds, no GPU; sources as for the tables
"""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments import table_a1_masks, table_a4_length
from experiments.chart import Panel, Point, Series, draw
from experiments.compare import GEOMETRIC, Comparison, choose
from experiments.present import unshown
from experiments.results import ROOT, default_sources, read_runs
from experiments.rows import Row, standard_error
from experiments.wandb_run import folder

TRAINED = 16  # frames: of the published rows on length
BIN = re.compile(r"val/loss_time_(\d\.\d+)")  # the bin's lower end


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the pictures and says where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, metavar="source")
    parser.add_argument("--output", type=folder, default=ROOT / "results" / "tables")
    given = parser.parse_args(arguments)
    try:
        drawn = draw_all(given.output, given.sources)
        left = unshown([table_a1_masks.COMPARISON, table_a4_length.COMPARISON], read_runs(given.sources))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if left:
        print(left, file=sys.stderr)
    print("\n".join(map(str, drawn.values())))


def draw_all(folder: Path, sources: Sequence[Path] = ()) -> dict[str, Path]:
    """Name to file. Raises FileNotFoundError or ValueError as the tables do."""
    masks, length = table_a1_masks.COMPARISON, table_a4_length.COMPARISON
    of_masks, of_length = (
        choose(table, read_runs(sources or default_sources(table.sweeps))) for table in (masks, length)
    )
    pictures = {
        "compute_chamfer": (
            f"Compute against Chamfer distance: the masks{size_of(of_masks)}",
            compute_panels(masks, of_masks),
        ),
        "length": (
            f"Weights trained at one length, tested at others{size_of(of_length)}",
            length_panels(length, of_length),
        ),
        "loss_time": (
            f"Validation loss by flow time (0 is noise, 1 is data){size_of(of_masks)}",
            loss_panels(masks, of_masks),
        ),
    }
    files = {name: folder / f"{name}.png" for name in pictures}
    for name, (title, panels) in pictures.items():
        draw(files[name], title, panels)
    return files


def size_of(rows: Mapping[str, Row]) -> str:
    """Model and steps of all trained rows, as the end of a title."""
    trained = [row.first for row in rows.values() if row.first.steps]
    return f"; {trained[0].model}, {trained[0].steps} steps" if trained else ""


def compute_panels(comparison: Comparison, rows: Mapping[str, Row]) -> list[Panel]:
    """Published and measured masks, each with axes of its own: their models are not of one size."""
    axes = ("compute of one evaluation (TMAC)", "Chamfer, lower is better")
    names = {entry.label: entry.variant or entry.label for entry in comparison.entries}
    papers = comparison.published.rows.items()
    published = [Point(row["compute"], row["chamfer"], name=names[label]) for label, row in papers]
    measured = []
    for variant, row in rows.items():
        chamfer = row.figure("chamfer")
        compute = row.first.mean.get("compute", math.nan)
        if not math.isnan(compute):
            measured.append(Point(compute, chamfer.value, chamfer.error, variant))
    return [
        Panel("published, full size", *axes, (Series(tuple(published), hollow=True),)),
        Panel("measured; bars: standard error over seeds", *axes, (Series(tuple(measured)),)),
    ]


def length_panels(comparison: Comparison, rows: Mapping[str, Row]) -> list[Panel]:
    """A panel for each quantity, against frames as a multiple of those of training."""
    panels = []
    for quantity, heading in GEOMETRIC.items():
        papers = comparison.published.rows.items()
        published = tuple(Point(int(label.split()[0]) / TRAINED, row[quantity]) for label, row in papers)
        measured = []
        for row in rows.values():
            frames, trained = row.first.frames, row.first.trained_frames
            if frames and trained:
                measured.append(Point(frames / trained, *row.figure(quantity)[:2]))
        series = (
            Series(published, "published", joined=True, hollow=True),
            *([Series(tuple(sorted(measured)), "measured", joined=True)] if measured else []),
        )
        told = heading.replace(" ↓", ", lower is better").replace(" ↑", ", higher is better")  # the font has no arrows
        panels.append(Panel(told, "frames, as a multiple of those of training", "", series, octaves=True))
    return panels


def loss_panels(comparison: Comparison, rows: Mapping[str, Row]) -> list[Panel]:
    """A curve for each mask over the middles of the bins, then each less the reference, seed by seed."""
    reference = next(entry.variant for entry in comparison.entries if entry.label == comparison.reference)
    whole, less = [], []
    for variant, row in rows.items():
        lower = sorted((float(found[1]), name) for name in row.first.loss if (found := BIN.fullmatch(name)))
        if not lower:
            continue
        middles = [start + 0.5 / len(lower) for start, _ in lower]
        losses = [{run.seed: run.loss.get(name, math.nan) for run in row.runs} for _, name in lower]
        whole.append(Series(_means(middles, losses), variant, joined=True))
        if reference and reference in rows:
            theirs = [{run.seed: run.loss.get(name, math.nan) for run in rows[reference].runs} for _, name in lower]
            gaps = [
                {seed: mine[seed] - other[seed] for seed in mine.keys() & other.keys()}
                for mine, other in zip(losses, theirs, strict=True)
            ]
            less.append(Series(_means(middles, gaps), variant, joined=True))
    return [
        Panel("bars: standard error over seeds", "flow time", "lower is better", tuple(whole)),
        Panel(f"less that of {reference}, same seed", "flow time", "lower is better", tuple(less)),
    ]


def _means(middles: Sequence[float], bins: Sequence[Mapping[int | None, float]]) -> tuple[Point, ...]:
    """A point for each bin that has a value, with the standard error over seeds."""
    values = [list(found.values()) for found in bins]
    pairs = [(x, found) for x, found in zip(middles, values, strict=True) if found]
    return tuple(Point(x, float(np.mean(found)), standard_error(found)) for x, found in pairs)


if __name__ == "__main__":
    main()
