"""Check images against geometry: meshes and points projected with the stored cameras must match the masks.

Every image is compared with the bounds of the projected mesh. LOOKED images per frame are also compared with the
points. The views change from frame to frame, so that every view is checked.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy import ndimage, sparse, spatial

from sculpt4d.geometry.parts import merge_vertices
from sculpt4d.geometry.triangles import face_areas
from sculpt4d.preparation.verify.files import FrameFiles
from sculpt4d.preparation.verify.findings import AGAIN, Finding
from sculpt4d.render.cameras import Camera
from sculpt4d.render.compositing import bytes_on_white
from sculpt4d.types import Mesh

LOOKED = 3  # consecutive views per frame; the next frame takes the next three
INSIDE = 0.99  # minimum share of points in the mask: all four rays of a pixel may miss parts of the silhouette
PIXEL = 1.5  # pixels: half a pixel for the grid, one for the ray that hits or misses
MISSED = 0.05  # share of the image: thin needles between rays may leave the mask this much short of the mesh's bounds
UNCOVERED = 0.05  # share of the mask that may be farther from every projected point than the point spacing
EMPTY = 1e-3  # probability that a disc of the expected spacing contains no point if points were random
MARGIN = 2.0  # factor on the spacing of uniform points: carried points are sparser where the surface stretched
REMEDY = f"camera, picture and points of this view are not of one object and frame: {AGAIN}"


class Snapshot(NamedTuple):
    """An image on white with the checked points projected onto it: blue inside the mask, red outside."""

    frame: int
    view: int
    image: UInt8[np.ndarray, "h w 3"]


def views_of(frame: int, count: int) -> tuple[int, ...]:
    """Return the views of a frame whose points are checked."""
    return tuple(sorted({(LOOKED * frame + step) % count for step in range(LOOKED)})) if count else ()


def project(points: Float[np.ndarray, "n 3"], camera: Camera, size: int) -> Float[np.ndarray, "n 3"]:
    """Return column, row (0 and `size` are the image borders) and distance in front of the camera."""
    pose = camera.to_mesh()
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = np.maximum(-seen[:, 2], 1e-6)
    scale = size / 2 / math.tan(camera.field / 2)
    return np.stack([size / 2 + scale * seen[:, 0] / depth, size / 2 - scale * seen[:, 1] / depth, -seen[:, 2]], axis=1)


def check_masks(
    files: FrameFiles, points: Float32[np.ndarray, "k 3"] | None, slack: float, frame: int
) -> list[Finding]:
    """Check all images of a frame.

    points: the sampled points; None when unreadable. slack: allowed distance from the rendered mesh to the points in
    stored units.
    """
    found = []
    looked = views_of(frame, len(files.cameras))
    corners = None if files.mesh is None else files.mesh.vertices[np.unique(files.mesh.faces)]
    area = None if files.mesh is None else float(face_areas(files.mesh.vertices, files.mesh.faces).sum())
    for number, picture in files.pictures.items():
        if number >= len(files.cameras):
            continue
        camera, mask = files.cameras[number], picture[..., 3] > 0
        if corners is not None:
            fault = _bounds(mask, project(corners, camera, len(mask)))
            if fault and files.mesh is not None:  # a part too small to be visible may lie outside the rest
                seen, speck = _specks(files.mesh, camera, len(mask))
                fault = _bounds(mask, seen[~speck]) if speck.any() and not speck.all() else fault
            if fault:
                found.append(Finding("silhouette", f"view {number}: {fault}", REMEDY, (frame,)))
                continue
        if number in looked and points is not None:
            fault = _points(mask, project(points, camera, len(mask)), files.mesh, camera, slack, area)
            if fault:
                found.append(Finding("silhouette", f"view {number}: {fault}", REMEDY, (frame,)))
    return found


def _bounds(mask: Bool[np.ndarray, "s s"], corners: Float[np.ndarray, "v 3"]) -> str | None:
    """Return a fault if the mask's bounds are not those of the projected vertices."""
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    drawn = np.array([columns[0], rows[0], -columns[-1] - 1, -rows[-1] - 1], float)
    low, high = corners[:, :2].min(axis=0), corners[:, :2].max(axis=0)
    expected = np.concatenate([low, -high])
    border = np.array([0, 0, -len(mask), -len(mask)], float)
    outside = np.maximum(np.maximum(expected, border) - drawn, 0).max()
    short = (drawn - np.maximum(expected, border)).max()
    if outside > PIXEL:
        return f"the mask reaches {outside:.0f} pixels beyond the projected mesh"
    if short > PIXEL + MISSED * len(mask):
        return f"the mask ends {short:.0f} pixels short of the projected mesh"
    return None


