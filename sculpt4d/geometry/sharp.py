"""Points on sharp edges of the rest pose, detected by the dihedral angle."""

import numpy as np
from jaxtyping import Float, Integer

from sculpt4d.geometry.parts import edges_of, merge_vertices
from sculpt4d.geometry.surface import SurfacePoints
from sculpt4d.geometry.triangles import face_areas, face_normals


def sharp_edges(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    degrees: float = 30.0,
) -> tuple[Integer[np.ndarray, " e"], Integer[np.ndarray, " e"]]:
    """Face and corner at which each sharp edge starts; corner k is the edge from k to k + 1.

    An edge is sharp if the normals of its two faces differ by more than `degrees`. Vertices at one position are merged,
    so texture and shading seams do not count. Faces with opposite orientation are compared as if they agreed. Borders,
    edges of three or more faces and faces without area are excluded.
    """
    rows = np.flatnonzero(face_areas(vertices, faces) > 0)
    if len(rows) == 0:
        return rows, rows
    finite = np.where(np.isfinite(vertices).all(axis=1, keepdims=True), vertices, 0.0)
    edge, direction = edges_of(merge_vertices(finite)[faces[rows]])
    order = np.argsort(edge, kind="stable")
    count = np.bincount(edge)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])[count == 2]
    one, other = order[first], order[first + 1]
    normals = face_normals(vertices, faces[rows])
    cosine = np.einsum("ei,ei->e", normals[one // 3], normals[other // 3]) * -(direction[one] * direction[other])
    sharp = one[cosine < np.cos(np.radians(degrees))]
    return rows[sharp // 3], sharp % 3


def sample_sharp(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    count: int,
    rng: np.random.Generator,
    degrees: float = 30.0,
) -> SurfacePoints:
    """Sample `count` points uniformly by length on the sharp edges; empty (n = 0) if there is no sharp edge."""
    face, corner = sharp_edges(vertices, faces, degrees)
    start, end = faces[face, corner], faces[face, (corner + 1) % 3]
    cumulative = np.cumsum(np.linalg.norm((vertices[end] - vertices[start]).astype(np.float64), axis=1))
    if len(cumulative) == 0 or cumulative[-1] <= 0:
        return SurfacePoints(np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    edge = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right").clip(max=len(face) - 1)
    along = rng.random(count).astype(np.float32)
    barycentric = np.zeros((count, 3), np.float32)
    row = np.arange(count)
    barycentric[row, corner[edge]] = 1 - along
    barycentric[row, (corner[edge] + 1) % 3] = along
    return SurfacePoints(face[edge].astype(np.int64), barycentric)
