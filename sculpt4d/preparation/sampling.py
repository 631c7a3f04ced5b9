"""Points of the material: drawn on the rest pose, carried to a frame, put onto its closed surface (paper 3.2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Integer

from sculpt4d.geometry.projection import face_normals, project
from sculpt4d.geometry.sharp import sample_sharp
from sculpt4d.geometry.surface import SurfacePoints, carry, sample_surface
from sculpt4d.geometry.watertight import GRID_EXTENT
from sculpt4d.types import Mesh

SWALLOWED = 1.5  # cells between a carried point and its place on the closed surface: walls and rounding stay below it


class Drawn(NamedTuple):
    """Points drawn on the rest pose: uniform by area, and uniform by length along its sharp edges."""

    random: SurfacePoints
    sharp: SurfacePoints


class Placed(NamedTuple):
    """Drawn points in one frame: (position, unit normal) of both kinds, and which were `swallowed`.

    A swallowed point has no place of its own on the closed surface: it lies on an inner part, such as a tongue or the
    end of a limb within the body. Its row holds the nearest place all the same, so that rows keep their meaning.
    """

    random: Float32[np.ndarray, "n 6"]
    sharp: Float32[np.ndarray, "s 6"]
    random_swallowed: Bool[np.ndarray, " n"]
    sharp_swallowed: Bool[np.ndarray, " s"]


def draw(
    rest: Float32[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    points: int,
    sharp_points: int,
    sharp_degrees: float,
    rng: np.random.Generator,
) -> Drawn:
    """ValueError when the rest pose has no area; no sharp points at all when it has no sharp edge."""
    random = sample_surface(rest, faces, points, rng)
    return Drawn(random, sample_sharp(rest, faces, sharp_points, rng, sharp_degrees))


def place(drawn: Drawn, mesh: Mesh, closed: Mesh, projection: str, grid_res: int) -> Placed:
    """The points in the frame whose animated mesh is `mesh` and whose closed surface is `closed`.

    With projection="none" they stay on the animated mesh, with the normals of its faces, and none is swallowed.
    """
    carried = np.concatenate([carry(points, mesh.vertices[None], mesh.faces)[0] for points in drawn])
    if projection == "none":
        positions, swallowed = carried, np.zeros(len(carried), dtype=bool)
        faces = np.concatenate([points.face for points in drawn])
        normals = face_normals(mesh.vertices, mesh.faces)[faces].astype(np.float32)
    else:
        positions, normals = project(carried, closed, projection)
        swallowed = np.linalg.norm(positions - carried, axis=1) > SWALLOWED * 2 * GRID_EXTENT / grid_res
    split = [len(drawn.random.face)]
    random, sharp = np.split(np.concatenate([positions, normals], axis=1), split)
    return Placed(random, sharp, *np.split(swallowed, split))
