"""The rows of other methods can be filled: each one's folder, as the method leaves it, is measured to the floor."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sculpt4d.evaluation.folders import measure_folders
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.jobs.executor import Serial
from sculpt4d.types import Mesh

RAW = Protocol(name="none", points=1500, resolution=16, box="none")
Write = Callable[[ModuleType, Path, list[Mesh]], None]


def actionmesh(written: ModuleType, folder: Path, frames: list[Mesh]) -> None:
    written.series(".glb", "mesh_{:03d}")(folder, frames)
    written.one_pair(folder, frames)
    written.animation(folder, frames, "animated_mesh.glb")


def v2m4(written: ModuleType, folder: Path, frames: list[Mesh]) -> None:
    written.series(".glb", "{:05d}_baseline_sample")(folder, frames[::-1])
    written.series(".glb", "{:05d}_texture_consistency_sample")(folder, frames[::-1])
    written.animation(folder, frames, "output_animation.glb")


METHODS: dict[str, tuple[Write, str | None]] = {
    "Sculpt4D": (lambda written, *where: written.series(".obj", "frame_{:04d}")(*where), None),
    "Hunyuan3D per frame": (lambda written, *where: written.series(".glb", "{}")(*where), None),
    "ActionMesh": (actionmesh, None),
    "V2M4": (v2m4, "output_animation.glb"),
    "DreamMesh4D": (lambda written, folder, frames: written.series(".obj", "{}")(folder / "meshes", frames), None),
    "L4GM": (lambda written, *where: written.splats(*where), None),
    "GVFD": (lambda written, *where: written.splats(*where, form="ascii"), None),
    "vertices and faces": (lambda written, *where: written.one_pair(*where), None),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("truth", ["meshes", "surfaces.npy"])
def test_a_methods_folder_is_measured_to_the_floor(
    method: str, truth: str, written: ModuleType, tmp_path: Path
) -> None:
    frames = [Mesh(*written.dense(mesh)) for mesh in written.rising(4)]
    write, pattern = METHODS[method]
    write(written, tmp_path / "method" / "uid", frames)
    (written.series(".ply") if truth == "meshes" else written.surfaces)(tmp_path / "truth" / "uid", frames)
    sides = tmp_path / "method", tmp_path / "truth"
    found = measure_folders(*sides, RAW, tmp_path / "out", {}, Serial(), pattern=pattern)
    assert not found.failed
    (entry,) = found.measured
    assert (entry.frames, entry.failed_frames) == (4, 0)
    assert entry.values["chamfer"] == pytest.approx(entry.floor["chamfer"], abs=0.05)
    clouds = method in ("L4GM", "GVFD") or truth == "surfaces.npy"
    assert ("encloses nothing" in entry.absent.get("iou", "")) == clouds
    assert clouds or entry.values["iou"] == 1
    assert np.isfinite(entry.values["identity_drift"])
