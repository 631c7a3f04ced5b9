"""Where the pictures are taken from: 24 views spread over the sphere, or one fixed camera in front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from sculpt4d.geometry.bounds import Box

SPHERE = math.sqrt(3) / 2  # radius of the sphere around the box [-0.5, 0.5]^3
FIELDS = (math.radians(10), math.radians(70))  # narrowest and widest field of view drawn
FRONT_FIELD = math.radians(35)
FRONT_ELEVATION = math.radians(17.5)
FRONT_MARGIN = 1.03  # the front camera stands this much farther away than the box needs
WORLD_FIELDS = (math.radians(12), math.radians(45))  # across the object's crop: from a long lens to a phone held close
WORLD_ELEVATIONS = (math.radians(-5), math.radians(40))
SENSOR = 32.0  # millimetres, as the release's renderer has it; only the ratio to the focal length matters

# Camera files live in a z up world, meshes are y up: mesh (x, y, z) is world (x, -z, y).
MESH_TO_WORLD = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)


@dataclass(frozen=True)
class Camera:
    """A pinhole looking at the origin. Angles in radians, `distance` in units of the box [-0.5, 0.5]^3.

    The world of a camera is z up; azimuth 0 stands on +x, and the front of a mesh (+z) is azimuth -pi/2.
    `field` is the full horizontal (and vertical: pictures are square) field of view.
    """

    azimuth: float
    elevation: float
    distance: float
    field: float

    def to_world(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world in the z up world; the camera looks along its own -z with y up (OpenGL)."""
        backward = np.array(
            [
                math.cos(self.elevation) * math.cos(self.azimuth),
                math.cos(self.elevation) * math.sin(self.azimuth),
                math.sin(self.elevation),
            ]
        )
        right = np.array([-math.sin(self.azimuth), math.cos(self.azimuth), 0.0])  # defined at the poles as well
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([right, np.cross(backward, right), backward], axis=1)
        matrix[:3, 3] = self.distance * backward
        return matrix

    def to_mesh(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-mesh: the same pose in the y up coordinates of meshes and points."""
        matrix = self.to_world()
        matrix[:3] = MESH_TO_WORLD.T @ matrix[:3]
        return matrix


def hammersley(count: int, offset: tuple[float, float]) -> Float[np.ndarray, "count 2"]:
    """(azimuth, elevation) of evenly spread directions: the Hammersley sequence, shifted by `offset` in [0, 1)^2."""
    first = np.arange(count) / max(count, 1)
    second = np.array([int(f"{index:032b}"[::-1], 2) / 2**32 for index in range(count)])
    across, around = (first + offset[0]) % 1, (second + offset[1]) % 1
    return np.stack([2 * math.pi * around, np.arccos(1 - 2 * across) - math.pi / 2], axis=1)


def sphere_cameras(count: int, rng: np.random.Generator) -> tuple[Camera, ...]:
    """Views as in the release's training data: field of view 10 to 70 degrees, the box's sphere always just inside.

    Distances are 1/sqrt(k) with k uniform, so that the size of the picture's solid angle is drawn evenly.
    """
    nearest, farthest = (SPHERE / math.sin(field / 2) for field in reversed(FIELDS))
    directions = hammersley(count, (float(rng.random()), float(rng.random())))
    distances = 1 / np.sqrt(rng.uniform(farthest**-2, nearest**-2, count))
    return tuple(
        Camera(float(azimuth), float(elevation), float(distance), 2 * math.asin(SPHERE / distance))
        for (azimuth, elevation), distance in zip(directions, distances, strict=True)
    )


def front_camera() -> Camera:
    """The fixed camera on the mesh's +z side, a little above; the whole box [-0.5, 0.5]^3 is always in the picture."""
    pose = Camera(-math.pi / 2, FRONT_ELEVATION, 1.0, FRONT_FIELD)
    return replace(pose, distance=FRONT_MARGIN * _needed(pose))


def ring_cameras(azimuths: Sequence[int | float], elevation: int | float, field: int | float) -> tuple[Camera, ...]:
    """Views at one height and distance, all angles in degrees; the whole box [-0.5, 0.5]^3 is in every picture.

    Azimuth 0 is the front (+z of the mesh), 90 stands on +x.
    """
    poses = [
        Camera(math.radians(azimuth) - math.pi / 2, math.radians(elevation), 1.0, math.radians(field))
        for azimuth in azimuths
    ]
    distance = FRONT_MARGIN * max(_needed(pose) for pose in poses)
    return tuple(replace(pose, distance=distance) for pose in poses)


def world_cameras(count: int, rng: np.random.Generator, points: Float[np.ndarray, "n 3"]) -> tuple[Camera, ...]:
    """Views as people film: all round, from a little below to well above, with `points` just inside the picture.

    Azimuths are spread evenly with a random part each, so that a few views show every side.
    """
    turn = rng.random()
    cameras = []
    for number in range(count):
        azimuth = 2 * math.pi * ((number + rng.random()) / count + turn)
        pose = Camera(azimuth, rng.uniform(*WORLD_ELEVATIONS), 1.0, rng.uniform(*WORLD_FIELDS))
        cameras.append(replace(pose, distance=FRONT_MARGIN * _needed(pose, points)))
    return tuple(cameras)


CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def _needed(pose: Camera, points: Float[np.ndarray, "n 3"] = CORNERS) -> float:
    """The distance from which the points, by default the corners of the box [-0.5, 0.5]^3, just fit."""
    seen = points @ pose.to_mesh()[:3, :3]
    return float((np.abs(seen[:, :2]).max(axis=1) / math.tan(pose.field / 2) + seen[:, 2]).max())


def choose_cameras(
    count: int, front: bool, rng: np.random.Generator, filmed: Float[np.ndarray, "n 3"] | None = None
) -> tuple[Camera, ...]:
    """`count` views over the sphere, or as people film the points `filmed`; with `front` the first is the front
    camera."""
    if count < 1:
        raise ValueError(f"views={count}: at least one picture per frame is needed, set views=1 or more")
    others = count - front
    drawn = sphere_cameras(others, rng) if filmed is None else world_cameras(others, rng, filmed)
    return (front_camera(), *drawn) if front else drawn


def write_transforms(cameras: Sequence[Camera], box: Box) -> dict[str, object]:
    """What transforms.json holds of a frame, as in the release; scale * p + offset takes the z up scene to the box."""
    x, y, z = (-box.scale * box.center.astype(np.float64)).tolist()
    views = [
        {
            "file_path": f"{number:03d}.png",
            "camera_angle_x": camera.field,
            "proj_type": 0,
            "azimuth": camera.azimuth,
            "elevation": camera.elevation,
            "cam_dis": camera.distance,
            "transform_matrix": camera.to_world().tolist(),
        }
        for number, camera in enumerate(cameras)
    ]
    return {"aabb": [[-0.5] * 3, [0.5] * 3], "scale": float(box.scale), "offset": [x, -z, y], "frames": views}


def read_transforms(content: dict[str, Any]) -> tuple[Camera, ...]:
    """The cameras of a transforms.json; angles and distance say all, the matrices are not read."""
    views = content["frames"]
    return tuple(Camera(view["azimuth"], view["elevation"], view["cam_dis"], view["camera_angle_x"]) for view in views)
