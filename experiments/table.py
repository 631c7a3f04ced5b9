"""A table of finished cells, as markdown, CSV or LaTeX, and the command line that prints some."""

import argparse
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """`title` says what is told and in which unit, `header` names every column, `notes` what the numbers show."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.title}: a row of {len(row)} cells under {len(self.header)} columns: {row}")


def markdown(table: Table) -> str:
    """A pipe table under its title, notes below."""
    lines = [table.header, ("---",) * len(table.header), *table.rows]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([f"**{table.title}**", body, *table.notes])


def comma_separated(table: Table) -> str:
    """Header and rows as CSV; the title is a comment line, notes are left out."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return f"# {table.title}\n{text.getvalue()}".rstrip("\n")


def latex(table: Table) -> str:
    """A floating table of package booktabs; notes go into the caption."""
    body = [" & ".join(map(_escape, cells)) + r" \\" for cells in (table.header, *table.rows)]
    columns = "l" + "r" * (len(table.header) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escape(' '.join((table.title, *table.notes)))}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


FORMATS: dict[str, Callable[[Table], str]] = {"markdown": markdown, "csv": comma_separated, "latex": latex}


def show(description: str, makers: Mapping[str, Callable[[], Table]], arguments: Sequence[str] | None) -> None:
    """Prints the tables that the command line names, all of them when it names none."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="table", help=f"{', '.join(makers)}; none: all")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--csv", dest="style", action="store_const", const="csv", default="markdown")
    style.add_argument("--latex", dest="style", action="store_const", const="latex", default="markdown")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.tables if name not in makers]:
        parser.error(f"there is no table {', '.join(unknown)}: choose among {', '.join(makers)}")
    print("\n\n".join(FORMATS[given.style](makers[name]()) for name in given.tables or makers))


_SPECIAL = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"} | {sign: f"\\{sign}" for sign in "%_#&{}$"}


def _escape(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)
