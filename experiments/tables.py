"""Every table and picture in one go: results/tables, and with --wandb one offline W&B run that holds them all.

python -m experiments.tables [--output FOLDER] [--results FOLDER ...] [--wandb FOLDER]     seconds, no GPU, no weights
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments import (
    plots,
    table_a1_compute,
    table_a1_masks,
    table_a2_compute,
    table_a3_appearance,
    table_a4_length,
    table_components,
    table_main,
    table_shapegen4d,
    table_shapegen4d_ablation,
    table_shapegen4d_rendering,
)
from experiments.present import tables_of, unshown
from experiments.results import ROOT, read_runs
from experiments.table import FORMATS, Table
from experiments.wandb_run import add_wandb, folder, log_tables
from sculpt4d.files import write_text

COMPARISONS = {
    "main": table_main.COMPARISON,
    "components": table_components.COMPARISON,
    "a1_masks": table_a1_masks.COMPARISON,
    "a3_appearance": table_a3_appearance.COMPARISON,
    "a4_length": table_a4_length.COMPARISON,
    "shapegen4d": table_shapegen4d.COMPARISON,
    "shapegen4d_rendering": table_shapegen4d_rendering.COMPARISON,
    "shapegen4d_ablation": table_shapegen4d_ablation.COMPARISON,
}
COUNTED = {"a1_compute": table_a1_compute.masks, "a2_compute": table_a2_compute.scaling}
SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the files and says where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=folder, default=ROOT / "results" / "tables")
    parser.add_argument(
        "--results", type=Path, nargs="+", default=[], metavar="SOURCE", help="result files and folders"
    )
    add_wandb(parser)
    given = parser.parse_args(arguments)
    try:
        tables = every_table(given.results)
        pictures = plots.draw_all(given.output, given.results)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for name, table in tables.items():
        for style, suffix in SUFFIXES.items():
            write(given.output / f"{name}.{suffix}", FORMATS[style](table))
    print(f"{given.output}: {len(tables)} tables as {', '.join(SUFFIXES.values())}, {len(pictures)} pictures")
    missing = {command: name for name, table in tables.items() for _, command in table.missing}
    if left := unshown(COMPARISONS.values(), read_runs(given.results)):
        print(left)
    print("\n".join(["not measured:", *missing]) if missing else "nothing is missing")
    if given.wandb:
        print(f"W&B run, offline: {log_tables(given.wandb, tables, pictures)}")


def every_table(sources: Sequence[Path] = ()) -> dict[str, Table]:
    """Name to table; the differences to a reference row under a name of their own."""
    tables: dict[str, Table] = {name: make() for name, make in COUNTED.items()}
    for name, comparison in COMPARISONS.items():
        made = tables_of(comparison, sources)
        tables |= {f"{name}_{part}" if part else name: table for part, table in made.items()}
    return tables


def write(path: Path, text: str) -> None:
    """A file that appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{text}\n")


if __name__ == "__main__":
    main()
