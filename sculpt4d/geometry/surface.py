"""Material points: sampled once as (face, barycentric) and carried to any frame (paper 3.2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from sculpt4d.geometry.triangles import face_areas


class SurfacePoints(NamedTuple):
    """Points of the material, independent of the pose: `face` (n,) indices, `barycentric` (n, 3) that sum to 1."""

    face: Integer[np.ndarray, " n"]
    barycentric: Float[np.ndarray, "n 3"]


def sample_surface(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    count: int,
    rng: np.random.Generator,
) -> SurfacePoints:
    """Sample `count` points uniformly by area of the given pose. Raises ValueError if no face has an area."""
    cumulative = np.cumsum(face_areas(vertices, faces))
    if len(cumulative) == 0 or cumulative[-1] <= 0:
        raise ValueError(f"none of the {len(faces)} faces has an area: the mesh is degenerate or not finite")
    # `right` never picks a face without area; the last face with an area bounds the rounding of random() * total
    last = int(np.searchsorted(cumulative, cumulative[-1]))
    face = np.minimum(np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right"), last)
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    barycentric = np.stack([1 - root, root * (1 - along), root * along], axis=1)
    return SurfacePoints(face.astype(np.int64), barycentric.astype(np.float32))


def carry(
    points: SurfacePoints,
    vertices: Float[np.ndarray, "t v 3"],
    faces: Integer[np.ndarray, "f 3"],
) -> Float[np.ndarray, "t n 3"]:
    """Positions in every frame. Index k is the same material point in all frames."""
    corners = faces[points.face]
    position = vertices[:, corners[:, 0]] * points.barycentric[:, 0, None]
    for corner in (1, 2):
        position += vertices[:, corners[:, corner]] * points.barycentric[:, corner, None]
    return position.astype(np.float32, copy=False)
