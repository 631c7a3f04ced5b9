"""Rows of papers that stand beside ours, always marked as theirs: other data, and constants that are not all known."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Rows = Mapping[str, Mapping[str, float]]


class Published(NamedTuple):
    """A table of a paper. rows: as the paper names them, to quantity, to figure; only what the paper prints.

    objects, frames: what it was measured on; None where the paper does not say. decimals: with which the paper prints a
    quantity, `digits` where it is not named.
    """

    source: str
    objects: int | None
    frames: int | None
    rows: Rows
    digits: int = 4
    decimals: Mapping[str, int] = MappingProxyType({})


def _rows(quantities: str, figures: Mapping[str, tuple[float | None, ...]]) -> Rows:
    """Figures in the order of the named quantities; None: not in the paper."""
    names = quantities.split()
    return {
        row: {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for row, values in figures.items()
    }


class Shown(NamedTuple):
    """What a table of a protocol shows. columns: quantity to heading; note: whose rows, on how many objects."""

    columns: Mapping[str, str]
    note: str
    objects: int
    rows: Rows


# Sculpt4D, main results: 50 held-out Objaverse models, 16 frames, the full-size base. Not comparable with other data.
SCULPT4D: Rows = {
    "Hunyuan3D, per frame": {"chamfer": 0.1220, "iou": 0.3125, "fscore": 0.2820},
    "Hunyuan3D, shared noise": {"chamfer": 0.1231, "iou": 0.3176, "fscore": 0.2883},
    "V2M4": {"chamfer": 0.1268, "iou": 0.3071, "fscore": 0.2909},
    "L4GM": {"chamfer": 0.1655, "fscore": 0.2033},
    "GVFD": {"chamfer": 0.4235, "fscore": 0.0717},
    "Sculpt4D": {"chamfer": 0.1052, "iou": 0.3381, "fscore": 0.3137},
}
# ActionBench's own 128 clips: the papers of ActionMesh and Helix4D
ACTIONBENCH: Rows = {
    name: dict(zip(("cd_3d", "cd_4d", "cd_m"), values, strict=False))
    for name, values in {
        "DreamMesh4D": (0.104, 0.152, 0.265),
        "LIM": (0.089, 0.126, 0.243),
        "V2M4": (0.068, 0.340, 0.616),
        "ShapeGen4D": (0.056, 0.170, 0.348),
        "TripoSG, per frame": (0.056, 0.184),
        "SS4D": (0.105, 0.120),
        "Mesh4D": (0.096, 0.141),
        "Motion 3-to-4": (0.068, 0.114),
        "Helix4D": (0.051, 0.093),
        "ActionMesh, fast": (0.055, 0.088, 0.154),
        "ActionMesh": (0.053, 0.081, 0.148),
    }.items()
}
# "compute" is what the papers head PFLOPs; experiments/table_a2_compute.py says what it counts. Times are in minutes.
MAIN = Published("Sculpt4D, main table", 50, 16, SCULPT4D)
COMPONENTS = Published(
    "Sculpt4D, ablation",
    None,
    16,
    _rows(
        "chamfer iou fscore compute",
        {
            "w/o consistent sampling": (0.1128, 0.3375, 0.3380, 186.3),
            "w/o shared noise": (0.1051, 0.3396, 0.3342, 186.3),
            "w/o sharp edge sampling": (0.1005, 0.3408, 0.3369, 186.3),
            "w/o attention sink": (0.0986, 0.3442, 0.3375, 169.8),
            "Temporal attention": (0.2071, 0.1972, 0.1833, 60.2),
            "Fixed stride": (0.1124, 0.3298, 0.3306, 167.1),
            "Full attention": (0.0958, 0.3466, 0.3402, 425.7),
            "Ours": (0.0972, 0.3451, 0.3383, 186.3),
        },
    ),
    decimals={"compute": 1},
)
MASKS = Published(
    "Sculpt4D, Table A1",
    None,
    16,
    _rows(
        "chamfer iou fscore compute",
        {
            "A: w/o attention sink": (0.0986, 0.3442, 0.3375, 169.8),
            "B: Fixed stride": (0.1124, 0.3298, 0.3306, 167.1),
            "C: Aggressive decay": (0.0991, 0.3420, 0.3365, 145.0),
            "D: Conservative decay": (0.0968, 0.3454, 0.3388, 233.6),
            "E: Full attention": (0.0958, 0.3466, 0.3402, 425.7),
            "F: Ours": (0.0972, 0.3451, 0.3383, 186.3),
        },
    ),
    decimals={"compute": 1},
)
COMPUTE = Published(  # kept: percent of all pairs, with the decimals of the text below the table; ratio: percent
    "Sculpt4D, Table A2",
    None,
    None,
    _rows(
        "sparse full ratio kept",
        {"8": (84.5, 123.2, 68.6, 58.11), "16": (186.3, 425.7, 43.8, 35.23), "32": (425.0, 1584.9, 26.8, 21.50)},
    ),
    digits=1,
    decimals={"kept": 2},
)
APPEARANCE = Published(
    "Sculpt4D, Table A3",
    None,
    None,
    _rows(
        "lpips clip fvd minutes",
        {
            "Hunyuan3D": (0.131, 0.803, 1276.2, 24.0),
            "DreamMesh4D": (0.145, 0.835, 914.9, 45.0),
            "V2M4": (0.152, 0.827, 952.0, 45.0),
            "Ours": (0.098, 0.916, 483.1, 7.0),
            "Ours-full": (0.094, 0.919, 477.8, 16.0),
        },
    ),
    digits=3,
    decimals={"fvd": 1, "minutes": 0},
)
LENGTH = Published(  # trained at 16 frames
    "Sculpt4D, Table A4",
    None,
    None,
    _rows(
        "chamfer iou fscore",
        {
            "8 frames": (0.099, 0.338, 0.315),
            "16 frames": (0.102, 0.339, 0.315),
            "32 frames": (0.106, 0.334, 0.314),
            "64 frames": (0.114, 0.326, 0.310),
        },
    ),
    digits=3,
)
SHAPEGEN4D = Published(
    "ShapeGen4D, main table",
    33,
    16,
    _rows(
        "chamfer iou fscore minutes",
        {
            "Step1X-3D, per frame": (0.1356, 0.3033, 0.2617, 3.0),
            "L4GM": (0.1576, None, 0.1932, 25 / 60),
            "V2M4": (0.1233, 0.3023, 0.2814, 30.0),
            "GVFD": (0.3978, None, 0.0699, 10.0),
            "ShapeGen4D (Step1X-3D)": (0.1220, 0.3276, 0.2934, 3.0),
            "ShapeGen4D (Hunyuan3D-2.1)": (0.0827, 0.4155, 0.3971, 15.0),
        },
    ),
    decimals={"minutes": 1},
)
SHAPEGEN4D_RENDERING = Published(
    "ShapeGen4D, rendering table (Consistent4D)",
    None,
    None,
    _rows(
        "lpips clip fvd dreamsim",
        {
            "Step1X-3D": (0.1524, 0.9040, 940.0, 0.1106),
            "L4GM": (0.0988, 0.9397, 302.0, 0.0487),
            "GVFD": (0.1691, 0.8601, 916.0, 0.1467),
            "ShapeGen4D": (0.1359, 0.9009, 796.0, 0.0966),
        },
    ),
    decimals={"fvd": 0},
)
SHAPEGEN4D_ABLATION = Published(
    "ShapeGen4D, ablation",
    None,
    8,
    _rows(
        "chamfer iou fscore",
        {
            "w/o aligned latents": (0.1348, 0.3230, 0.3002),
            "w/o shared noise": (0.1186, 0.3137, 0.2962),
            "1D temp. attn.": (0.2118, 0.1503, 0.1462),
            "w/o image hidden states": (0.1196, 0.3332, 0.3084),
            "w/o time shift": (0.1374, 0.3087, 0.2861),
            "Full method": (0.1096, 0.3346, 0.3190),
        },
    ),
)

GEOMETRY = {
    "chamfer": "Chamfer ↓",
    "iou": "IoU ↑",
    "fscore": "F-score ↑",
    "volume_jitter_error": "volume jitter error ↓",
    "centroid_jitter_error": "centroid jitter error ↓",
    "area_jitter_error": "area jitter error ↓",
}
SHOWN = Shown(GEOMETRY, "paper, other data", 50, SCULPT4D)
SHOWN_ACTIONBENCH = Shown(
    {"cd_3d": "CD-3D ↓", "cd_4d": "CD-4D ↓", "cd_m": "CD-M ↓"}, "paper, ActionBench", 128, ACTIONBENCH
)
SHOWN_APPEARANCE = Shown(
    {"lpips": "LPIPS ↓", "clip": "CLIP ↑", "fvd": "FVD ↓", "dreamsim": "DreamSim ↓"}, "paper, other data", 0, {}
)


def shown(protocol: str | None) -> Shown:
    """Columns and published rows of a protocol; no paper publishes figures of `motion324` or `none` that are known."""
    if protocol == "actionbench":
        return SHOWN_ACTIONBENCH
    if protocol == "appearance":
        return SHOWN_APPEARANCE
    return SHOWN._replace(rows={}) if protocol in ("motion324", "none") else SHOWN
