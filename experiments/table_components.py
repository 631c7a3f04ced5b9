"""The paper's ablation of its components, published and measured; and whether the paper's order holds here.

python train.py sweep=components && python train.py sweep=masks
python -m experiments.table_components [SOURCE ...] [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import COMPUTE, GEOMETRIC, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import COMPONENTS

COMPARISON = Comparison(
    "Ablation of components",
    COMPONENTS,
    GEOMETRIC | TEMPORAL | COMPUTE,
    (
        Entry("w/o consistent sampling", "without_consistent_sampling", "components"),
        Entry("w/o shared noise", "without_shared_noise", "components"),
        Entry("w/o sharp edge sampling", "without_sharp_edges", "components"),
        Entry("w/o attention sink", "no_anchor", "masks"),
        Entry("Temporal attention", "temporal_only", "components"),
        Entry("Fixed stride", "fixed_stride", "masks"),
        Entry("Full attention", "full", "masks"),
        Entry("Ours", "blockmask_decay", "masks"),
    ),
    reference="Ours",
    notes=("compute: one evaluation of the denoiser on a clip, counted; the paper's figures are headed PFLOPs there.",),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
