"""Check points, normals, closed meshes and signed distances of one frame.

Points must lie in the box and on the surface, and normals must have unit length and point outwards. All points are
checked for position and normal length; SAMPLE random points are checked against the surface.
"""

import math
from typing import Literal, NamedTuple

import igl
import numpy as np
from jaxtyping import Float, Float32, Integer

from sculpt4d.geometry.bounds import HALF_EXTENT
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.triangles import enclosed_volume, face_normals
from sculpt4d.geometry.watertight import GRID_EXTENT
from sculpt4d.preparation.verify.files import FrameFiles
from sculpt4d.preparation.verify.findings import AGAIN, Finding
from sculpt4d.preparation.verify.layout import ObjectLayout, setting
from sculpt4d.types import Mesh

SAMPLE = 4096  # points per section: a fault in 0.2 percent of the points is missed once in 3600 frames (e^-8.2)
ROUNDING = math.sqrt(3) * 2**-12 + 1e-5  # float16 between 0.5 and 1 is off by up to 2^-12 per axis; float32 by far less
RELEASE_SHELL = 3 / 256  # measured distance of the releases' closed surfaces from the mesh: 2 cells of their grid
RELEASE_SHARE = 0.99  # share of points within that distance: the releases do not store the surface that points lie on
UNIT = 1e-3  # length error: three components below 1, each off by up to 2^-12, give 4.2e-4; as much again for the rest
INWARD = 0.1  # share of normals that may point inwards: rounded points at edges of thin parts
BACK = -0.1  # cosine below which a normal points inwards
STEP = 0.02  # stored units along a normal within which inside and outside of an open mesh must differ
CENTERED = 1e-3  # the clip's box is exact except for float32 rounding of file units far from the origin
SIGN = 2e-3  # query points closer to the surface may be rounded to the other side


class Slack(NamedTuple):
    """Tolerances that follow from the preparation.

    surface: distance of points from the surface `on`. on: the stored closed meshes; the animated mesh for unprojected
    points and those of others. exact: no point may be farther away. cell: distance of closed meshes from mesh and box.
    """

    surface: float
    cell: float
    on: Literal["closed", "mesh"]
    exact: bool


def slack_of(layout: ObjectLayout) -> Slack:
    """Return the tolerances. Our points lie on the stored closed mesh, which is at most one grid cell from the mesh."""
    if not layout.own_points:
        return Slack(RELEASE_SHELL + ROUNDING, RELEASE_SHELL, "mesh", False)
    cell = 2 * GRID_EXTENT / (setting(layout.record, "grid_res") or 256)
    loose = layout.record["settings"].get("projection") == "none"
    return Slack(ROUNDING, cell, "mesh" if loose else "closed", True)


def sample_rows(count: int) -> Integer[np.ndarray, " k"]:
    """Return the indices of the points checked against the surface; the same in every frame."""
    return np.sort(np.random.default_rng(0).permutation(count)[:SAMPLE])


def check_points(files: FrameFiles, slack: Slack, frame: int) -> list[Finding]:
    """Apply all checks to one frame's points and meshes. Normals are checked only if the points are in place."""
    found = []
    sections = {"uniform": files.random, "sharp-edge": files.sharp}
    taken = {name: rows[sample_rows(len(rows))] for name, rows in sections.items() if rows is not None and len(rows)}
    surface = files.closed if slack.on == "closed" else files.mesh
    if taken and surface is not None:
        found += _off_surface(np.concatenate(list(taken.values())), surface, slack, frame)
    for name, rows in sections.items():
        if rows is None or len(rows) == 0:
            continue
        # the base release averages the normals of both faces at an edge without normalising
        if slack.exact or name == "uniform":
            found += _unit(rows, name, frame)
        reach = float(np.abs(rows[:, :3]).max())
        if reach > 0.5 + slack.cell + ROUNDING and not any(fault.check == "box" for fault in found):
            what = f"{name} points reach {reach:.3f}, the box ends at 0.5 and its surface at {0.5 + slack.cell:.3f}"
            found.append(Finding("box", what, "bring the object into [-0.5, 0.5]^3 and prepare it again", (frame,)))
    # points left on the animated mesh have its face normals, which may point either way
    loose = slack.exact and slack.on == "mesh"
    if surface is not None and not loose and not any(fault.check in ("box", "surface") for fault in found):
        for name, rows in taken.items():
            inward = _inward_closed(rows, surface) if slack.on == "closed" else _inward_open(rows, surface)
            if inward > INWARD:
                what = f"{inward:.0%} of the normals of {name} points look into the object"
                found.append(Finding("normals", what, f"turn them round, or {AGAIN}", (frame,)))
    if files.closed is not None:
        found += _watertight(files.closed, frame)
        if files.labels is not None:
            found += _labels(files.labels, files.closed, frame)
    return found


