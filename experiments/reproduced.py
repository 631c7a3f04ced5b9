"""Agreement of your own runs with others, such as the committed ones, within the error bars of both.

python train.py sweep=masks && python -m experiments.reproduced runs/sweep/masks/results results/masks [--csv | --latex]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.budgets import budget, differing, refuse_budgets
from experiments.compare import CONFIDENCE, GEOMETRY, NONE, Words, unpaired, verdict
from experiments.report import FORMATS, Cell, Table, add_styles
from experiments.results import read_runs
from experiments.rows import refuse_mixed, rows_of

OTHER_BASE = "not compared: another base"
AGREEMENT = Words("differs", "agrees", "differs", "one seed: no error", "not applicable")
BASES = (
    "another base: the frozen weights below the temporal layers are others, so the figures are of other models and may "
    "rightly differ; runs above the same weights can be compared."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table. Ends with status 1 if a variant differs, or is not compared because its base is another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("own", type=Path, help="result files of one's own runs")
    parser.add_argument("other", type=Path, help="those to compare with")
    add_styles(parser)
    given = parser.parse_args(arguments)
    try:
        table = agreement(given.own, given.other)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(FORMATS[given.style](table))
    if any(row[-1] in ("differs", OTHER_BASE) for row in table.rows):
        raise SystemExit(1)


def agreement(own: Path, other: Path) -> Table:
    """A line for every quantity of every variant in both, and one for every variant that only one side has.

    Raises FileNotFoundError or ValueError for files that cannot be read, for runs that were not trained and measured
    alike, and when no variant is in both.
    """
    mine, theirs = (rows_of(read_runs([place])) for place in (own, other))
    shared = [name for name in mine if name in theirs]
    if not shared:
        raise ValueError(f"{own} has {', '.join(mine)}, {other} has {', '.join(theirs)}: no variant is in both")
    lines: list[tuple[Cell, ...]] = []
    for name in shared:
        refuse_mixed([mine[name], theirs[name]])
        refuse_budgets([*mine[name].runs, *theirs[name].runs], free=("frozen",))
        same = not differing(mine[name].first, theirs[name].first)
        for quantity, heading in GEOMETRY.items():
            pair = mine[name].figure(quantity), theirs[name].figure(quantity)
            gap = unpaired(mine[name].values(quantity), theirs[name].values(quantity))
            word = verdict(gap, AGREEMENT)
            lines.append((name, heading, *pair, word if same else OTHER_BASE))
    for place, rows, others in ((own, mine, theirs), (other, theirs, mine)):
        lines += [(name, *(NONE,) * 3, f"not compared: in {place} alone") for name in rows if name not in others]
    return Table(
        f"Agreement of {own.name} and {other.name}",
        ("variant", "quantity", "own", "other", "verdict"),
        tuple(lines),
        (
            f"agrees: the difference of the means is inside Student's {100 * CONFIDENCE:.0f} % interval of both errors "
            "together; one line in twenty differs by chance alone.",
            *budget(run for name in shared for run in mine[name].runs),
            *([BASES] if any(line[-1] == OTHER_BASE for line in lines) else []),
        ),
    )


if __name__ == "__main__":
    main()
