"""Motions written as the methods of the field leave them: one cube that rises, in every layout."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from sculpt4d.generation.export import write_obj
from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.write import Node, Primitive, Scene, write_scene, write_sequence
from sculpt4d.types import Mesh

FRAMES = 11  # two digits: frame_10 comes after frame_2


def rising(count: int = FRAMES) -> list[Mesh]:
    """A cube that rises by a tenth a frame."""
    box = trimesh.creation.box((1.0, 1.0, 1.0))
    corners = [box.vertices + np.array([0.0, 0.1 * number, 0.0]) for number in range(count)]
    return [Mesh(np.asarray(points, np.float32), np.asarray(box.faces)) for points in corners]


def dense(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the mesh with every edge halved five times: its vertices alone say where it is."""
    fine = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    for _ in range(5):
        fine = fine.subdivide()
    return np.asarray(fine.vertices, np.float32), np.asarray(fine.faces)


def save(path: Path, mesh: Mesh) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)


def series(suffix: str, stem: str = "mesh_{}") -> Callable[[Path, list[Mesh]], None]:
    def write(folder: Path, frames: list[Mesh]) -> None:
        for number, mesh in enumerate(frames):
            save(folder / (stem.format(number) + suffix), mesh)

    return write


def surfaces(folder: Path, frames: list[Mesh]) -> None:
    folder.mkdir(parents=True)
    points = np.stack([mesh.vertices for mesh in frames])
    np.save(folder / "surfaces.npy", np.concatenate([points, np.zeros_like(points)], axis=-1))


def one_pair(folder: Path, frames: list[Mesh]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vertices.npy", np.stack([mesh.vertices for mesh in frames]))
    np.save(folder / "faces.npy", frames[0].faces)


def many_pairs(folder: Path, frames: list[Mesh]) -> None:
    folder.mkdir(parents=True)
    for number, mesh in enumerate(frames):
        np.save(folder / f"vertices_{number}.npy", mesh.vertices)
        np.save(folder / f"faces_{number}.npy", mesh.faces)


def generated(folder: Path, frames: list[Mesh]) -> None:
    folder.mkdir(parents=True)
    for number, mesh in enumerate(frames):
        write_obj(folder / f"frame_{number:04d}.obj", mesh, "test")
    write_sequence(folder / "animated.glb", frames, 12)
    (folder / "generation.json").write_text(json.dumps({"outputs": {"fps": 12}}))


def animation(folder: Path, frames: list[Mesh], name: str = "out.glb") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    times = np.arange(len(frames)) / 8
    heights = np.array([[0, mesh.vertices[:, 1].min() + 0.5, 0] for mesh in frames])
    node = Node("cube", primitives=(Primitive(frames[0]),))
    write_scene(folder / name, Scene((node,), (Track(0, "translation", times, heights, "LINEAR"),)))


def splats(folder: Path, frames: list[Mesh], form: str = "binary") -> None:
    folder.mkdir(parents=True)
    for number, mesh in enumerate(frames):
        names = ["x", "y", "z", "opacity", "scale_0", "rot_0"]
        rows = np.zeros((len(mesh.vertices) + 1, len(names)), np.float32)
        rows[:-1, :3], rows[-1, :3], rows[-1, 3] = mesh.vertices, 50.0, -100.0  # one far away and invisible
        kind = "ascii" if form == "ascii" else "binary_little_endian"
        head = ["ply", f"format {kind} 1.0", f"element vertex {len(rows)}", *(f"property float {n}" for n in names)]
        text = "\n".join([*head, "end_header", ""])
        data = (
            "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode() if form == "ascii" else rows.tobytes()
        )
        (folder / f"point_cloud_{number}.ply").write_bytes(text.encode() + data)


LAYOUTS: dict[str, Callable[[Path, list[Mesh]], None]] = {
    "obj": series(".obj"),
    "ply": series(".ply"),
    "glb": series(".glb"),
    "pair": one_pair,
    "pairs": many_pairs,
    "generated": generated,
    "animation": animation,
}
