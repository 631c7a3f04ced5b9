"""Tables and pictures as one offline W&B run: nothing leaves the machine until `wandb sync` is called on it.

The tables are readable without the network: files/media/table/*.table.json in the run's folder.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.report import Table, separated
from sculpt4d.optional import require

PROJECT = "sculpt4d"
ABSENT = ("", "-", "n/a")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def add_wandb(parser: argparse.ArgumentParser) -> None:
    """The option that asks for such a run, as `wandb`."""
    parser.add_argument("--wandb", type=folder, metavar="FOLDER", help="also as an offline W&B run in this folder")


def folder(text: str) -> Path:
    """An argument of the command line: a folder that is there or can be made."""
    path = Path(text)
    if files := [place for place in (path, *path.parents) if place.exists() and not place.is_dir()]:
        raise argparse.ArgumentTypeError(f"{files[0]} is a file: name a folder")
    return path


def log_tables(folder: Path, tables: Mapping[str, Table], pictures: Mapping[str, Path] | None = None) -> Path:
    """Makes the run under `folder` and returns its own folder. Raises ImportError where wandb is not installed."""
    wandb = require("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        mode="offline", project=PROJECT, name="tables", dir=str(folder), settings=wandb.Settings(silent=True)
    )
    try:
        shown = {name: wandb.Table(*columns(table), allow_mixed_types=True) for name, table in tables.items()}
        shown |= {name: wandb.Image(str(path)) for name, path in (pictures or {}).items()}
        run.log(shown)
        run.summary.update({f"{name}/title": table.title for name, table in tables.items()})
        return Path(run.dir).parent
    finally:
        run.finish()


def columns(table: Table) -> tuple[list[str], list[list[str | float | None]]]:
    """Names and rows as W&B takes them: figures as numbers, None where there is none."""
    header, rows = separated(table)
    found = [list(cells) for cells in zip(*rows, strict=True)]
    typed = [[_number(cell) for cell in cells] if _numeric(cells) else cells for cells in found]
    return list(header), [list(row) for row in zip(*typed, strict=True)]


def _numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds nothing but numbers and marks for none."""
    told = [cell for cell in cells if cell not in ABSENT]
    return bool(told) and all(NUMBER.fullmatch(cell) for cell in told)


def _number(cell: str) -> float | None:
    return None if cell in ABSENT else float(cell)
