"""Tables and pictures as one offline W&B run: nothing leaves the machine until `wandb sync` is called on it.

The tables are readable without the network: files/media/table/*.table.json in the run's folder.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from experiments.table import Figure, Table, separated
from sculpt4d.optional import require

PROJECT = "sculpt4d"


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
    numeric = {head for head, cells in zip(table.header, zip(*table.rows, strict=True), strict=True) if _holds(cells)}
    numeric |= {head for head in header if head not in table.header}
    return list(header), [
        [_number(cell) if head in numeric else cell for head, cell in zip(header, row, strict=True)] for row in rows
    ]


def _holds(cells: tuple[str | Figure, ...]) -> bool:
    return any(isinstance(cell, Figure) for cell in cells)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:  # n/a, or a dash
        return None
    return value if math.isfinite(value) else None
