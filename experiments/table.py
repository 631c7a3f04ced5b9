"""Prints a table: published rows beside measured ones, and whether the paper's order holds here.

python train.py sweep=masks && python -m experiments.table a1_masks
python -m experiments.table main runs/evaluate/*_sculpt4d --csv
python -m experiments.table evaluations runs/evaluate/*
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import record
from experiments.compare import Comparison, tables_of, unshown
from experiments.compute import COUNTED, TITLES
from experiments.evaluations import evaluations
from experiments.papers import COMPARISONS
from experiments.report import FORMATS, Table, add_styles, add_wandb, log_tables
from experiments.results import read_runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser("python -m experiments.table", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    tables = parser.add_subparsers(title="tables", dest="table", required=True, metavar="NAME")
    for name, comparison in COMPARISONS.items():
        _add_comparison(tables.add_parser(name, help=comparison.title, description=_described(comparison)), comparison)
    for name, makers in COUNTED.items():
        _add_counted(tables.add_parser(name, help=TITLES[name], description=TITLES[name]), makers)
    told = "Several metrics.json of evaluate.py side by side, and the 4D model against the per-frame baselines"
    _add_evaluations(tables.add_parser("evaluations", help=told, description=told))
    told = "Benchmarks: ratios and figures of every file in results/benchmarks"
    _add_benchmarks(tables.add_parser("benchmarks", help=told, description=told))
    given = parser.parse_args(arguments)
    try:
        given.show(given)
    except (OSError, ValueError) as error:
        given.parser.error(str(error))


def print_comparison(comparison: Comparison, sources: Sequence[Path], style: str, wandb: Path | None = None) -> None:
    """Prints the tables of a comparison, and on standard error which of the named runs they leave out.

    Raises FileNotFoundError or ValueError as `tables_of`, and ValueError when sources are named but none is shown.
    """
    tables = tables_of(comparison, sources)
    left = unshown([comparison], read_runs(sources))
    if sources and not any("measured" in row for row in tables[""].rows):
        raise ValueError(
            f"nothing in {', '.join(map(str, sources))} belongs in this table, which shows "
            f"{', '.join(comparison.quantities)}: name other files, or none. {left}"
        )
    if left:
        print(left, file=sys.stderr)
    print("\n\n".join(map(FORMATS[style], tables.values())))
    if wandb:
        log_tables(wandb, {name or "table": table for name, table in tables.items()})


def _add_comparison(parser: argparse.ArgumentParser, comparison: Comparison) -> None:
    swept = f"; none: those of sweep={', sweep='.join(comparison.sweeps)}" if comparison.sweeps else ""
    told = f"result files and folders of them, of sweeps and of evaluate.py{swept}"
    parser.add_argument("sources", nargs="*", type=Path, metavar="source", help=told)
    add_wandb(parser)
    _finish(parser, lambda given: print_comparison(comparison, given.sources, given.style, given.wandb))


def _add_counted(parser: argparse.ArgumentParser, makers: Mapping[str, Callable[[], Table]]) -> None:
    def show(given: argparse.Namespace) -> None:
        if unknown := [name for name in given.parts if name not in makers]:
            raise ValueError(f"there is no table {', '.join(unknown)}: choose among {', '.join(makers)}")
        print("\n\n".join(FORMATS[given.style](makers[name]()) for name in given.parts or makers))

    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(makers)}; none: all")
    _finish(parser, show)


def _add_evaluations(parser: argparse.ArgumentParser) -> None:
    def show(given: argparse.Namespace) -> None:
        print(FORMATS[given.style](evaluations(given.sources, not given.without_paper)))

    parser.add_argument("sources", nargs="+", type=Path, metavar="folder", help="that evaluate.py wrote")
    parser.add_argument("--without-paper", action="store_true", help="leave the published rows out")
    _finish(parser, show)


def _add_benchmarks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="*", type=Path, metavar="source", help="files and folders of benchmarks")
    _finish(parser, lambda given: print(FORMATS[given.style](record.table(given.sources))))


def _finish(parser: argparse.ArgumentParser, show: Callable[[argparse.Namespace], None]) -> None:
    add_styles(parser)
    parser.set_defaults(show=show, parser=parser)


def _described(comparison: Comparison) -> str:
    """The description of a table's own --help."""
    train = " && ".join(f"python train.py sweep={sweep}" for sweep in comparison.sweeps)
    made = f"Rows are made by: {train}." if train else f"Rows are measured by: python evaluate.py {comparison.options}."
    return f"{comparison.title}. Published figures: {comparison.published.source}. {made}"


if __name__ == "__main__":
    main()
