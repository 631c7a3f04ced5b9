"""A mesh of millions of faces made smaller for a coarse grid, without opening it."""

import numpy as np

from sculpt4d.types import Mesh

START = 1024  # cells along the longest side of the mesh's box


def coarsen(mesh: Mesh, faces: int) -> Mesh:
    """Vertices of one grid cell become their mean; the grid is halved until at most `faces` faces are left.

    Faces that collapse vanish. An edge walked once each way stays so, hence a closed mesh stays closed and its winding
    numbers stay whole. No vertex moves further than a cell's diagonal.
    """
    cells = START
    while len(mesh.faces) > faces and cells >= 2:
        mesh, cells = _clustered(mesh, cells), cells // 2
    return mesh


def _clustered(mesh: Mesh, cells: int) -> Mesh:
    low = mesh.vertices.min(axis=0).astype(np.float64)
    extent = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-30)
    place = np.minimum(((mesh.vertices - low) / extent * cells).astype(np.int64), cells - 1)
    row = np.unique((place[:, 0] * cells + place[:, 1]) * cells + place[:, 2], return_inverse=True)[1].reshape(-1)
    counts = np.bincount(row)
    means = np.stack([np.bincount(row, mesh.vertices[:, axis]) / counts for axis in range(3)], axis=1)
    faces = row[mesh.faces]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return Mesh(means.astype(np.float32), faces[whole])
