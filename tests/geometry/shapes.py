"""Small meshes with known sizes for the tests of geometry."""

import numpy as np
import trimesh

from sculpt4d.types import Mesh

SPHERE_RADIUS = 0.4
CUBE_SIDE = 0.6


def to_mesh(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(shape.vertices, dtype=np.float32), np.asarray(shape.faces, dtype=np.int32))


def sphere(radius: float = SPHERE_RADIUS, center: tuple[float, float, float] = (0, 0, 0), detail: int = 3) -> Mesh:
    return to_mesh(trimesh.creation.icosphere(detail, radius=radius).apply_translation(center))


def cube(side: float = CUBE_SIDE, center: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    return to_mesh(trimesh.creation.box((side,) * 3).apply_translation(center))


def join(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces).astype(np.int32))


def flip(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]))


def split_seams(mesh: Mesh) -> Mesh:
    """Every face with vertices of its own, as files with hard shading store them."""
    return Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3))


def volume(mesh: Mesh) -> float:
    corner = mesh.vertices[mesh.faces].astype(np.float64)
    return float(np.einsum("fi,fi->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) / 6)


def assert_closed(mesh: Mesh) -> None:
    """Every edge has two faces that walk it in opposite ways; no face is flat, doubled or inside out as a whole."""
    start, end = mesh.faces.reshape(-1).astype(np.int64), np.roll(mesh.faces, -1, axis=1).reshape(-1).astype(np.int64)
    forward, backward = start << 32 | end, end << 32 | start
    assert len(np.unique(forward)) == len(forward)
    assert np.array_equal(np.sort(forward), np.sort(backward))
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).area_faces.min() > 0
    assert len(np.unique(np.sort(mesh.faces, axis=1), axis=0)) == len(mesh.faces)
    assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int32
    assert volume(mesh) > 0
