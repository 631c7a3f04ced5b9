"""Proof that a mesh is a closed, oriented manifold, asked of manifold3d, a library that accepts nothing else."""

import manifold3d
import numpy as np

from sculpt4d.geometry.triangles import enclosed_volume
from sculpt4d.types import Mesh


def check_closed(mesh: Mesh) -> None:
    """Returns when every edge has two faces that walk it in opposite ways and the enclosed volume is positive.

    ValueError with manifold3d's status, or with the volume, when not; an empty mesh encloses nothing.
    """
    surface = manifold3d.Mesh(np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces, dtype=np.uint32))
    status = manifold3d.Manifold(surface).status()
    if status != manifold3d.Error.NoError:
        raise ValueError(f"the closed surface of {len(mesh.faces)} faces is no manifold: manifold3d says {status.name}")
    volume = enclosed_volume(mesh.vertices, mesh.faces)
    if volume <= 0:
        raise ValueError(
            f"the closed surface of {len(mesh.faces)} faces encloses a volume of {volume:.3g}: nothing of the frame is "
            "left at this grid_res, or it is turned inside out"
        )
