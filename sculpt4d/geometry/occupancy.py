"""Solid occupancy on a grid of cells: what the IoU of two meshes compares."""

import igl
import numpy as np
from jaxtyping import Bool

from sculpt4d.geometry.parts import is_closed, usable
from sculpt4d.geometry.rays import winding_grid
from sculpt4d.geometry.surface import face_areas
from sculpt4d.types import Mesh


def occupancy(mesh: Mesh, resolution: int = 64, extent: float = 1.0) -> Bool[np.ndarray, "r r r"]:
    """Which centres of resolution^3 cells of [-extent, extent]^3 lie inside: winding number above one half.

    Overlapping parts count once. Closed meshes take exact counts along grid columns; meshes with holes take generalised
    winding numbers at every centre, which close a hole smoothly and cost some ten times more. A mesh that is inside out
    as a whole (negative volume) is turned. Nothing is inside an empty or wholly degenerate mesh.
    """
    empty = np.zeros((resolution,) * 3, dtype=bool)
    if not face_areas(mesh.vertices, mesh.faces).any():
        return empty
    vertices, _, faces = usable(mesh.vertices, mesh.faces)
    corner = vertices[faces]
    if np.einsum("fi,fi->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    spacing = 2 * extent / resolution
    first = -extent + spacing / 2
    if is_closed(faces):
        return winding_grid((vertices[faces] - first) / spacing, (resolution,) * 3) > 0
    axis = first + spacing * np.arange(resolution)
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return (igl.fast_winding_number(vertices, faces, centres) > 0.5).reshape(empty.shape)
