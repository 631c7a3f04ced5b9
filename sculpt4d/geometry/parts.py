"""What a triangle soup is made of: parts that enclose a volume, and open shells that do not."""

from typing import NamedTuple

import igl
import numpy as np
from jaxtyping import Float, Integer

from sculpt4d.geometry.triangles import face_areas, face_volumes

MERGE = 2**-20  # of the extent: nearer vertices are one (files split them at seams of texture and shading)
FLAT = 1e-6  # volume / area^1.5 below which a part encloses nothing, such as a sheet drawn from both sides


class Parts(NamedTuple):
    """One vertex array in float64, for libigl; `solid` faces of closed parts, outward; `shell` faces of all others."""

    vertices: Float[np.ndarray, "v 3"]
    solid: Integer[np.ndarray, "s 3"]
    shell: Integer[np.ndarray, "o 3"]


def merge_vertices(vertices: Float[np.ndarray, "v 3"]) -> Integer[np.ndarray, " v"]:
    """For every vertex the number of its place, 0 .. places - 1: equal positions, equal numbers."""
    low = vertices.min(axis=0)
    step = max(float((vertices.max(axis=0) - low).max()) * MERGE, np.finfo(np.float32).tiny)
    cell = np.rint((vertices - low) / step).astype(np.int64)
    return np.unique((cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2], return_inverse=True)[1].reshape(-1)


def edges_of(faces: Integer[np.ndarray, "f 3"]) -> tuple[Integer[np.ndarray, " e"], Integer[np.ndarray, " e"]]:
    """Undirected edge numbers of the corners (face by face, corner k to k + 1) and their direction, +1 or -1."""
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    edge = np.unique(low.astype(np.int64) * (int(faces.max(initial=0)) + 1) + high, return_inverse=True)[1]
    return edge.reshape(-1), np.where(start < end, 1, -1)


def is_closed(faces: Integer[np.ndarray, "f 3"]) -> bool:
    """Every edge is walked as often one way as the other: winding numbers are then whole numbers off the surface."""
    edge, direction = edges_of(faces)
    return len(faces) > 0 and not np.bincount(edge, weights=direction).any()


def usable(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Parts:
    """Finite faces over merged vertices, all as `shell`. ValueError when none of them has an area."""
    if not face_areas(vertices, faces).any():
        raise ValueError(f"no usable face: all {len(faces)} are degenerate or have vertices that are not finite")
    finite = np.isfinite(vertices).all(axis=1)
    faces = faces[finite[faces].all(axis=1)]
    used, faces = np.unique(faces, return_inverse=True)
    place = merge_vertices(vertices[used])
    merged = np.empty((place.max() + 1, 3))
    merged[place] = vertices[used]
    faces = place[faces.reshape(-1, 3)]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return Parts(merged, faces[:0], np.ascontiguousarray(faces[whole], dtype=np.int64))


def split_parts(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Parts:
    """Closed parts, turned outward, apart from open ones. Nested closed parts are one solid: cavities count as filled.

    A part is closed when every edge is used an even number of times and the faces can be turned to agree.
    """
    vertices, _, faces = usable(vertices, faces)
    part = igl.facet_components(faces)[1]
    edge, direction = edges_of(faces)
    if np.bincount(edge, weights=direction).any():
        odd = (np.bincount(edge) % 2 == 1)[edge].reshape(-1, 3).any(axis=1)
        even = ~np.bincount(part, weights=odd).astype(bool)[part]
        if even.any():
            faces[even] = igl.bfs_orient(np.ascontiguousarray(faces[even]))[0]
            edge, direction = edges_of(faces)
    unbalanced = np.bincount(edge, weights=direction).astype(bool)[edge].reshape(-1, 3).any(axis=1)
    volume = np.bincount(part, weights=face_volumes(vertices[faces]))
    area = np.bincount(part, weights=face_areas(vertices, faces))
    closed = (np.bincount(part, weights=unbalanced) == 0) & (np.abs(volume) > FLAT * area**1.5)
    faces = np.where((volume < 0)[part, None], faces[:, ::-1], faces)
    solid = closed[part]
    return Parts(vertices, np.ascontiguousarray(faces[solid]), np.ascontiguousarray(faces[~solid]))
