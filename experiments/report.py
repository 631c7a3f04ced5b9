"""A table of finished cells, as markdown, CSV or LaTeX, and the command line that prints some."""

import argparse
import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Figure(NamedTuple):
    """A number, NaN where it is not applicable, and its standard error, NaN where there is none. signed: + is shown."""

    value: float
    error: float = math.nan
    decimals: int = 4
    signed: bool = False

    def text(self, plus_minus: str = " ± ") -> str:
        """As printed."""
        if math.isnan(self.value):
            return "n/a"
        error = "" if math.isnan(self.error) else f"{plus_minus}{self.error:.{self.decimals}f}"
        return f"{self.value:{'+' if self.signed else ''}.{self.decimals}f}{error}"


Cell = str | Figure


@dataclass(frozen=True)
class Table:
    """`title` says what is told and in which unit, `header` names every column, `notes` what the numbers show.

    missing: rows that nothing was measured for, each with the command that makes it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.title}: a row of {len(row)} cells under {len(self.header)} columns: {row}")


def markdown(table: Table) -> str:
    """A pipe table under its title, notes below."""
    rows = [[_text(cell).replace("|", r"\|") for cell in row] for row in table.rows]
    lines = [table.header, ("---",) * len(table.header), *rows]
    parts = [f"**{table.title}**", "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    if table.missing:
        parts += ["Not measured:", "\n".join(f"- {name}: `{command}`" for name, command in table.missing)]
    return "\n\n".join([*parts, *table.notes])


def comma_separated(table: Table) -> str:
    """Header and rows as CSV, errors in columns of their own; title and missing rows are comments, notes left out."""
    header, rows = separated(table)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    missing = [f"# not measured: {name}: {command}" for name, command in table.missing]
    return "\n".join([f"# {table.title}", text.getvalue().rstrip("\n"), *missing])


def latex(table: Table) -> str:
    """A floating table of package booktabs; notes go into the caption, missing rows into comments."""
    body = [" & ".join(map(_typeset, cells)) + r" \\" for cells in (table.header, *table.rows)]
    columns = "l" + "r" * (len(table.header) - 1)
    return "\n".join(
        [
            *(f"% not measured: {name}: {command}" for name, command in table.missing),
            r"\begin{table}",
            rf"\caption{{{_escape(' '.join((f'{table.title}.', *table.notes)))}}}",
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


def separated(table: Table) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows with one number a cell: a column with errors becomes two."""
    columns = list(zip(table.header, zip(*table.rows, strict=True), strict=True)) if table.rows else []
    header: list[str] = []
    found: list[list[str]] = []
    for head, cells in columns:
        header.append(head)
        found.append([_text(cell._replace(error=math.nan)) if isinstance(cell, Figure) else cell for cell in cells])
        errors = [cell.error if isinstance(cell, Figure) else math.nan for cell in cells]
        if not all(map(math.isnan, errors)):
            header.append(f"{head}, standard error")
            digits = [cell.decimals if isinstance(cell, Figure) else 0 for cell in cells]
            pairs = zip(errors, digits, strict=True)
            found.append(["" if math.isnan(error) else f"{error:.{places}f}" for error, places in pairs])
    return tuple(header) or table.header, list(zip(*found, strict=True))


def add_styles(parser: argparse.ArgumentParser) -> None:
    """The options that choose among `FORMATS`, as `style`."""
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--csv", dest="style", action="store_const", const="csv", default="markdown")
    style.add_argument("--latex", dest="style", action="store_const", const="latex", default="markdown")


def show(description: str, makers: Mapping[str, Callable[[], Table]], arguments: Sequence[str] | None) -> None:
    """Prints the tables that the command line names, all of them when it names none."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="table", help=f"{', '.join(makers)}; none: all")
    add_styles(parser)
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.tables if name not in makers]:
        parser.error(f"there is no table {', '.join(unknown)}: choose among {', '.join(makers)}")
    print("\n\n".join(FORMATS[given.style](makers[name]()) for name in given.tables or makers))


_SPECIAL = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"} | {sign: f"\\{sign}" for sign in "%_#&{}$"}
_SPECIAL |= {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$"}


def _text(cell: Cell) -> str:
    return cell.text() if isinstance(cell, Figure) else cell


def _typeset(cell: Cell) -> str:
    """A cell for LaTeX; minus signs are those of mathematics."""
    if isinstance(cell, Figure) and not math.isnan(cell.value):
        number = cell.text(plus_minus=r" \pm ")
        return f"${number}$"
    return _escape(_text(cell))


def _escape(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)
