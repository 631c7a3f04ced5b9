"""Writes every table and plot to results/tables, and with --wandb to one offline W&B run.

python -m experiments.tables [--output FOLDER] [--results FOLDER ...] [--wandb FOLDER]     seconds, no GPU, no weights
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments import plots
from experiments.compare import tables_of, unshown
from experiments.compute import COUNTED
from experiments.papers import COMPARISONS
from experiments.report import FORMATS, Table, add_wandb, folder, log_tables
from experiments.results import ROOT, read_runs
from sculpt4d.files import write_text

PARTS = {"a1_compute": "masks", "a2_compute": "scaling"}  # the part of a counted table that is published
SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=folder, default=ROOT / "results" / "tables")
    parser.add_argument(
        "--results", type=Path, nargs="+", default=[], metavar="SOURCE", help="result files and folders"
    )
    add_wandb(parser)
    given = parser.parse_args(arguments)
    try:
        tables = every_table(given.results)
        images = plots.draw_all(given.output, given.results)
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    for name, table in tables.items():
        for style, suffix in SUFFIXES.items():
            write(given.output / f"{name}.{suffix}", FORMATS[style](table))
    print(f"{given.output}: {len(tables)} tables as {', '.join(SUFFIXES.values())}, {len(images)} plots")
    missing = {command: name for name, table in tables.items() for _, command in table.missing}
    if left := unshown(COMPARISONS.values(), read_runs(given.results)):
        print(left)
    print("\n".join(["not measured:", *missing]) if missing else "nothing is missing")
    if given.wandb:
        print(f"W&B run, offline: {log_tables(given.wandb, tables, images)}")


def every_table(sources: Sequence[Path] = ()) -> dict[str, Table]:
    """Name to table; differences to a reference row are NAME_differences."""
    tables = {name: COUNTED[name][part]() for name, part in PARTS.items()}
    for name, comparison in COMPARISONS.items():
        made = tables_of(comparison, sources)
        tables |= {f"{name}_{part}" if part else name: table for part, table in made.items()}
    return tables


def write(path: Path, text: str) -> None:
    """Writes a file atomically, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{text}\n")


if __name__ == "__main__":
    main()
