"""ShapeGen4D's main comparison, published and measured.

python train.py sweep=shapegen4d && python train.py sweep=baselines
python -m experiments.table_shapegen4d [SOURCE ...] [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import GEOMETRIC, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import SHAPEGEN4D

COMPARISON = Comparison(
    "ShapeGen4D's main comparison",
    SHAPEGEN4D,
    GEOMETRIC | TEMPORAL | {"minutes": "minutes a clip ↓"},
    (
        Entry("Step1X-3D, per frame"),
        Entry("base of ours, per frame", "per_frame", "baselines"),
        Entry("L4GM", "L4GM"),
        Entry("V2M4", "V2M4"),
        Entry("GVFD", "GVFD"),
        Entry("ShapeGen4D (Step1X-3D)"),
        Entry("ShapeGen4D (Hunyuan3D-2.1)", "shapegen4d", "shapegen4d"),
        Entry("Sculpt4D", "blockmask_decay", "masks"),
    ),
    notes=(
        "here, shapegen4d is ShapeGen4D's temporal layer over our tiny base, not its weights.",
        "minutes a clip: of outputs that predictions= measured, from what generate.py leaves; sweeps time no clips, as "
        "several runs share a machine.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
