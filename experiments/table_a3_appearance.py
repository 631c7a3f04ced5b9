"""Table A3: appearance of rendered sequences and time of a clip, published and measured.

python evaluate.py predictions=DIR ground_truth=DIR metrics=appearance method=blockmask_decay
python -m experiments.table_a3_appearance SOURCE ... [--csv | --latex] [--wandb FOLDER]
"""

from collections.abc import Sequence

from experiments.compare import APPEARANCE_QUANTITIES, Comparison, Entry, generated
from experiments.present import present
from sculpt4d.evaluation.published import APPEARANCE

COMPARISON = Comparison(
    "Table A3, appearance and time",
    APPEARANCE,
    APPEARANCE_QUANTITIES | {"minutes": "minutes a clip ↓"},
    (
        generated("Hunyuan3D", "per_frame", " baseline=per_frame"),
        Entry("DreamMesh4D", "DreamMesh4D"),
        Entry("V2M4", "V2M4"),
        generated("Ours", "blockmask_decay"),
        generated("Ours-full", "full", " attention=full", trained=True),
    ),
    options="metrics=appearance",
    notes=(
        "Objects, views and networks of the published figures are not known; papers differ by a factor of two in the "
        "figures of one method. Measured time: of clips of generate.py, without loading networks.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    present(__doc__ or "", COMPARISON, arguments)


if __name__ == "__main__":
    main()
