"""Split a triangle soup into closed parts, which enclose a volume, and open shells, which do not."""

from typing import NamedTuple

import igl
import numpy as np
from jaxtyping import Float, Integer

from sculpt4d.geometry.triangles import face_areas, face_volumes

MERGE = 2**-20  # fraction of the extent below which vertices are merged (files split them at texture and shading seams)
FLAT = 1e-6  # volume / area^1.5 below which a part encloses nothing, such as a double-sided sheet


class Parts(NamedTuple):
    """Vertices in float64, for libigl; `solid`: faces of closed parts, outward; `shell`: all other faces."""

    vertices: Float[np.ndarray, "v 3"]
    solid: Integer[np.ndarray, "s 3"]
    shell: Integer[np.ndarray, "o 3"]


def merge_vertices(vertices: Float[np.ndarray, "v 3"]) -> Integer[np.ndarray, " v"]:
    """Index of the merged position of every vertex, from 0. Equal positions have equal indices."""
    low = vertices.min(axis=0)
    step = max(float((vertices.max(axis=0) - low).max()) * MERGE, np.finfo(np.float32).tiny)
    cell = np.rint((vertices - low) / step).astype(np.int64)
    return np.unique((cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2], return_inverse=True)[1].reshape(-1)


def edges_of(faces: Integer[np.ndarray, "f 3"]) -> tuple[Integer[np.ndarray, " e"], Integer[np.ndarray, " e"]]:
    """Undirected edge index of every corner (face by face, corner k to k + 1) and its direction, +1 or -1."""
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    edge = np.unique(low.astype(np.int64) * (int(faces.max(initial=0)) + 1) + high, return_inverse=True)[1]
    return edge.reshape(-1), np.where(start < end, 1, -1)


def is_closed(faces: Integer[np.ndarray, "f 3"]) -> bool:
    """Whether every edge is used equally often both ways. Winding numbers off the surface are then integers."""
    edge, direction = edges_of(faces)
    return len(faces) > 0 and not np.bincount(edge, weights=direction).any()


def usable(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Parts:
    """Merge vertices and drop faces that are not finite or have two equal vertices; all faces are `shell`.

    Raises ValueError if no face has an area.
    """
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
    """Separate closed parts, turned outward, from open ones. Nested closed parts form one solid: cavities are filled.

    A part is closed if every edge is used an even number of times and the faces can be oriented consistently.
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
