"""Check point correspondence: points that are neighbours in one frame stay neighbours in all frames.

The check uses the points of `points.sample_rows`. A point counts as lost in a frame under three conditions. The median
distance to its NEIGHBOURS nearest points of the reference frame exceeds FAR times the original distance. It also
exceeds REMOTE times the object's size. Where mesh topology is stored, the animated mesh does not carry the point there
either, since parts may fly apart.
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
FAR = 4.0  # relevant surfaces stretch by at most two or three; a shuffled index moves 10 to 100 times as far
REMOTE = 0.5  # share of the median distance of two random points, which is the average for a shuffled index
CARRIED = 0.3  # share of the same: maximum distance of a carried point from the stored one, which is projected
LOST = 0.06  # share of points; partly interior ones reappear elsewhere: up to 0.033 in our families
UNMARKED = 0.15  # the same where interior points are not marked (official releases); up to 0.05 in our families


class TrackSample(NamedTuple):
    """Sampled points of one frame, and the mask of interior ones, which may reappear elsewhere.

    `swallowed` is None when this is unknown.
    """

    points: Float32[np.ndarray, "k 3"]
    swallowed: Bool[np.ndarray, " k"] | None


def check_motion(points: Mapping[int, TrackSample], meshes: Mapping[int, Mesh]) -> list[Finding]:
    """Report frames in which points lost their correspondence. points: the same indices of each readable frame."""
    frames = sorted(points)
    if len(frames) < 2 or len(points[frames[0]].points) <= NEIGHBOURS:
        return []
    allowed = LOST if any(sample.swallowed is not None for sample in points.values()) else UNMARKED
    shares = _lost(frames[0], frames, points, meshes)
    # the reference frame itself may be the faulty one
    if (np.array(list(shares.values())) > allowed).sum() > len(frames) / 2:
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
    points: Mapping[int, TrackSample],
    meshes: Mapping[int, Mesh],
) -> dict[int, float]:
    """Return the share of lost points in every frame except the reference."""
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
    """Return the median distance of every point to its neighbours."""
    return np.median(np.linalg.norm(points[near] - points[:, None], axis=2), axis=1)


def _elsewhere(
    before: Float32[np.ndarray, "r 3"], now: Float32[np.ndarray, "r 3"], first: Mesh, second: Mesh, allowed: float
) -> Bool[np.ndarray, " r"]:
    """Return which points the animated mesh does not carry from `before` to `now`; all if topologies differ."""
    if first.faces.shape != second.faces.shape or (first.faces != second.faces).any():
        return np.ones(len(before), bool)
    vertices, faces = first.vertices.astype(np.float64), first.faces.astype(np.int64)
    _, face, place = igl.point_mesh_squared_distance(before.astype(np.float64), vertices, faces)
    corner = vertices[faces[face]]
    weights = igl.barycentric_coordinates(place, *(np.ascontiguousarray(corner[:, k]) for k in range(3)))
    carried = np.einsum("rk,rkc->rc", np.nan_to_num(weights), second.vertices.astype(np.float64)[faces[face]])
    return np.linalg.norm(carried - now, axis=1) > allowed
