"""Watertight surface around any triangle soup: narrow-band distances, flood fill from outside, marching cubes."""

from typing import NamedTuple

import igl
import manifold3d
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer
from scipy import ndimage

from sculpt4d.geometry.band import grow, near_surface
from sculpt4d.geometry.marching import march
from sculpt4d.geometry.parts import Parts, split_parts
from sculpt4d.geometry.rays import winding_grid
from sculpt4d.geometry.triangles import enclosed_volume
from sculpt4d.types import Mesh


def check_closed(mesh: Mesh) -> None:
    """Check that every edge has two faces with opposite directions and that the enclosed volume is positive.

    Raises ValueError with manifold3d's status or the volume otherwise. An empty mesh encloses nothing.
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


GRID_EXTENT = 0.55  # the grid spans [-0.55, 0.55]^3 around the box [-0.5, 0.5]^3
SHELL = 0.6  # cells: half thickness of thickened open shells; above 0.5, so that the flood fill cannot pass through
THIN = 0.87  # cells: half thickness of parts with no node inside; above sqrt(3) / 2, so that a node lies inside
MARGIN = 4  # nodes around the mesh in the grid: the band, the thickened parts and free nodes beyond them


class Grid(NamedTuple):
    """Part of the grid around a mesh: position of the first node, nodes per axis, node spacing."""

    origin: Float[np.ndarray, "3"]
    shape: tuple[int, int, int]
    spacing: float

    def places(self, chosen: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "n 3"]:
        return np.stack(np.nonzero(chosen), axis=1) * self.spacing + self.origin

    def indices(self, places: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
        return (places - self.origin) / self.spacing


def watertight(mesh: Mesh, resolution: int) -> Mesh:
    """Closed, outward surface around `mesh`, which lies in [-0.5, 0.5]^3; `resolution` cells span [-0.55, 0.55].

    Closed parts keep their size: the interior is where their winding number is not zero. So overlapping parts become
    one solid without inner walls, and self-intersecting parts keep all they enclose. Open shells have no interior. They
    become walls of 2 * 0.6 cells (eps = 0.6 * 1.1 / resolution on either side). Parts thinner than a cell with no node
    inside (plates, ears, needles) are thickened locally to 2 * 0.87 cells. Regions that the flood fill from outside
    cannot reach are filled (unsigned distance and flood fill as in the paper's data processing). manifold3d checks the
    result. Raises ValueError if no face is usable or the mesh leaves the grid.
    """
    parts = split_parts(mesh.vertices, mesh.faces)
    reach = float(np.abs(parts.vertices).max())
    if reach > GRID_EXTENT:
        raise ValueError(f"vertices reach {reach:.3f}, the grid {GRID_EXTENT}: bring the mesh into the box with to_box")
    grid = grid_around(parts.vertices, resolution)
    values, lost = signed_band(parts, grid)
    thicken(values, lost, parts, grid)
    fill(values)
    closed = march(values, grid.origin, grid.spacing)
    check_closed(closed)
    return closed


def grid_around(vertices: Float[np.ndarray, "v 3"], resolution: int) -> Grid:
    """Nodes of the full grid within MARGIN of the vertices' bounds. All other nodes are outside and free."""
    spacing = 2 * GRID_EXTENT / resolution
    low, high = (((corner + GRID_EXTENT) / spacing) for corner in (vertices.min(axis=0), vertices.max(axis=0)))
    first = np.maximum(np.floor(low).astype(int) - MARGIN, 0)
    last = np.minimum(np.ceil(high).astype(int) + MARGIN, resolution)
    nx, ny, nz = (last - first + 1).tolist()
    return Grid(first * spacing - GRID_EXTENT, (nx, ny, nz), spacing)


def signed_band(parts: Parts, grid: Grid) -> tuple[Float32[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]]:
    """Signed distance in cells, and the nodes within THIN of the surface without an adjacent inner node.

    The distance is the larger of that to the solid (positive inside) and that to the shells' offset. Where the distance
    is not needed, the value is the band's width with the right sign. Without shells, the distance is needed only at the
    ends of edges that the surface cuts and at the nodes without an adjacent inner node.
    """
    reach = 2 if len(parts.shell) else 1
    solid, shell = (grid.indices(parts.vertices[faces]) for faces in (parts.solid, parts.shell))
    inside = winding_grid(solid, grid.shape) != 0
    band = near_surface(np.concatenate([solid, shell]), grid.shape, reach)
    if not len(parts.shell):
        beside = grow(inside, 1)
        band &= _ends_of_cuts(inside) | ~beside
    query = grid.places(band)
    to_solid, to_shell = (distances(query, parts.vertices, faces, grid) for faces in (parts.solid, parts.shell))
    values = np.where(inside, np.float32(reach), np.float32(-reach))
    values[band] = np.maximum(np.where(inside[band], to_solid, -to_solid), SHELL - to_shell)
    band[band] = np.minimum(to_solid, to_shell) < THIN
    if len(parts.shell):
        beside = grow(values > 0, 1)
    return values, band & ~beside


def _ends_of_cuts(inside: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Nodes with a face neighbour of the other sign."""
    ends = np.zeros_like(inside)
    for axis in range(3):
        nodes, found = np.moveaxis(inside, axis, 0), np.moveaxis(ends, axis, 0)
        cut = nodes[1:] != nodes[:-1]
        found[1:] |= cut
        found[:-1] |= cut
    return ends


def thicken(values: Float32[np.ndarray, "x y z"], lost: Bool[np.ndarray, "x y z"], parts: Parts, grid: Grid) -> None:
    """Raise values, in place, to THIN minus the distance wherever the surface has no positive node nearby.

    Such a position is a node of `lost`, within THIN of the surface, whose 27 neighbours are all not positive. The rule
    is applied to the nodes within two of it.
    """
    if not lost.any():
        return
    around = grow(lost, 2)
    wider = grow(around, 1)  # raised values are read together with their neighbours
    distance = distances(grid.places(wider), parts.vertices, np.concatenate([parts.solid, parts.shell]), grid)
    known = values[wider]
    if not len(parts.shell):
        known = np.where(known > 0, distance, -distance)  # for nodes whose distance was not computed before
    values[wider] = np.where(around[wider], np.maximum(known, THIN - distance), known)


def fill(values: Float32[np.ndarray, "x y z"]) -> None:
    """Flip the sign, in place, of negative nodes that the border does not reach through face neighbours."""
    free = np.pad(values < 0, 1, constant_values=True)
    label, count = ndimage.label(free)
    if count > 1:
        enclosed = (free & (label != label[0, 0, 0]))[1:-1, 1:-1, 1:-1]
        values[enclosed] *= -1


def distances(
    query: Float[np.ndarray, "n 3"], vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], grid: Grid
) -> Float[np.ndarray, " n"]:
    """Exact distance to the triangles, in cells; infinite if there are none."""
    if len(query) == 0 or len(faces) == 0:
        return np.full(len(query), np.inf)
    return np.sqrt(igl.point_mesh_squared_distance(query, vertices, faces)[0]) / grid.spacing
