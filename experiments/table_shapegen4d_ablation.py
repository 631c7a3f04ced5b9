"""ShapeGen4D's ablation, published and measured; and whether its order holds here.

python train.py sweep=shapegen4d
python -m experiments.table_shapegen4d_ablation [SOURCE ...] [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import GEOMETRIC, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import SHAPEGEN4D_ABLATION

COMPARISON = Comparison(
    "ShapeGen4D's ablation",
    SHAPEGEN4D_ABLATION,
    GEOMETRIC | TEMPORAL,
    (
        Entry("w/o aligned latents", "unaligned_queries", "shapegen4d"),
        Entry("w/o shared noise", "independent_noise", "shapegen4d"),
        Entry("1D temp. attn.", "temporal_only", "shapegen4d"),
        Entry("w/o image hidden states", "no_image_tokens", "shapegen4d"),
        Entry("w/o time shift", "no_time_shift", "shapegen4d"),
        Entry("Full method", "shapegen4d", "shapegen4d"),
    ),
    reference="Full method",
    notes=(
        "temporal_only: latent k sees latent k of every frame, and no image tokens either. It is sampled with the time "
        "shift, as shapegen4d is; the variant of this name in sweep=components is sampled without.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
