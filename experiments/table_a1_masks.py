"""Table A1: the masks of temporal attention, published and measured; and whether the paper's order holds here.

python train.py sweep=masks && python -m experiments.table_a1_masks [SOURCE ...] [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import COMPUTE, GEOMETRIC, LOSS, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import MASKS

COMPARISON = Comparison(
    "Table A1, masks of temporal attention",
    MASKS,
    GEOMETRIC | TEMPORAL | LOSS | COMPUTE,
    (
        Entry("A: w/o attention sink", "no_anchor", "masks"),
        Entry("B: Fixed stride", "fixed_stride", "masks"),
        Entry("C: Aggressive decay", "aggressive", "masks"),
        Entry("D: Conservative decay", "conservative", "masks"),
        Entry("E: Full attention", "full", "masks"),
        Entry("F: Ours", "blockmask_decay", "masks"),
        Entry("stride by motion", "motion_adaptive", "adaptive"),
        Entry("strides fitted to attention", "learned", "adaptive"),
    ),
    reference="F: Ours",
    notes=(
        "compute: one evaluation of the denoiser on a clip, counted; the paper's figures are headed PFLOPs there "
        "(python -m experiments.table_a2_compute says what they count). The last two rows are in no paper.",
        "held-out loss: rectified flow loss of clips that were not trained on, at the end of training, over evenly "
        "spread times, with the same noise in every row of a seed.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
