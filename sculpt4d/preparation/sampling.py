"""Surface points: sampled on the rest pose, carried to a frame, projected onto its closed mesh (paper, section 3.2)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Integer

from sculpt4d.geometry.projection import project
from sculpt4d.geometry.sharp import sample_sharp
from sculpt4d.geometry.surface import SurfacePoints, carry, sample_surface
from sculpt4d.geometry.triangles import face_normals
from sculpt4d.geometry.watertight import GRID_EXTENT
from sculpt4d.types import Mesh

SWALLOWED = 1.5  # grid cells between a carried point and its projection; walls and rounding stay below this


class SurfaceSamples(NamedTuple):
    """Points sampled on the rest pose: uniform by area, and uniform by length along its sharp edges."""

    random: SurfacePoints
    sharp: SurfacePoints


class ProjectedSamples(NamedTuple):
    """Surface samples in one frame: (position, unit normal) of both kinds, and masks of interior points (`swallowed`).

    An interior point has no surface of its own on the closed mesh. It lies on an inner part, such as a tongue or the
    end of a limb inside the body. It still stores the nearest point of the closed mesh, so that indices keep their
    meaning.
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
) -> SurfaceSamples:
    """Sample points on the rest pose.

    Raises ValueError when the rest pose has no area. Returns no sharp points when it has no sharp edge.
    """
    random = sample_surface(rest, faces, points, rng)
    return SurfaceSamples(random, sample_sharp(rest, faces, sharp_points, rng, sharp_degrees))


def place(drawn: SurfaceSamples, mesh: Mesh, closed: Mesh, projection: str, grid_res: int) -> ProjectedSamples:
    """Move the samples to a frame with animated mesh `mesh` and closed mesh `closed`.

    With projection="none" points stay on the animated mesh with its face normals, and none is interior.
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
    return ProjectedSamples(random, sharp, *np.split(swallowed, split))
