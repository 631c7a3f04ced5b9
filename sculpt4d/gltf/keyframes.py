"""Keyframe tracks and their interpolation (glTF 2.0, appendix C)."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Track(NamedTuple):
    """Keyframes of one property of a node.

    path           "translation", "rotation" (quaternion x, y, z, w), "scale" or "weights"
    times (k,)     seconds, increasing
    values (k, c)  CUBICSPLINE: (k, 3, c) with in-tangent, value, out-tangent
    """

    node: int
    path: str
    times: Float[np.ndarray, " k"]
    values: Float[np.ndarray, "k *c"]
    interpolation: str = "LINEAR"


def sample(track: Track, times: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t *c"]:
    """Interpolate a track at `times`. The first and last values hold outside the range of keys.

    A key counts as reached within 1e-5 of the track's duration. Keys are float32, and a STEP track sampled exactly at a
    key must not return the previous value.
    """
    keys = np.asarray(track.times, np.float64)
    reached = np.searchsorted(keys - 1e-5 * (keys[-1] - keys[0]), times, side="right") - 1
    reached = reached.clip(0, len(keys) - 1)
    following = np.minimum(reached + 1, len(keys) - 1)
    span = keys[following] - keys[reached]
    part = np.where(span > 0, (times - keys[reached]) / np.where(span > 0, span, 1.0), 0.0).clip(0, 1)
    first, second = (np.asarray(track.values[rows], np.float64) for rows in (reached, following))
    axes = (-1, *[1] * (first.ndim - (2 if track.interpolation == "CUBICSPLINE" else 1)))
    part, span = part.reshape(axes), span.reshape(axes)
    if track.interpolation == "CUBICSPLINE":
        result = _hermite(first, second, span, part)
    elif track.interpolation == "STEP":
        result = first
    elif track.path == "rotation":
        result = slerp(first, second, part)
    else:
        result = (1 - part) * first + part * second
    if track.path == "rotation":
        result = result / np.maximum(np.linalg.norm(result, axis=-1, keepdims=True), 1e-12)
    return result


def sample_all(
    tracks: Mapping[tuple[int, str], Track], times: Float[np.ndarray, " t"]
) -> dict[tuple[int, str], Float[np.ndarray, "t c"]]:
    """Interpolate all tracks at `times`.

    Tracks with the same keys are sampled together, because a character has hundreds of them.
    """
    alike: dict[Hashable, list[tuple[int, str]]] = defaultdict(list)
    for place, track in tracks.items():
        alike[track.times.tobytes(), track.path, track.interpolation, track.values.shape].append(place)
    found = {}
    for places in alike.values():
        first = tracks[places[0]]
        # channels stay last, and the triples of CUBICSPLINE stay after the keys
        values = np.stack([tracks[place].values for place in places], axis=first.values.ndim - 1)
        together = sample(first._replace(values=values), times)
        found.update({place: together[:, row] for row, place in enumerate(places)})
    return found


def slerp(
    first: Float[np.ndarray, "t *n 4"], second: Float[np.ndarray, "t *n 4"], part: Float[np.ndarray, "t *one"]
) -> Float[np.ndarray, "t *n 4"]:
    """Interpolate quaternions spherically along the shorter arc; `part` 0 gives `first`, 1 gives `second`."""
    cosine = (first * second).sum(-1, keepdims=True)
    second = np.where(cosine < 0, -second, second)
    angle = np.arccos(np.abs(cosine).clip(0, 1))
    sine = np.sin(angle)
    near = sine < 1e-6  # nearly equal rotations: linear interpolation is exact to rounding
    safe = np.where(near, 1.0, sine)
    start = np.where(near, 1 - part, np.sin((1 - part) * angle) / safe)
    end = np.where(near, part, np.sin(part * angle) / safe)
    return start * first + end * second


def _hermite(
    first: Float[np.ndarray, "t 3 *c"],
    second: Float[np.ndarray, "t 3 *c"],
    span: Float[np.ndarray, "t *one"],
    part: Float[np.ndarray, "t *one"],
) -> Float[np.ndarray, "t *c"]:
    """Evaluate the cubic between two keys. glTF stores tangents per second, so they are scaled by the span."""
    square, cube = part**2, part**3
    return (
        (2 * cube - 3 * square + 1) * first[:, 1]
        + span * (cube - 2 * square + part) * first[:, 2]
        + (3 * square - 2 * cube) * second[:, 1]
        + span * (cube - square) * second[:, 0]
    )
