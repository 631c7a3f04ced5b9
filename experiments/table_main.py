"""The main comparison: methods on held-out objects, published and measured.

python train.py sweep=baselines && python train.py sweep=masks
python -m experiments.table_main [SOURCE ...] [--csv | --latex] [--wandb FOLDER]

Outputs of others have no common pose, so they are measured with protocol=sculpt4d, which aligns, and stand in one table
with clips of ours that were measured the same way (python generate.py, then predictions=... method=blockmask_decay).
"""

from collections.abc import Sequence

from experiments.compare import GEOMETRIC, TEMPORAL, Comparison, Entry
from experiments.present import present
from sculpt4d.evaluation.published import MAIN

COMPARISON = Comparison(
    "Main comparison",
    MAIN,
    GEOMETRIC | TEMPORAL,
    (
        Entry("Hunyuan3D, per frame", "per_frame", "baselines"),
        Entry("Hunyuan3D, shared noise", "per_frame_shared_noise", "baselines"),
        Entry("Hunyuan3D, official weights, per frame", "Hunyuan3D"),
        Entry("L4GM", "L4GM"),
        Entry("V2M4", "V2M4"),
        Entry("GVFD", "GVFD"),
        Entry("DreamMesh4D", "DreamMesh4D"),
        Entry("ActionMesh", "ActionMesh"),
        Entry("ShapeGen4D", "shapegen4d", "shapegen4d"),
        Entry("Sculpt4D, official weights", "Sculpt4D"),
        Entry("Sculpt4D", "blockmask_decay", "masks"),
    ),
    reference="Sculpt4D",
    notes=(
        "per_frame, per_frame_shared_noise: our base without temporal layers, each frame with its own noise or one.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
