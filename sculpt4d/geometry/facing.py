"""The camera's frame of a clip: gravity stays, the object is turned so that the camera stands in front, and boxed.

A picture does not tell where an object's own front is, but it does tell where the camera is. In this frame left is the
picture's left and +z points to the camera; only the elevation and the lens are left to guess.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from sculpt4d.geometry.bounds import Box, clip_box, to_box


class Facing(NamedTuple):
    """Turns by `angle` (radians, about y), then takes `box` to [-0.5, 0.5]^3."""

    angle: float
    box: Box

    def positions(self, points: Float[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
        """Points of the stored box, in the camera's frame."""
        return to_box(self.directions(points), self.box)

    def directions(self, vectors: Float[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
        """Normals are turned alone."""
        return (vectors @ turn(self.angle).T).astype(np.float32)


def turn(angle: float) -> Float[np.ndarray, "3 3"]:
    """The rotation about y that takes +z towards +x by `angle` radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def facing(vertices: Float[np.ndarray, "t v 3"], camera: Float[np.ndarray, "3"]) -> Facing:
    """The frame of a camera at `camera`, for a clip whose vertices are given; one for all frames of the clip.

    A camera right above or below has no side of its own: the object stays as it is.
    """
    across = math.hypot(camera[0], camera[2])
    angle = -math.atan2(camera[0], camera[2]) if across > 1e-6 else 0.0
    return Facing(angle, clip_box(vertices @ turn(angle).T.astype(vertices.dtype)))