def _points(
    mask: Bool[np.ndarray, "s s"],
    places: Float[np.ndarray, "k 3"],
    mesh: Mesh | None,
    camera: Camera,
    slack: float,
    area: float | None,
) -> str | None:
    """Return a fault if points lie outside the mask, or mask pixels lie far from all points."""
    size = len(mask)
    # pixels per unit at the nearest point, where they are largest
    per_unit = size / 2 / math.tan(camera.field / 2) / max(float(places[:, 2].min()), 1e-6)
    reach = PIXEL + slack * per_unit
    inside = float(_covered(mask, places, reach).mean())
    if inside < INSIDE:
        inside = float(_covered(mask, places, reach, _unseen(mesh, camera, size)).mean())
    if inside < INSIDE:
        return f"{1 - inside:.0%} of the points looked at fall outside the mask"
    if area is None:
        return None
    spacing = math.sqrt(area * -math.log(EMPTY) / (math.pi * len(places)))
    pixels = np.clip(places[:, :2], 0, size - 1).astype(np.int64)
    free = np.ones_like(mask)
    free[pixels[:, 1], pixels[:, 0]] = False
    lonely = float((ndimage.distance_transform_edt(free)[mask] > reach + MARGIN * spacing * per_unit).mean())
    if lonely > UNCOVERED:
        return f"{lonely:.0%} of the mask shows something where no point is"
    return None


def _specks(mesh: Mesh, camera: Camera, size: int) -> tuple[Float[np.ndarray, "v 3"], Bool[np.ndarray, " v"]]:
    """Return the projected vertices and a mask of those in a part at most one pixel wide, which all rays may miss.

    A limb scaled to zero is such a part.
    """
    used, faces = np.unique(mesh.faces, return_inverse=True)
    place = merge_vertices(mesh.vertices[used])
    ends = place[faces.reshape(-1, 3)][:, [0, 1, 1, 2]].reshape(-1, 2)
    count = int(place.max()) + 1
    links = sparse.coo_matrix((np.ones(len(ends), bool), ends.T), shape=(count, count))
    parts, part = sparse.csgraph.connected_components(links, directed=False)
    seen = project(mesh.vertices[used], camera, size)
    low, high = np.full((parts, 2), np.inf), np.full((parts, 2), -np.inf)
    np.minimum.at(low, part[place], seen[:, :2])
    np.maximum.at(high, part[place], seen[:, :2])
    return seen, ((high - low).max(axis=1) <= 1)[part[place]]


def _unseen(mesh: Mesh | None, camera: Camera, size: int) -> Float[np.ndarray, "m 2"]:
    """Return image positions of mesh parts that the mask need not show."""
    if mesh is None:
        return np.zeros((0, 2))
    seen, speck = _specks(mesh, camera, size)
    return seen[speck, :2]


def _covered(
    mask: Bool[np.ndarray, "s s"],
    places: Float[np.ndarray, "k 3"],
    reach: float,
    unseen: Float[np.ndarray, "m 2"] | None = None,
) -> Bool[np.ndarray, " k"]:
    """Return which points are in the image and within `reach` pixels of the mask, or of a part it need not show."""
    size = len(mask)
    within = ((places[:, :2] >= -reach) & (places[:, :2] <= size + reach)).all(axis=1) & (places[:, 2] > 0)
    pixels = np.clip(places[:, :2], 0, size - 1).astype(np.int64)
    near = ndimage.distance_transform_edt(~mask)[pixels[:, 1], pixels[:, 0]] <= reach
    if unseen is not None and len(unseen):
        near |= spatial.KDTree(unseen).query(places[:, :2])[0] <= reach
    return within & near


def snapshot(
    files: FrameFiles, points: Float32[np.ndarray, "k 3"] | None, slack: float, frame: int, view: int
) -> Snapshot:
    """Draw every projected point as a dot over the view; without points return the image alone."""
    picture = files.pictures[view]
    image = bytes_on_white(picture)
    if points is None or view >= len(files.cameras):
        return Snapshot(frame, view, image)
    size = len(picture)
    places = project(points, files.cameras[view], size)
    per_unit = size / 2 / math.tan(files.cameras[view].field / 2) / max(float(places[:, 2].min()), 1e-6)
    unseen = _unseen(files.mesh, files.cameras[view], size)
    good = _covered(picture[..., 3] > 0, places, PIXEL + slack * per_unit, unseen)
    pixels = np.clip(places[:, :2], 0, size - 1).astype(np.int64)
    for rows, color in ((good, (40, 110, 255)), (~good, (255, 30, 30))):
        image[pixels[rows, 1], pixels[rows, 0]] = color
    return Snapshot(frame, view, image)
