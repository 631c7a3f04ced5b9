"""Whether the paper's findings hold here: every row against a reference row, beside the published difference."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import t as student

from experiments.budgets import budget
from experiments.compare import GEOMETRIC, LOSS, NONE, TEMPORAL, Comparison
from experiments.report import Cell, Figure, Table
from experiments.rows import Row, standard_error

CONFIDENCE = 0.95


def differences(comparison: Comparison, rows: Mapping[str, Row]) -> Table:
    """A line for every row and quantity that the paper or we have: row minus reference, theirs and ours.

    Jitter and drift are left out where rows differ in length, as they are not comparable then.
    """
    compared = GEOMETRIC | LOSS | ({} if "frames" in comparison.free else TEMPORAL)
    paper = comparison.published
    by_label = {entry.label: rows[name] for entry in comparison.entries if (name := entry.variant) and name in rows}
    reference = comparison.reference
    assert reference is not None, f"{comparison.title} has no row that others are held against"
    lines: list[tuple[Cell, ...]] = []
    for entry in comparison.entries:
        if entry.label == reference or entry.variant is None:
            continue
        for quantity, heading in comparison.quantities.items():
            if quantity not in compared:
                continue
            theirs = paper.rows.get(entry.label, {}).get(quantity)
            digits = paper.decimals.get(quantity, paper.digits)
            told = math.nan if theirs is None else round(theirs - paper.rows[reference][quantity], digits)
            pairs = []
            if entry.label in by_label and reference in by_label:
                pairs = by_label[entry.label].differences(by_label[reference], quantity)
            if theirs is None and not pairs:
                continue
            shown: Cell = Figure(told, decimals=digits, signed=True) if not math.isnan(told) else NONE
            ours: Cell = Figure(float(np.mean(pairs)), standard_error(pairs), signed=True) if pairs else NONE
            lines.append((entry.label, heading, shown, ours, str(len(pairs)), verdict(told, pairs)))
    return Table(
        f"{comparison.title}: difference to the row '{reference}'",
        ("method", "quantity", "published", "measured", "seeds", "the paper's order"),
        tuple(lines),
        (
            "measured: mean over seeds of the difference of the two runs with the same seed, with its standard error. "
            f"holds, reversed: zero is outside Student's {100 * CONFIDENCE:.0f} % interval of that mean, on the side "
            "of the paper or on the other (differs: where the paper has no such difference); undecided: it is inside. "
            "One line in twenty lies outside by chance alone. seeds: how many differences stand behind a verdict.",
            *budget(run for row in rows.values() for run in row.runs),
        ),
    )


def verdict(published: float, measured: Sequence[float]) -> str:
    """In words, as the table's note explains them. published: NaN where the paper has no such row."""
    if not measured:
        return "not measured"
    if len(measured) < 2:
        return "undecided (one seed)"
    mean = float(np.mean(measured))
    reach = float(student.ppf((1 + CONFIDENCE) / 2, len(measured) - 1)) * standard_error(measured)
    if abs(mean) <= reach:
        return "undecided"
    if math.isnan(published) or published == 0:
        return "differs, the paper has none"
    return "holds" if (mean > 0) == (published > 0) else "reversed"
