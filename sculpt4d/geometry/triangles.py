"""Areas, normals and volumes of triangles; the only implementation of these formulas.

`corners` are (f, 3, 3): face, corner, coordinate; counter-clockwise seen from outside. Results keep their dtype.
"""

import numpy as np
from jaxtyping import Float, Integer


def face_crosses(corners: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, "f 3"]:
    """Normal of every face by the right-hand rule, with length twice the face's area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def face_volumes(corners: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, " f"]:
    """Signed volume of the tetrahedron of every face and the origin. The sum is the volume of a closed mesh."""
    return np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6


def face_areas(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, " f"]:
    """Area of every face in float64; 0 for faces with a vertex that is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        area = np.linalg.norm(face_crosses(vertices.astype(np.float64)[faces]), axis=1) / 2
    return np.where(np.isfinite(area), area, 0.0)


def face_normals(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    """Unit normals by the right-hand rule, float64; zero for faces without area."""
    normal = face_crosses(vertices.astype(np.float64)[faces])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)


def enclosed_volume(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> float:
    """Signed volume inside a closed mesh, float64; negative when the mesh is inside out."""
    return float(face_volumes(vertices.astype(np.float64)[faces]).sum())
