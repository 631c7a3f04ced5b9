"""A comparison as its tables, and the command line that prints them."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.compare import Comparison, beside, choose, left_out
from experiments.differences import differences
from experiments.report import FORMATS, Table, add_styles
from experiments.results import Run, default_sources, read_runs
from experiments.wandb_run import add_wandb, log_tables

LISTED = 4  # reasons in a line


def tables_of(comparison: Comparison, sources: Sequence[Path] = ()) -> dict[str, Table]:
    """The table under the name "", and what its rows tell apart as "differences" where it has a reference.

    sources: result files and folders of them; none: those of the comparison's sweeps. Raises FileNotFoundError or
    ValueError for files that cannot be read, and for runs that were not measured alike.
    """
    found = {place: read_runs([place]) for place in sources or default_sources(comparison.sweeps)}
    rows = choose(comparison, [run for runs in found.values() for run in runs])
    shown = [place for place, runs in found.items() if not all(left_out(comparison, run) for run in runs)]
    tables = {"": beside(comparison, rows, shown)}
    return tables if comparison.reference is None else tables | {"differences": differences(comparison, rows)}


def unshown(comparisons: Iterable[Comparison], runs: Iterable[Run]) -> str:
    """One line: which runs stand in none of these tables, and why not in the first; nothing where all stand in one."""
    several = list(comparisons)
    reasons: dict[str, list[str]] = {}
    for run in runs:
        if all(why := [left_out(comparison, run) for comparison in several]):
            reasons.setdefault(why[0], []).append(str(run.file))
    told = [f"{files[0]}{f' and {len(files) - 1} more' * (len(files) > 1)} ({why})" for why, files in reasons.items()]
    more = f"; and {sum(map(len, list(reasons.values())[LISTED:]))} other files" if len(told) > LISTED else ""
    return f"Not shown: {'; '.join(told[:LISTED])}{more}" if told else ""


def present(description: str, comparison: Comparison, arguments: Sequence[str] | None) -> None:
    """Prints the tables; --wandb also logs them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    swept = f"; none: those of sweep={', sweep='.join(comparison.sweeps)}" if comparison.sweeps else ""
    told = f"result files and folders of them, of sweeps and of evaluate.py{swept}"
    parser.add_argument("sources", nargs="*", type=Path, metavar="source", help=told)
    add_styles(parser)
    add_wandb(parser)
    given = parser.parse_args(arguments)
    try:
        tables = tables_of(comparison, given.sources)
        left = unshown([comparison], read_runs(given.sources))
        if given.sources and not any("measured" in row for row in tables[""].rows):
            raise ValueError(
                f"nothing in {', '.join(map(str, given.sources))} belongs in this table, which shows "
                f"{', '.join(comparison.quantities)}: name other files, or none. {left}"
            )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if left:
        print(left, file=sys.stderr)
    print("\n\n".join(map(FORMATS[given.style], tables.values())))
    if given.wandb:
        log_tables(given.wandb, {name or "table": table for name, table in tables.items()})
