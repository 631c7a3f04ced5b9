"""Pictures of a mesh by casting rays on the CPU: RGBA, lit so that colour tells the direction of the surface."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float, Float32, Integer, UInt8

from sculpt4d.data.cameras import Camera
from sculpt4d.data.textures import blend, surface_colors
from sculpt4d.types import Appearance, Mesh

SAMPLES = 2  # rays per pixel and axis
TURN = 0.5  # a quarter of the distance between rays, in halves of it: how far each leaves the regular grid
AMBIENT = np.array([0.30, 0.30, 0.34], dtype=np.float32)
CREASE = math.cos(math.radians(30))  # a corner bent more than this against its vertex keeps the face's own normal
NEUTRAL = (0.72, 0.72, 0.74)  # colour of meshes that carry none


class Light(NamedTuple):
    """A distant lamp of the studio: direction towards it in camera axes (x right, y up, z to the camera), colour."""

    direction: tuple[float, float, float]
    color: tuple[float, float, float]


class Studio(NamedTuple):
    """The lamps of a picture and the light that comes from everywhere (linear share of white, per channel)."""

    lights: tuple[Light, ...]
    ambient: Float32[np.ndarray, "3"]


LIGHTS = (
    Light((0.55, 0.65, 0.60), (0.64, 0.55, 0.42)),  # key: upper right front, warm
    Light((-0.85, 0.10, 0.50), (0.15, 0.27, 0.42)),  # fill: left, cool
    Light((0.10, 0.60, -0.80), (0.26, 0.20, 0.28)),  # rim: from behind and above
)
STUDIO = Studio(LIGHTS, AMBIENT)


class Hits(NamedTuple):
    """Where rays met the mesh: flat rows of the ray grid, faces, barycentric weights of corners 1 and 2, directions."""

    rays: Integer[np.ndarray, " r"]
    faces: Integer[np.ndarray, " r"]
    weights: Float32[np.ndarray, "r 2"]
    directions: Float32[np.ndarray, "r 3"]


class Scene(NamedTuple):
    """What all views of one mesh share: unit normals of the faces and, for smooth shading, of their corners."""

    vertices: Float32[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "f 3"]
    bent: Float32[np.ndarray, "f 3 3"] | None  # normals of the corners; None: the face's own everywhere


def render(
    vertices: Float32[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "f 3"],
    camera: Camera,
    size: int,
    smooth: bool = False,
    appearance: Appearance | None = None,
) -> UInt8[np.ndarray, "{size} {size} 4"]:
    """One square picture; `vertices` y up, `colors` sRGB in [0, 1] per face. Alpha is the covered part of a pixel.

    Colours are not multiplied by alpha. `smooth` interpolates vertex normals. `appearance` takes the place of the face
    colours. The lamps move with the camera, both sides of a face are lit, and an empty mesh gives a fully transparent
    picture.
    """
    return render_views(vertices, faces, colors, (camera,), size, smooth, appearance)[0]


def render_views(
    vertices: Float32[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "f 3"],
    cameras: Sequence[Camera],
    size: int,
    smooth: bool = False,
    appearance: Appearance | None = None,
    studio: Studio = STUDIO,
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """What `render` draws, from every camera, with the work that the views share done once, lit by `studio`."""
    if len(faces) == 0:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in cameras]
    scene, tree = prepare_scene(vertices, faces, smooth), EmbreeScene()
    TriangleMesh(tree, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    return [
        shade(scene, _cast(scene, tree, camera, SAMPLES * size), colors, camera, size, appearance, studio)
        for camera in cameras
    ]


def render_mesh(mesh: Mesh, camera: Camera, size: int) -> UInt8[np.ndarray, "{size} {size} 4"]:
    """A mesh without colours (a generated one) in a neutral grey, smoothly shaded. The mesh lies in [-0.5, 0.5]^3."""
    colors = np.tile(np.array(NEUTRAL, dtype=np.float32), (len(mesh.faces), 1))
    return render(mesh.vertices, mesh.faces, colors, camera, size, smooth=True)


def prepare_scene(vertices: Float32[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], smooth: bool) -> Scene:
    """Normals for `shade`; `smooth` gives the corners those of their vertices."""
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    own, bent = _unit(flat), None
    if smooth:  # area-weighted vertex normals, but for corners at creases
        spread, rows = np.repeat(flat, 3, axis=0), faces.reshape(-1)
        at_vertices = np.stack([np.bincount(rows, spread[:, axis], len(vertices)) for axis in range(3)], axis=1)
        bent = _unit(at_vertices.astype(np.float32))[faces]
        bent = np.where((bent * own[:, None]).sum(axis=2, keepdims=True) < CREASE, own[:, None], bent)
    return Scene(vertices, faces, own, bent)


def shade(
    scene: Scene,
    hits: Hits | None,
    colors: Float[np.ndarray, "f 3"],
    camera: Camera,
    size: int,
    appearance: Appearance | None,
    studio: Studio = STUDIO,
) -> UInt8[np.ndarray, "{size} {size} 4"]:
    """The picture whose rays, SAMPLES * size in each direction, met the mesh at `hits`; None: nowhere."""
    picture = np.zeros((size * size, 4), dtype=np.uint8)
    if hits is not None:
        if appearance is None:
            base = np.asarray(colors, np.float32)[hits.faces]
        else:
            base = surface_colors(appearance, hits.faces, hits.weights)
        lit = base * _lit(scene, hits, camera, studio)
        row, column = np.divmod(hits.rays, SAMPLES * size)
        # most of a picture is empty: only pixels that a ray coloured are touched
        pixel = (row // SAMPLES) * size + column // SAMPLES
        covered = np.bincount(pixel, minlength=size * size)
        seen = np.flatnonzero(covered)
        count = covered[seen]
        for channel in range(3):
            mean = np.bincount(pixel, lit[:, channel], size * size)[seen] / count
            picture[seen, channel] = np.rint(255 * np.clip(mean, 0, 1))
        picture[seen, 3] = np.rint(255 * count / SAMPLES**2)
    return picture.reshape(size, size, 4)


def _cast(scene: Scene, tree: EmbreeScene, camera: Camera, grid: int) -> Hits | None:
    """Shoots rays through the part of the picture that the mesh can cover; None when none of them meets it."""
    pose = camera.to_mesh()
    half = math.tan(camera.field / 2)
    seen = (scene.vertices[scene.faces].reshape(-1, 3) - pose[:3, 3]) @ pose[:3, :3]
    columns, rows = slice(0, grid), slice(0, grid)
    if (seen[:, 2] < 0).all():  # a vertex behind the camera has no place in the picture: then shoot everywhere
        across, down = seen[:, 0] / -seen[:, 2], seen[:, 1] / seen[:, 2]
        columns, rows = (_covered(side / half, grid) for side in (across, down))
    centers = half * ((np.arange(grid, dtype=np.float32) + 0.5) * (2 / grid) - 1)
    right, up, backward = pose[:3, :3].T.astype(np.float32)
    # each ray of a pixel has a row and a column of its own (rotated by half a step), so that edges along the picture's
    # axes have five shades as well, not three
    step = np.float32(half * TURN / grid)
    turned = np.where(np.arange(grid) % 2, -step, step)
    across = centers[columns] + turned[rows, None]
    down = centers[rows, None] - turned[columns]
    directions = across[..., None] * right - down[..., None] * up - backward
    directions = np.ascontiguousarray(directions.reshape(-1, 3))
    if len(directions) == 0:
        return None
    origins = np.tile(pose[:3, 3].astype(np.float32), (len(directions), 1))
    found = tree.run(origins, directions, output=True)
    met = np.flatnonzero(found["primID"] >= 0)
    if len(met) == 0:
        return None
    rays = (np.arange(grid)[rows, None] * grid + np.arange(grid)[columns]).reshape(-1)
    weights = np.stack([found["u"][met], found["v"][met]], axis=1)
    return Hits(rays[met], found["primID"][met], weights, directions[met])


def _covered(side: Float[np.ndarray, " n"], grid: int) -> slice:
    """Grid cells between the extremes of `side`, which is -1 at the first border of the picture and 1 at the last."""
    first, last = ((value + 1) * grid / 2 for value in (side.min(), side.max()))
    return slice(int(np.clip(math.floor(first) - 1, 0, grid)), int(np.clip(math.ceil(last) + 1, 0, grid)))


def _light(normals: Float[np.ndarray, "n 3"], camera: Camera, studio: Studio) -> Float32[np.ndarray, "n 3"]:
    """What the lamps send back from white surfaces with these normals (mesh axes, towards the camera)."""
    lamps = np.array([light.direction for light in studio.lights])
    lamps = (lamps / np.linalg.norm(lamps, axis=1, keepdims=True)) @ camera.to_mesh()[:3, :3].T
    facing = np.maximum(normals @ lamps.T.astype(np.float32), 0)
    return studio.ambient + facing @ np.array([light.color for light in studio.lights], dtype=np.float32)


def _lit(scene: Scene, hits: Hits, camera: Camera, studio: Studio) -> Float32[np.ndarray, "r 3"]:
    """What the lamps send back at the hits, from the camera's side of the faces."""
    if scene.bent is None:
        towards = camera.to_mesh()[:3, 3].astype(np.float32) - scene.vertices[scene.faces[:, 0]]
        away = (scene.normals * towards).sum(axis=1, keepdims=True) < 0
        return _light(np.where(away, -scene.normals, scene.normals), camera, studio)[hits.faces]
    mixed = blend(scene.bent, hits.faces, hits.weights)
    away = (scene.normals[hits.faces] * hits.directions).sum(axis=1, keepdims=True) > 0
    return _light(_unit(np.where(away, -mixed, mixed)), camera, studio)


def _unit(rows: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Rows of length 1; rows without direction stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
