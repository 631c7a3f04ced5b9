"""A table of finished cells, printed as markdown, CSV, LaTeX or an offline W&B run."""

import argparse
import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sculpt4d.optional import require

PROJECT = "sculpt4d"
ABSENT = ("", "-", "n/a")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


class Figure(NamedTuple):
    """A number, NaN if not applicable, and its standard error, NaN if unknown.

    signed: print a plus sign. of: objects that the number is a mean of, printed if some are missing.
    """

    value: float
    error: float = math.nan
    decimals: int = 4
    signed: bool = False
    of: int | None = None

    def text(self, plus_minus: str = " ± ") -> str:
        """As printed."""
        if math.isnan(self.value):
            return "n/a"
        error = "" if math.isnan(self.error) else f"{plus_minus}{self.error:.{self.decimals}f}"
        of = "" if self.of is None else f" (of {self.of})"
        return f"{self.value:{'+' if self.signed else ''}.{self.decimals}f}{error}{of}"


Cell = str | Figure


@dataclass(frozen=True)
class Table:
    """title: what is shown, with its unit. header: a name for every column. notes: printed below the rows. missing:
    rows without measurement, each with the command that makes it.
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
    """Header and rows as CSV with a column for errors; title and missing rows are comments, notes are left out."""
    header, rows = separated(table)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    missing = [f"# not measured: {name}: {command}" for name, command in table.missing]
    return "\n".join([f"# {table.title}", text.getvalue().rstrip("\n"), *missing])


def latex(table: Table) -> str:
    """A floating table for the booktabs package; notes go into the caption, missing rows into comments."""
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
    """Header and rows with one number per cell: a column with errors becomes two."""
    columns = list(zip(table.header, zip(*table.rows, strict=True), strict=True)) if table.rows else []
    header: list[str] = []
    found: list[list[str]] = []
    for head, cells in columns:
        header.append(head)
        found.append(
            [_text(cell._replace(error=math.nan, of=None)) if isinstance(cell, Figure) else cell for cell in cells]
        )
        errors = [cell.error if isinstance(cell, Figure) else math.nan for cell in cells]
        if not all(map(math.isnan, errors)):
            header.append(f"{head}, standard error")
            digits = [cell.decimals if isinstance(cell, Figure) else 0 for cell in cells]
            pairs = zip(errors, digits, strict=True)
            found.append(["" if math.isnan(error) else f"{error:.{places}f}" for error, places in pairs])
    return tuple(header) or table.header, list(zip(*found, strict=True))


def add_styles(parser: argparse.ArgumentParser) -> None:
    """Options that choose among `FORMATS`, as `style`."""
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--csv", dest="style", action="store_const", const="csv", default="markdown")
    style.add_argument("--latex", dest="style", action="store_const", const="latex", default="markdown")


def add_wandb(parser: argparse.ArgumentParser) -> None:
    """The option that also writes an offline W&B run, as `wandb`."""
    parser.add_argument("--wandb", type=folder, metavar="FOLDER", help="also as an offline W&B run in this folder")


def folder(text: str) -> Path:
    """Command line argument: a folder that exists or can be created."""
    path = Path(text)
    if files := [place for place in (path, *path.parents) if place.exists() and not place.is_dir()]:
        raise argparse.ArgumentTypeError(f"{files[0]} is a file: name a folder")
    return path


def log_tables(folder: Path, tables: Mapping[str, Table], images: Mapping[str, Path] | None = None) -> Path:
    """Writes tables and images as an offline W&B run under `folder` and returns the run's own folder.

    Nothing leaves the machine until `wandb sync` is called on it. The tables can be read without the network:
    files/media/table/*.table.json. Raises ImportError if wandb is not installed.
    """
    wandb = require("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        mode="offline", project=PROJECT, name="tables", dir=str(folder), settings=wandb.Settings(silent=True)
    )
    try:
        shown = {name: wandb.Table(*columns(table), allow_mixed_types=True) for name, table in tables.items()}
        shown |= {name: wandb.Image(str(path)) for name, path in (images or {}).items()}
        run.log(shown)
        run.summary.update({f"{name}/title": table.title for name, table in tables.items()})
        return Path(run.dir).parent
    finally:
        run.finish()


def columns(table: Table) -> tuple[list[str], list[list[str | float | None]]]:
    """Header and rows for W&B: figures as numbers, None where there is none."""
    header, rows = separated(table)
    found = [list(cells) for cells in zip(*rows, strict=True)]
    typed = [[_number(cell) for cell in cells] if _numeric(cells) else cells for cells in found]
    return list(header), [list(row) for row in zip(*typed, strict=True)]


def _numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds only numbers and marks for none."""
    told = [cell for cell in cells if cell not in ABSENT]
    return bool(told) and all(NUMBER.fullmatch(cell) for cell in told)


def _number(cell: str) -> float | None:
    return None if cell in ABSENT else float(cell)


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
