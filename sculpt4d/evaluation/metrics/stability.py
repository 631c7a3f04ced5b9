"""How steadily a sequence changes: second differences over time of its volume, surface area and centroid.

jitter: mean |x[t+1] - 2 x[t] + x[t-1]|, volume and area relative to the true mean, the centroid in box units.
jitter error: the same of prediction minus truth, so that true motion costs nothing and a frozen prediction does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from sculpt4d.evaluation.metrics.geometry import FAILED_CHAMFER, SampledSurface, has_surface, nearest
from sculpt4d.evaluation.metrics.motion import is_open
from sculpt4d.geometry.triangles import face_crosses, face_volumes
from sculpt4d.types import Mesh, MeshSequence


def departures(surfaces: Sequence[SampledSurface]) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """Chamfer distance of every later frame (t - 1,) to the first one, and to the frame before it.

    NaN where one of the two has no surface.
    """
    pairs = [(surfaces[0], later) for later in surfaces[1:]], list(pairwise(surfaces))
    first, previous = (np.array([_chamfer(*pair) for pair in side], dtype=np.float64) for side in pairs)
    return first, previous


def constancy(predicted: Sequence[SampledSurface], truth: Sequence[SampledSurface]) -> dict[str, float]:
    """`identity_drift`: mean |departure from frame 0, prediction minus truth|; `flicker`: mean departure from the frame
    before; `flicker_error`: mean |the same, prediction minus truth|; a failed pair of the prediction counts as
    `FAILED_CHAMFER` in each. NaN for a single frame.
    """
    return compare_departures(departures(predicted), departures(truth))


def compare_departures(
    predicted: tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]],
    truth: tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]],
) -> dict[str, float]:
    """The quantities of `constancy` from departures that are known."""
    failed = [np.isnan(side) for side in predicted]
    return {
        "identity_drift": _mean(np.where(failed[0], FAILED_CHAMFER, np.abs(predicted[0] - truth[0]))),
        "flicker": _mean(np.where(failed[1], FAILED_CHAMFER, predicted[1])),
        "flicker_error": _mean(np.where(failed[1], FAILED_CHAMFER, np.abs(predicted[1] - truth[1]))),
    }


def _chamfer(first: SampledSurface, second: SampledSurface) -> float:
    if first.failed or second.failed:
        return float("nan")
    return float(nearest(first, second).mean() + nearest(second, first).mean())


def _mean(values: Float[np.ndarray, " s"]) -> float:
    """NaN where there is no pair."""
    return float(values.mean()) if len(values) else float("nan")


OF_SOLIDS = ("volume_jitter", "volume_jitter_error", "centroid_jitter", "centroid_jitter_error")


@dataclass(frozen=True)
class SolidHistory:
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
    centred = corners - origin
    areas = np.linalg.norm(face_crosses(centred), axis=1) / 2
    volumes = face_volumes(centred)
    middles = centred.sum(axis=1)
    volume, area = volumes.sum(), areas.sum()
    if abs(volume) > 1e-9 * area**1.5:
        centroid = (volumes[:, None] * middles).sum(axis=0) / (4 * volume)
    else:
        centroid = (areas[:, None] * middles).sum(axis=0) / (3 * area)
    return abs(float(volume)), float(area), centroid + origin


def follow(sequence: MeshSequence) -> SolidHistory:
    """Volume, area and centroid of every frame."""
    volumes, areas, centroids = zip(*map(measure, sequence.frames), strict=True)
    closed = not any(is_open(mesh) for mesh in sequence.frames if has_surface(mesh))
    return SolidHistory(np.array(volumes), np.array(areas), np.array(centroids), closed)


def jitter(values: Float[np.ndarray, "t *c"]) -> float:
    """Mean length of the second difference over time; NaN for fewer than three frames."""
    if len(values) < 3:
        return float("nan")
    second = np.diff(values, n=2, axis=0).reshape(len(values) - 2, -1)
    return float(np.linalg.norm(second, axis=1).mean())


def stability(predicted: SolidHistory, truth: SolidHistory) -> dict[str, float]:
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
