"""A comparison as its tables, and the command line that prints them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.comparison import Comparison, beside, choose
from experiments.differences import differences
from experiments.results import default_sources, read_runs
from experiments.table import FORMATS, Table, add_styles
from experiments.wandb_run import log_tables


def tables_of(comparison: Comparison, sources: Sequence[Path] = ()) -> dict[str, Table]:
    """The table under the name "", and what its rows tell apart as "differences" where it has a reference.

    sources: result files and folders of them; none: those of the comparison's sweeps. Raises FileNotFoundError or
    ValueError for files that cannot be read, and for runs that were not measured alike.
    """
    places = sources or default_sources(comparison.sweeps)
    rows = choose(comparison, read_runs(places))
    tables = {"": beside(comparison, rows, places)}
    return tables if comparison.reference is None else tables | {"differences": differences(comparison, rows)}


def present(description: str, comparison: Comparison, arguments: Sequence[str] | None) -> None:
    """Prints the tables; --wandb also logs them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    swept = f"; none: those of sweep={', sweep='.join(comparison.sweeps)}" if comparison.sweeps else ""
    told = f"result files and folders of them, of sweeps and of evaluate.py{swept}"
    parser.add_argument("sources", nargs="*", type=Path, metavar="source", help=told)
    add_styles(parser)
    parser.add_argument("--wandb", type=Path, metavar="FOLDER", help="also as an offline W&B run in this folder")
    given = parser.parse_args(arguments)
    try:
        tables = tables_of(comparison, given.sources)
        if given.sources and not any("measured" in row for row in tables[""].rows):
            raise ValueError(
                f"nothing in {', '.join(map(str, given.sources))} belongs in this table, which shows "
                f"{', '.join(comparison.quantities)}: name other files, or none"
            )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print("\n\n".join(map(FORMATS[given.style], tables.values())))
    if given.wandb:
        log_tables(given.wandb, {name or "table": table for name, table in tables.items()})
