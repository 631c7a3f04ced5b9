"""Carried points put onto the closed surface, with its normals."""

import igl
import numpy as np
from jaxtyping import Float, Integer

from sculpt4d.types import Mesh


def face_normals(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    """Unit normals by the right-hand rule, float64; zero for faces without area."""
    corner = vertices.astype(np.float64)[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)


def project(
    points: Float[np.ndarray, "n 3"],
    mesh: Mesh,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """The exact closest point of the mesh for every point, and the unit normal of the face it lies on; both float32."""
    if len(mesh.faces) == 0:
        raise ValueError("an empty mesh has no closest points: skip the frame or raise the resolution of watertight")
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    _, face, position = igl.point_mesh_squared_distance(np.ascontiguousarray(points, dtype=np.float64), vertices, faces)
    return position.astype(np.float32), face_normals(vertices, faces)[face].astype(np.float32)
