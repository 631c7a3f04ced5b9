"""A closed surface around any triangle soup: distances in a narrow band, flood fill from outside, marching cubes."""

import igl
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from sculpt4d.geometry.band import near_surface
from sculpt4d.geometry.marching import march
from sculpt4d.geometry.parts import Parts, split_parts
from sculpt4d.geometry.rays import winding_grid
from sculpt4d.types import Mesh

GRID_EXTENT = 0.55  # the grid spans [-0.55, 0.55]^3 around the box [-0.5, 0.5]^3
SHELL = 0.6  # cells: half thickness given to open shells; above 0.5, so that the flood cannot step through one


def watertight(mesh: Mesh, resolution: int) -> Mesh:
    """One closed, outward surface around `mesh`, which lies in [-0.5, 0.5]^3; `resolution` cells span [-0.55, 0.55].

    Parts that are closed keep their size: inside is where their winding number exceeds one half, so overlapping parts
    become one solid without inner walls. Open shells have no inside; they become walls of 2 * 0.6 cells (eps = 0.6 *
    1.1 / resolution on either side). What the flood from outside cannot reach is filled (unsigned distance and flood
    fill as in the paper's data processing). Closed details thinner than a cell may be lost; when nothing else is left
    the closed parts are thickened like shells. ValueError when no face is usable or the mesh leaves the grid.
    """
    parts = split_parts(mesh.vertices, mesh.faces)
    reach = float(np.abs(parts.vertices).max())
    if reach > GRID_EXTENT:
        raise ValueError(f"vertices reach {reach:.3f}, the grid {GRID_EXTENT}: bring the mesh into the box with to_box")
    spacing = 2 * GRID_EXTENT / resolution
    values = _signed_band(parts, resolution, spacing)
    if not (values > 0).any():
        thin = Parts(parts.vertices, parts.solid[:0], np.concatenate([parts.solid, parts.shell]))
        values = _signed_band(thin, resolution, spacing)
    values = np.where(_outside(values < 0), -np.abs(values), np.abs(values))
    return march(values, -GRID_EXTENT, spacing)


def _signed_band(parts: Parts, resolution: int, spacing: float) -> Float[np.ndarray, "r r r"]:
    """Distance to the solid (positive inside) or to the shells' offset, the larger of both, in cells.

    Off the band it is the band's width, with the right sign: marching cubes never interpolates there.
    """
    reach = 2 if len(parts.shell) else 1
    solid, shell = ((parts.vertices[faces] + GRID_EXTENT) / spacing for faces in (parts.solid, parts.shell))
    inside = winding_grid(solid, resolution + 1) > 0
    band = near_surface(np.concatenate([solid, shell]), resolution + 1, reach)
    query = np.stack(np.nonzero(band), axis=1) * spacing - GRID_EXTENT
    value = np.full(len(query), -np.inf)
    if len(solid):
        distance = np.sqrt(igl.point_mesh_squared_distance(query, parts.vertices, parts.solid)[0]) / spacing
        value = np.where(inside[band], distance, -distance)
    if len(shell):
        distance = np.sqrt(igl.point_mesh_squared_distance(query, parts.vertices, parts.shell)[0]) / spacing
        value = np.maximum(value, SHELL - distance)
    values = np.where(inside, reach, -reach).astype(np.float32)
    values[band] = value
    return values


def _outside(free: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Free nodes that the border reaches through free face neighbours."""
    label, _ = ndimage.label(np.pad(free, 1, constant_values=True))
    return (label == label[0, 0, 0])[1:-1, 1:-1, 1:-1]
