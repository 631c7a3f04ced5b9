"""Table A4: weights trained at one length tested at others, published and measured.

python train.py sweep=length && python -m experiments.table_a4_length [SOURCE ...] [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import GEOMETRIC, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import LENGTH

COMPARISON = Comparison(
    "Table A4, length: one set of weights at half, once, twice and four times the frames of training",
    LENGTH,
    GEOMETRIC | TEMPORAL,
    (
        Entry("8 frames", "blockmask_decay_frames4", "length"),
        Entry("16 frames", "blockmask_decay_frames8", "length"),
        Entry("32 frames", "blockmask_decay_frames16", "length"),
        Entry("64 frames", "blockmask_decay_frames32", "length"),
    ),
    reference="16 frames",
    free=("frames", "data"),
    notes=(
        "The paper trains at 16 frames, the sweep at 8: method names the paper's length, here the run and its frames. "
        "The same motion is seen at more moments in a longer clip, so jitter is not comparable between lengths.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