def check_center(meshes: list[Mesh]) -> list[Finding]:
    """Check the clip's common box: centre at 0, longest side 0.98. Only for our own objects."""
    low = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0)
    high = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0)
    off, side = float(np.abs((low + high) / 2).max()), float((high - low).max())
    if off <= CENTERED and abs(side - 2 * HALF_EXTENT) <= 2 * CENTERED:
        return []
    what = f"the box of all frames is {off:.3f} off the origin and {side:.3f} long, expected 0 and {2 * HALF_EXTENT}"
    return [Finding("box", what, AGAIN)]


def _distances(points: Float32[np.ndarray, "n 3"], mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distance, face index and position of the closest points on the mesh."""
    square, face, place = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points, np.float64), mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    )
    return np.sqrt(square), face, place


def _unit(rows: Float32[np.ndarray, "n 6"], name: str, frame: int) -> list[Finding]:
    length = np.linalg.norm(rows[:, 3:], axis=1)
    wrong = int((np.abs(length - 1) > UNIT).sum())
    if wrong == 0:
        return []
    what = f"{wrong} of {len(rows)} normals of {name} points measure {length.min():.3f} to {length.max():.3f}, not 1"
    return [Finding("normals", what, AGAIN, (frame,))]


def _off_surface(rows: Float32[np.ndarray, "n 6"], mesh: Mesh, slack: Slack, frame: int) -> list[Finding]:
    """Report points off the surface, with the scale and shift that would correct them if there is one."""
    distance = _distances(rows[:, :3], mesh)[0]
    off = distance > slack.surface
    if off.mean() <= (0.0 if slack.exact else 1 - RELEASE_SHARE):
        return []
    what = (
        f"{off.sum()} of {len(rows)} points looked at lie off the surface, up to {distance.max():.4f} where "
        f"{slack.surface:.4f} is rounding"
    )
    low, corner = rows[:, :3].min(axis=0), mesh.vertices[np.unique(mesh.faces)].min(axis=0)
    scale, shift = _repair(rows[:, :3].astype(np.float64), mesh)
    moved = _distances((rows[:, :3] * scale + shift).astype(np.float32), mesh)[0]
    if off.mean() < 0.5 or (moved > 2 * slack.surface).mean() > 0.1:
        return [Finding("surface", what, AGAIN, (frame,))]
    near = 2 * RELEASE_SHELL
    at_corner = np.abs(low).max() < near and np.abs(shift - corner).max() < near
    if abs(scale - 1) < 0.03 and at_corner and np.abs(corner).max() > near:
        what = "points are normalised to [0, 1] from the minimum corner of the object's box while mesh.ply is centred"
        remedy = f"add ({_spell(corner)}), the minimum corner of mesh.ply, to the stored positions"
    else:
        what = f"{what}; they fit as {scale:.3f} * stored + ({_spell(shift)})"
        remedy = f"apply that to the stored positions, or {AGAIN}"
    return [Finding("box", what, remedy, (frame,))]


def _spell(place: Float[np.ndarray, "3"]) -> str:
    return ", ".join(f"{value:.3f}" for value in place)


def _repair(points: Float[np.ndarray, "n 3"], mesh: Mesh) -> tuple[float, Float[np.ndarray, "3"]]:
    """Return scale and shift that align points with the mesh: matched bounds, refined by closest points."""
    points = points[:: max(1, len(points) // 1024)]
    used = mesh.vertices[mesh.faces.reshape(-1)]
    size, target = np.ptp(points, axis=0), np.ptp(used, axis=0)
    scale = float(target.max() / max(size.max(), 1e-9))
    shift = (used.min(axis=0) + used.max(axis=0)) / 2 - scale * (points.min(axis=0) + points.max(axis=0)) / 2
    for _ in range(20):
        place = _distances((points * scale + shift).astype(np.float32), mesh)[2]
        middle, goal = points.mean(axis=0), place.mean(axis=0)
        spread = ((points - middle) ** 2).sum()
        scale = float(((points - middle) * (place - goal)).sum() / max(spread, 1e-12))
        shift = goal - scale * middle
    return scale, shift


def _inward_closed(rows: Float32[np.ndarray, "n 6"], closed: Mesh) -> float:
    """Return the share of normals that point inwards on a closed mesh.

    A normal must oppose the closest face and also point into the object. At ridges or clefts thinner than the rounding
    of positions, the closest face may be the opposite one.
    """
    face = _distances(rows[:, :3], closed)[1]
    against = rows[(face_normals(closed.vertices, closed.faces[face]) * rows[:, 3:]).sum(axis=1) < BACK]
    inner, outer = _winding_beside(against, closed)
    return float((outer - inner > 0.5).sum() / len(rows))


def _inward_open(rows: Float32[np.ndarray, "n 6"], mesh: Mesh) -> float:
    """Return the share of normals along which the winding number of a possibly open mesh rises instead of falling.

    Returns 0 where most points have no clear inside: sheets and intersecting parts.
    """
    inner, outer = _winding_beside(rows, mesh)
    change = inner - outer
    clear = np.abs(change) > 0.5
    return float((change[clear] < 0).mean()) if clear.mean() >= 0.5 else 0.0


def _winding_beside(
    rows: Float32[np.ndarray, "n 6"], mesh: Mesh
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the winding numbers one step against and one step along the normals."""
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    behind, ahead = (np.float64(rows[:, :3] + side * STEP * rows[:, 3:]) for side in (-1, 1))
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    return igl.fast_winding_number(vertices, faces, behind), igl.fast_winding_number(vertices, faces, ahead)


def _watertight(closed: Mesh, frame: int) -> list[Finding]:
    """Check that every edge is used equally often in both directions and that the volume is positive."""
    faces, count = closed.faces.astype(np.int64), len(closed.vertices)
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    forth, back = np.sort(start * count + end), np.sort(end * count + start)
    if not np.array_equal(forth, back):
        lost = len(np.setdiff1d(forth, back))
        what = f"the closed mesh is open or badly oriented: {lost} edges have a face on one side only"
        return [Finding("watertight", what, AGAIN, (frame,))]
    volume = enclosed_volume(closed.vertices, faces)
    if volume <= 0:
        return [Finding("watertight", f"the closed mesh is inside out (volume {volume:.2g})", AGAIN, (frame,))]
    return []


def _labels(labels: tuple[np.ndarray, np.ndarray], closed: Mesh, frame: int) -> list[Finding]:
    """Compare stored signed distances with those of the closed mesh."""
    places, stored = labels
    if len(places) != len(stored):
        return [Finding("arrays", f"{len(places)} labelled points have {len(stored)} distances", AGAIN, (frame,))]
    rows = sample_rows(len(places))[::4]
    truth = signed_distance(places[rows], closed)
    wrong = np.abs(truth - stored[rows]) > np.where(np.abs(truth) < SIGN, 2 * SIGN, ROUNDING)
    if not wrong.any():
        return []
    what = f"{wrong.sum()} of {len(rows)} signed distances looked at are not those of the closed mesh"
    return [Finding("labels", what, AGAIN, (frame,))]
