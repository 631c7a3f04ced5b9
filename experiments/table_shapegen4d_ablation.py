"""ShapeGen4D's ablation, published and measured; and whether its order holds here.

python train.py sweep=shapegen4d && python train.py sweep=components
python -m experiments.table_shapegen4d_ablation [SOURCE ...] [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.comparison import GEOMETRIC, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import SHAPEGEN4D_ABLATION

COMPARISON = Comparison(
    "ShapeGen4D's ablation",
    SHAPEGEN4D_ABLATION,
    GEOMETRIC | TEMPORAL,
    (
        Entry("w/o aligned latents", "unaligned_queries", "shapegen4d"),
        Entry("w/o shared noise", "independent_noise", "shapegen4d"),
        Entry("1D temp. attn.", "temporal_only", "components"),
        Entry("w/o image hidden states", "no_image_tokens", "shapegen4d"),
        Entry("w/o time shift", "no_time_shift", "shapegen4d"),
        Entry("Full method", "shapegen4d", "shapegen4d"),
    ),
    reference="Full method",
    notes=(
        "temporal_only is Sculpt4D's ablation of the same name: it differs from shapegen4d in image tokens and time "
        "shift as well.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
