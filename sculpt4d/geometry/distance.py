"""Signed distance to a closed mesh: positive inside."""

import igl
import numpy as np
from jaxtyping import Float

from sculpt4d.types import Mesh


def signed_distance(points: Float[np.ndarray, "n 3"], mesh: Mesh) -> Float[np.ndarray, " n"]:
    """Signed distance in the mesh's units, float32; positive where the winding number exceeds one half.

    Requires closed, outward meshes without inner walls, such as those of `watertight`.
    """
    if len(mesh.faces) == 0:
        raise ValueError("an empty mesh has no distance: skip the frame or raise the resolution of watertight")
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    query = np.ascontiguousarray(points, dtype=np.float64)
    distance = np.sqrt(igl.point_mesh_squared_distance(query, vertices, faces)[0])
    inside = igl.fast_winding_number(vertices, faces, query) > 0.5
    return np.where(inside, distance, -distance).astype(np.float32)
