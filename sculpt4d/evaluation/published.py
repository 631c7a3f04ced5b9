"""Rows of papers that stand beside ours, always marked as theirs: other data, and constants that are not all known."""

from collections.abc import Mapping
from typing import NamedTuple

Rows = Mapping[str, Mapping[str, float]]


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
GEOMETRY = {
    "chamfer": "Chamfer ↓",
    "iou": "IoU ↑",
    "fscore": "F-score ↑",
    "volume_jitter_error": "volume jitter ↓",
    "centroid_jitter_error": "centroid jitter ↓",
    "area_jitter_error": "area jitter ↓",
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
