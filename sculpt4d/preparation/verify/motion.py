"""Is row k the same material point in all frames: rows that are neighbours in one frame stay neighbours through time.

Looked at are the rows of `verify_points.sample_rows`. A row is lost in a frame when its NEIGHBOURS nearest rows of the
reference frame have, by their median, gone both FAR times as far as they were and beyond a share of the object's size,
and when the animated mesh, where its topology is stored, does not carry the point there either: parts may fly apart.
"""

from collections.abc import Mapping
from typing import NamedTuple

import igl
import numpy as np
from jaxtyping import Bool, Float32, Integer
from scipy.spatial import cKDTree

from sculpt4d.preparation.verify.findings import AGAIN, Finding
from sculpt4d.types import Mesh

NEIGHBOURS = 8
FAR = 4.0  # skin stretches two or three times at most where it matters; a shuffled row goes 10 to 100 times as far
REMOTE = 0.5  # of the median distance of two random rows, which is what a shuffled row has on average
CARRIED = 0.3  # of the same: how far a carried point may be from the stored one, which was put on the closed surface
LOST = 0.06  # share of rows: what is swallowed in part comes out elsewhere; up to 0.033 in our families
UNMARKED = 0.15  # the same where swallowed points are not marked (the releases); up to 0.05 in our families


class Sample(NamedTuple):
    """The rows looked at in one frame, and which of them the closed surface swallowed: those may come out elsewhere.

    None where that is not known.
    """

    points: Float32[np.ndarray, "k 3"]
    swallowed: Bool[np.ndarray, " k"] | None


def check_motion(points: Mapping[int, Sample], meshes: Mapping[int, Mesh]) -> list[Finding]:
    """The frames in which rows changed places. `points`: the same rows of each frame that could be read."""
    frames = sorted(points)
    if len(frames) < 2 or len(points[frames[0]].points) <= NEIGHBOURS:
        return []
    allowed = LOST if any(sample.swallowed is not None for sample in points.values()) else UNMARKED
    shares = _lost(frames[0], frames, points, meshes)
    if (np.array(list(shares.values())) > allowed).sum() > len(frames) / 2:  # the reference itself may be the odd one
        other = _lost(frames[1], frames, points, meshes)
        shares = min((shares, other), key=lambda found: sum(share > allowed for share in found.values()))
    return [
        Finding(
            "correspondence",
            f"{share:.1%} of the rows looked at have left their neighbours: rows are shuffled, or of another frame",
            AGAIN,
            (frame,),
        )
        for frame, share in shares.items()
        if share > allowed
    ]


def _lost(
    reference: int,
    frames: list[int],
    points: Mapping[int, Sample],
    meshes: Mapping[int, Mesh],
) -> dict[int, float]:
    """Share of lost rows in every frame but the reference."""
    start = points[reference].points
    near = cKDTree(start).query(start, NEIGHBOURS + 1)[1][:, 1:]
    spacing = _apart(start, near)
    anyone = np.random.default_rng(0).permutation(len(start))
    shares = {}
    for frame in frames:
        if frame == reference:
            continue
        now = points[frame].points
        size = float(np.median(np.linalg.norm(now - now[anyone], axis=1)))
        gone = _apart(now, near)
        lost = (gone > FAR * spacing) & (gone > REMOTE * size)
        for sample in (points[reference], points[frame]):
            if sample.swallowed is not None:
                lost &= ~sample.swallowed
        rows = np.flatnonzero(lost)
        if len(rows) and reference in meshes and frame in meshes:
            rows = rows[_elsewhere(start[rows], now[rows], meshes[reference], meshes[frame], CARRIED * size)]
        shares[frame] = len(rows) / len(start)
    return shares


def _apart(points: Float32[np.ndarray, "k 3"], near: Integer[np.ndarray, "k m"]) -> Float32[np.ndarray, " k"]:
    """Median distance of every row to its neighbours."""
    return np.median(np.linalg.norm(points[near] - points[:, None], axis=2), axis=1)


def _elsewhere(
    before: Float32[np.ndarray, "r 3"], now: Float32[np.ndarray, "r 3"], first: Mesh, second: Mesh, allowed: float
) -> Bool[np.ndarray, " r"]:
    """Rows that the moving mesh does not carry from `before` to `now`; all of them when the topology is another."""
    if first.faces.shape != second.faces.shape or (first.faces != second.faces).any():
        return np.ones(len(before), bool)
    vertices, faces = first.vertices.astype(np.float64), first.faces.astype(np.int64)
    _, face, place = igl.point_mesh_squared_distance(before.astype(np.float64), vertices, faces)
    corner = vertices[faces[face]]
    weights = igl.barycentric_coordinates(place, *(np.ascontiguousarray(corner[:, k]) for k in range(3)))
    carried = np.einsum("rk,rkc->rc", np.nan_to_num(weights), second.vertices.astype(np.float64)[faces[face]])
    return np.linalg.norm(carried - now, axis=1) > allowed
