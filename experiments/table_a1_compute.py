"""The compute column of Table A1 (masks) for every option of conf/attention, beside the published one.

python -m experiments.table_a1_compute [--csv | --latex]     seconds, no GPU, no weights
"""

from collections.abc import Sequence

from experiments import table_a1_masks
from experiments.compute import CONF, FULL, TERA, config, evaluation, kept, tera
from experiments.report import Table, show
from sculpt4d.evaluation.published import COMPONENTS

PUBLISHED = {  # "PFLOPs" at 16 frames
    entry.variant: table_a1_masks.COMPARISON.published.rows[entry.label]["compute"]
    for entry in table_a1_masks.COMPARISON.entries
    if entry.label in table_a1_masks.COMPARISON.published.rows and entry.variant is not None
} | {"temporal_only": COMPONENTS.rows["Temporal attention"]["compute"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    show(__doc__, {"masks": masks}, arguments)


def masks() -> Table:
    """A row for every mask, the paper's first."""
    frames = config().model.frames
    names = [*PUBLISHED, *sorted({path.stem for path in CONF.glob("attention/*.yaml")} - set(PUBLISHED))]
    full, rows = evaluation(FULL, frames), []
    for name in names:
        one, paper = evaluation(name, frames), PUBLISHED.get(name)
        rows.append(
            (
                name,
                f"{100 * kept(name, frames):.2f}",
                tera(one.temporal_scores),
                tera(one.total),
                f"{100 * one.total / full.total:.1f}",
                *((f"{paper:.1f}", f"{paper - one.temporal_scores / TERA:.1f}") if paper else ("", "")),
            )
        )
    return Table(
        f"Table A1, compute: one evaluation of the denoiser on {frames} frames, without guidance, in TMAC (1e12 "
        "multiply-accumulates; 1 MAC = 2 FLOP). Columns headed paper are published, in the paper's unit",
        (
            *("mask", "kept pairs (%)", "temporal scores (TMAC)", "sum (TMAC)", "of full (%)"),
            *('paper: "PFLOPs"', "paper: less temporal scores"),
        ),
        tuple(rows),
        (
            "The paper's unit is TMAC too (see table_a2_compute), but less is left beside the temporal scores than the "
            "architecture has, and not the same in every row.",
        ),
    )


if __name__ == "__main__":
    main()
