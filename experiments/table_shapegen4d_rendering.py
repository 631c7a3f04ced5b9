"""ShapeGen4D's comparison of rendered sequences, published and measured.

python evaluate.py predictions=DIR ground_truth=DIR metrics=appearance method=shapegen4d
python -m experiments.table_shapegen4d_rendering SOURCE ... [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import APPEARANCE_QUANTITIES, Comparison, Entry, generated
from experiments.present import present
from sculpt4d.evaluation.published import SHAPEGEN4D_RENDERING

COMPARISON = Comparison(
    "ShapeGen4D's comparison of rendered sequences",
    SHAPEGEN4D_RENDERING,
    APPEARANCE_QUANTITIES | {"dreamsim": "DreamSim ↓"},
    (
        Entry("Step1X-3D"),
        generated("base of ours, per frame", "per_frame", " baseline=per_frame"),
        Entry("L4GM", "L4GM"),
        Entry("GVFD", "GVFD"),
        generated("ShapeGen4D", "shapegen4d", " attention=shapegen4d sampler=euler_shifted", trained=True),
        generated("Sculpt4D", "blockmask_decay"),
    ),
    options="metrics=appearance",
    notes=(
        "Published on Consistent4D; L4GM's figures gain from its alignment with the input view, as the paper notes.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
