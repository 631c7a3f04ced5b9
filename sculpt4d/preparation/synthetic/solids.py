"""Closed, outward-oriented solids of a few hundred faces: building blocks of the synthetic objects."""

from collections.abc import Sequence

import numpy as np

from sculpt4d.types import Mesh

Number = float | int


def lathe(heights: Sequence[Number], radii: Sequence[Number], bottom: Number, top: Number, segments: int = 12) -> Mesh:
    """Rotate a profile about y: rings at increasing `heights` with `radii`, closed by poles at `bottom` and `top`."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    rings = [
        np.stack([radius * np.cos(angle), np.full(segments, height), radius * np.sin(angle)], axis=1)
        for height, radius in zip(heights, radii, strict=True)
    ]
    vertices = np.concatenate([*rings, [[0, bottom, 0], [0, top, 0]]]).astype(np.float32)
    here = np.arange(segments)
    beside = (here + 1) % segments
    low, high = len(rings) * segments, len(rings) * segments + 1
    last = (len(rings) - 1) * segments
    faces = [np.stack([np.full(segments, low), here, beside], axis=1)]
    for ring in range(len(rings) - 1):
        below, above = ring * segments, (ring + 1) * segments
        faces.append(np.stack([below + here, above + here, below + beside], axis=1))
        faces.append(np.stack([below + beside, above + here, above + beside], axis=1))
    faces.append(np.stack([last + here, np.full(segments, high), last + beside], axis=1))
    return Mesh(vertices, np.concatenate(faces).astype(np.int64))


def ellipsoid(radii: Sequence[Number], rings: int = 9, segments: int = 14) -> Mesh:
    """Ellipsoid about the origin with `radii` along x, y, z."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rings + 2)[1:-1]
    sphere = lathe(np.sin(latitude).tolist(), np.cos(latitude).tolist(), -1, 1, segments)
    return Mesh((sphere.vertices * np.asarray(radii)).astype(np.float32), sphere.faces)


def capsule(length: Number, first: Number, second: Number, rings: int = 3, cap: int = 3) -> Mesh:
    """Limb from the origin along +y with round ends: radius `first` about 0 and `second` about `length`."""
    quarter = np.linspace(0, np.pi / 2, cap + 1)[:-1]
    along = np.linspace(0, 1, rings + 2)[1:-1]
    heights = [*(-first * np.sin(quarter[::-1])), *(along * length), *(length + second * np.sin(quarter))]
    radii = [*(first * np.cos(quarter[::-1])), *(first + (second - first) * along), *(second * np.cos(quarter))]
    return lathe(heights, radii, -first, length + second)


def block(half: Sequence[Number], rounding: Number = 0.3, cells: int = 4) -> Mesh:
    """Box about the origin with rounded edges; `rounding` is the radius relative to the smallest half-size."""
    size = np.asarray(half, np.float64)
    radius = rounding * size.min()
    ticks = np.linspace(-1, 1, cells + 1)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    corner = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    quads = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    points: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    for axis in range(3):
        for side in (-1, 1):
            sheet = np.insert(grid, 0, side, axis=1)[:, np.argsort([axis, (axis + 1) % 3, (axis + 2) % 3])]
            faces.append((quads if side > 0 else quads[:, ::-1]) + sum(map(len, points)))
            points.append(sheet)
    surface, rows = np.unique(np.concatenate(points).round(9), axis=0, return_inverse=True)
    core = np.clip(surface * size, radius - size, size - radius)
    outward = surface * size - core
    length = np.linalg.norm(outward, axis=1, keepdims=True)
    rounded = core + radius * outward / np.maximum(length, 1e-9)
    return Mesh(rounded.astype(np.float32), rows.reshape(-1)[np.concatenate(faces)].astype(np.int64))


def gear(teeth: int, inner: Number, outer: Number, thickness: Number) -> Mesh:
    """Solid toothed wheel about the z axis; teeth are as wide as their gaps."""
    steps = np.array([0.0, 0.3, 0.42, 0.5, 0.8, 0.92])
    level = np.array([0.0, 0.0, 0.5, 1.0, 1.0, 0.5])
    angle = ((np.arange(teeth)[:, None] + steps) / teeth * 2 * np.pi).ravel()
    radius = inner + (outer - inner) * np.tile(level, teeth)
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    count = len(outline)
    half = thickness / 2
    sheets = [np.column_stack([outline, np.full(count, z)]) for z in (-half, half)]
    vertices = np.concatenate([*sheets, [[0, 0, -half], [0, 0, half]]]).astype(np.float32)
    here = np.arange(count)
    beside = (here + 1) % count
    back, front = np.full(count, 2 * count), np.full(count, 2 * count + 1)
    faces = [
        np.stack([back, beside, here], axis=1),
        np.stack([front, count + here, count + beside], axis=1),
        np.stack([here, beside, count + beside], axis=1),
        np.stack([here, count + beside, count + here], axis=1),
    ]
    return Mesh(vertices, np.concatenate(faces).astype(np.int64))


def placed(mesh: Mesh, position: Sequence[Number] = (0, 0, 0), up: str = "y") -> Mesh:
    """Rotate and move a mesh to `position`.

    up: direction to which +y is rotated first: "y", "-y", "z", "-z", "x" or "-x".
    """
    x, y, z = mesh.vertices.T
    turned = {"y": (x, y, z), "-y": (x, -y, -z), "z": (x, -z, y), "-z": (x, z, -y), "x": (y, -x, z), "-x": (-y, x, z)}
    return Mesh((np.stack(turned[up], axis=1) + np.asarray(position)).astype(np.float32), mesh.faces)
