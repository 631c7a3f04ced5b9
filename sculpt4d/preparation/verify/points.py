"""Are the points of a frame where they should be: in the box, on the surface, with its normals; is the surface closed.

All rows are looked at for place and length of normals, SAMPLE random rows for everything that needs the surface.
"""

import math
from typing import Literal, NamedTuple

import igl
import numpy as np
from jaxtyping import Float, Float32, Integer

from sculpt4d.geometry.bounds import HALF_EXTENT
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.projection import face_normals
from sculpt4d.geometry.watertight import GRID_EXTENT
from sculpt4d.preparation.verify.files import FrameFiles
from sculpt4d.preparation.verify.findings import AGAIN, Finding
from sculpt4d.preparation.verify.layout import Layout, setting
from sculpt4d.types import Mesh

SAMPLE = 4096  # rows of each section: a fault of 0.2 percent of the rows is missed once in 3600 frames (e^-8.2)
ROUNDING = math.sqrt(3) * 2**-12 + 1e-5  # float16 between 0.5 and 1 is off by up to 2^-12 per axis; float32 by far less
RELEASE_SHELL = 3 / 256  # how far the releases' closed surfaces stand off the mesh: 2 cells of their grid, measured
RELEASE_SHARE = 0.99  # of the points within that: the surface that they lie on is not stored
UNIT = 1e-3  # three components below 1, each off by up to 2^-12: a length off by 4.2e-4, and as much again for the rest
INWARD = 0.1  # share of normals that may look inwards: rounded points at edges of thin parts
BACK = -0.1  # cosine below which a normal looks inwards
STEP = 0.02  # stored units along a normal within which inside and outside of an unclosed mesh must differ
CENTERED = 1e-3  # the clip's box is exact but for float32 of file units far from the origin
SIGN = 2e-3  # labelled places nearer to the surface than this may round to its other side


class Slack(NamedTuple):
    """What the preparation allows.

    surface: from points to `on`, the surface they lie on: the stored closed meshes, or for others' and unprojected
    points the animated mesh. exact: not one point may be farther. cell: by which closed surfaces leave mesh and box.
    """

    surface: float
    cell: float
    on: Literal["closed", "mesh"]
    exact: bool


def slack_of(layout: Layout) -> Slack:
    """Our points lie on the stored closed surface, which is a cell of its grid from the mesh at most."""
    if not layout.own_points:
        return Slack(RELEASE_SHELL + ROUNDING, RELEASE_SHELL, "mesh", False)
    cell = 2 * GRID_EXTENT / (setting(layout.record, "grid_res") or 256)
    loose = layout.record["settings"].get("projection") == "none"
    return Slack(ROUNDING, cell, "mesh" if loose else "closed", True)


def sample_rows(count: int) -> Integer[np.ndarray, " k"]:
    """The rows looked at closely, the same in every frame."""
    return np.sort(np.random.default_rng(0).permutation(count)[:SAMPLE])


def check_points(files: FrameFiles, slack: Slack, frame: int) -> list[Finding]:
    """Every rule that one frame's points and meshes can break. Normals mean nothing where points are elsewhere."""
    found = []
    sections = {"uniform": files.random, "sharp-edge": files.sharp}
    taken = {name: rows[sample_rows(len(rows))] for name, rows in sections.items() if rows is not None and len(rows)}
    surface = files.closed if slack.on == "closed" else files.mesh
    if taken and surface is not None:
        found += _off_surface(np.concatenate(list(taken.values())), surface, slack, frame)
    for name, rows in sections.items():
        if rows is None or len(rows) == 0:
            continue
        # the base release blends the normals of both faces at an edge and leaves them short
        if slack.exact or name == "uniform":
            found += _unit(rows, name, frame)
        reach = float(np.abs(rows[:, :3]).max())
        if reach > 0.5 + slack.cell + ROUNDING and not any(fault.check == "box" for fault in found):
            what = f"{name} points reach {reach:.3f}, the box ends at 0.5 and its surface at {0.5 + slack.cell:.3f}"
            found.append(Finding("box", what, "bring the object into [-0.5, 0.5]^3 and prepare it again", (frame,)))
    # points left on the animated mesh have the normals of its faces, whichever way those look
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
    """The clip's common box: its middle at 0, its longest side 0.98. For objects of ours."""
    low = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0)
    high = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0)
    off, side = float(np.abs((low + high) / 2).max()), float((high - low).max())
    if off <= CENTERED and abs(side - 2 * HALF_EXTENT) <= 2 * CENTERED:
        return []
    what = f"the box of all frames is {off:.3f} off the origin and {side:.3f} long, expected 0 and {2 * HALF_EXTENT}"
    return [Finding("box", what, AGAIN)]


def _distances(points: Float32[np.ndarray, "n 3"], mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, face and place of the closest points of the mesh."""
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
    """Points away from the surface, and the movement that would bring them there if there is one."""
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
    """Scale and shift that bring points onto the mesh: bounds on bounds, refined by closest points."""
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
    """Share of normals that look against the closest face, and into the object: at a ridge or in a cleft thinner than
    the rounding of places, the closest face may be the opposite one.
    """
    face = _distances(rows[:, :3], closed)[1]
    against = rows[(face_normals(closed.vertices, closed.faces[face]) * rows[:, 3:]).sum(axis=1) < BACK]
    inner, outer = _winding_beside(against, closed)
    return float((outer - inner > 0.5).sum() / len(rows))


def _inward_open(rows: Float32[np.ndarray, "n 6"], mesh: Mesh) -> float:
    """Share of normals along which the winding number of a mesh that need not be closed rises; it should fall.

    0 where most places have no clear inside: sheets and crossing parts.
    """
    inner, outer = _winding_beside(rows, mesh)
    change = inner - outer
    clear = np.abs(change) > 0.5
    return float((change[clear] < 0).mean()) if clear.mean() >= 0.5 else 0.0


def _winding_beside(
    rows: Float32[np.ndarray, "n 6"], mesh: Mesh
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Winding numbers a step against and along the normals."""
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    behind, ahead = (np.float64(rows[:, :3] + side * STEP * rows[:, 3:]) for side in (-1, 1))
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    return igl.fast_winding_number(vertices, faces, behind), igl.fast_winding_number(vertices, faces, ahead)


def _watertight(closed: Mesh, frame: int) -> list[Finding]:
    """Every edge is used as often in one direction as in the other, and the volume is positive."""
    faces, count = closed.faces.astype(np.int64), len(closed.vertices)
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    forth, back = np.sort(start * count + end), np.sort(end * count + start)
    if not np.array_equal(forth, back):
        lost = len(np.setdiff1d(forth, back))
        what = f"the closed mesh is open or badly oriented: {lost} edges have a face on one side only"
        return [Finding("watertight", what, AGAIN, (frame,))]
    corner = closed.vertices.astype(np.float64)[faces]
    volume = float(np.einsum("fi,fi->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))) / 6
    if volume <= 0:
        return [Finding("watertight", f"the closed mesh is inside out (volume {volume:.2g})", AGAIN, (frame,))]
    return []


def _labels(labels: tuple[np.ndarray, np.ndarray], closed: Mesh, frame: int) -> list[Finding]:
    """Stored signed distances against those of the closed mesh."""
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
