"""Bounds and area of every given file equal Blender's own evaluation, at five times of every clip.

Blender reads quaternion keys as four curves: between keys it interpolates rotations linearly (LINEAR) or by Bezier
curves (CUBICSPLINE), where glTF asks for slerp and for its own spline. So times lie on keys where rotations move.
"""

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sculpt4d.gltf.__main__ import describe
from sculpt4d.gltf.clips import Clip, clips, tracks_of
from sculpt4d.gltf.document import GltfFile
from sculpt4d.gltf.pose import read_model

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated_glb"
SCRIPT = Path(__file__).with_name("blender_bounds.py")
BLENDER = os.environ.get("SCULPT4D_BLENDER", "")
TOLERANCE = 1e-4  # of the object's size


def single(path: Path, clip: Clip | None, folder: Path) -> Path:
    """A copy of a file, with its buffers, that has one animation alone: what Blender plays first."""
    folder.mkdir()
    if path.suffix == ".gltf":
        for beside in path.parent.iterdir():
            if beside.is_file():
                shutil.copyfile(beside, folder / beside.name)
    file = GltfFile(path)
    document = dict(file.json)
    if clip is not None:
        document["animations"] = [document["animations"][clip.animations[0]]]
    text = json.dumps(document).encode()
    if path.suffix == ".glb":
        text += b" " * (-len(text) % 4)
        binary = bytes(file.binary)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
        text = struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
    (folder / path.name).write_bytes(text)
    return folder / path.name


def moments(path: Path, clip: Clip | None) -> list[float]:
    """Five times of a clip: keys where rotations turn, anything elsewhere."""
    if clip is None:
        return [0.0]
    tracks = tracks_of(read_model(path), clip)
    times = clip.start + (clip.end - clip.start) * np.array([0.0, 0.23, 0.5, 0.77, 1.0])
    turning = [track.times for track in tracks.values() if track.path == "rotation" and track.interpolation != "STEP"]
    if turning:
        keys = np.concatenate(turning)
        times = np.array([keys[np.abs(keys - time).argmin()] for time in times])
    return times.tolist()


@pytest.mark.blender
@pytest.mark.slow
@pytest.mark.skipif(not BLENDER, reason="SCULPT4D_BLENDER names no Python with bpy, and no Blender")
@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared files beside the checkout")
def test_bounds_and_area_equal_blenders_on_every_clip_of_every_given_file(tmp_path: Path) -> None:
    cases: list[tuple[Path, Clip | None, list[float]]] = []
    requests: list[dict[str, Any]] = []
    for path in sorted([*SHARED.rglob("*.glb"), *SHARED.rglob("*.gltf")]):
        found = [clip for clip in clips(GltfFile(path)) if len(clip.animations) == 1]
        for clip in found or [None]:
            times = moments(path, clip)
            copy = single(path, clip, tmp_path / str(len(cases)))
            cases.append((path, clip, times))
            requests.append({"path": str(copy), "times": times})
    assert len(cases) >= 20
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    arguments = [str(SCRIPT), "--", str(tmp_path / "requests.json"), str(tmp_path / "results.json")]
    whole = [] if "python" in Path(BLENDER).name else ["--background", "--python"]
    subprocess.run([BLENDER, *whole, *arguments], check=True, capture_output=True, timeout=300)
    results = json.loads((tmp_path / "results.json").read_text())
    for (path, clip, times), blender in zip(cases, results, strict=True):
        ours = describe(path, None if clip is None else clip.animations[0], times)["frames"]
        size = max(np.linalg.norm(np.subtract(frame["hi"], frame["lo"])) for frame in ours)
        for one, other in zip(ours, blender, strict=True):
            where = f"{path.name}, {clip and clip.label}, {one['time']} s"
            for key in ("lo", "hi"):
                np.testing.assert_allclose(one[key], other[key], rtol=0, atol=TOLERANCE * size, err_msg=where)
            assert one["area"] == pytest.approx(other["area"], rel=TOLERANCE), where
