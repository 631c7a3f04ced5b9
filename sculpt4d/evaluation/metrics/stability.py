"""How steadily a sequence changes: second differences over time of its volume, surface area and centroid.

jitter: mean |x[t+1] - 2 x[t] + x[t-1]|, volume and area relative to the true mean, the centroid in box units.
jitter error: the same of prediction minus truth, so that true motion costs nothing and a frozen prediction does.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sculpt4d.evaluation.metrics.geometry import has_surface
from sculpt4d.evaluation.metrics.motion import is_open
from sculpt4d.types import Mesh, MeshSequence

OF_SOLIDS = ("volume_jitter", "volume_jitter_error", "centroid_jitter", "centroid_jitter_error")


@dataclass(frozen=True)
class Course:
    """What a closed mesh does over time: volume (t,), area (t,) and centroid of the solid (t, 3).

    A frame without a surface has volume and area 0 and the middle of the box as its centroid. closed: whether every
    other frame is; else volume and centroid mean nothing.
    """

    volume: Float[np.ndarray, " t"]
    area: Float[np.ndarray, " t"]
    centroid: Float[np.ndarray, "t 3"]
    closed: bool = True


def measure(mesh: Mesh) -> tuple[float, float, Float[np.ndarray, "3"]]:
    """Volume, area and centroid of a closed mesh, by the divergence theorem; one that is inside out as a whole is
    turned, as it is for its solid.

    The centroid is that of the solid; when the volume vanishes (a flat mesh), that of the surface.
    """
    if not has_surface(mesh):
        return 0.0, 0.0, np.zeros(3)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    origin = corners.mean(axis=(0, 1))  # close to the solid: far from the origin the signed parts would cancel
    first, second, third = np.moveaxis(corners - origin, 1, 0)
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    volumes = np.einsum("fi,fi->f", first, np.cross(second, third)) / 6
    middles = first + second + third
    volume, area = volumes.sum(), areas.sum()
    if abs(volume) > 1e-9 * area**1.5:
        centroid = (volumes[:, None] * middles).sum(axis=0) / (4 * volume)
    else:
        centroid = (areas[:, None] * middles).sum(axis=0) / (3 * area)
    return abs(float(volume)), float(area), centroid + origin


def follow(sequence: MeshSequence) -> Course:
    """Volume, area and centroid of every frame."""
    volumes, areas, centroids = zip(*map(measure, sequence.frames), strict=True)
    closed = not any(is_open(mesh) for mesh in sequence.frames if has_surface(mesh))
    return Course(np.array(volumes), np.array(areas), np.array(centroids), closed)


def jitter(values: Float[np.ndarray, "t *c"]) -> float:
    """Mean length of the second difference over time; NaN for fewer than three frames."""
    if len(values) < 3:
        return float("nan")
    second = np.diff(values, n=2, axis=0).reshape(len(values) - 2, -1)
    return float(np.linalg.norm(second, axis=1).mean())


def stability(predicted: Course, truth: Course) -> dict[str, float]:
    """Jitter and jitter error by name: `volume_jitter`, `volume_jitter_error`, and the same of area and centroid.

    The area of the truth must not vanish; without a volume that of the volume is NaN, and where a side is not closed
    those of volume and centroid are.
    """
    volume, area = truth.volume.mean() or np.nan, truth.area.mean()  # a flat truth has no volume to be relative to
    values = {
        "volume_jitter": jitter(predicted.volume / volume),
        "volume_jitter_error": jitter((predicted.volume - truth.volume) / volume),
        "area_jitter": jitter(predicted.area / area),
        "area_jitter_error": jitter((predicted.area - truth.area) / area),
        "centroid_jitter": jitter(predicted.centroid),
        "centroid_jitter_error": jitter(predicted.centroid - truth.centroid),
    }
    if not (predicted.closed and truth.closed):
        values |= dict.fromkeys(OF_SOLIDS, float("nan"))
    return values
