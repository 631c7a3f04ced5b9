"""The default renderer: RGBA images of a mesh by ray casting on the CPU, lit so that colour shows the normal."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float, Float32, Integer, UInt8

from sculpt4d.geometry.triangles import face_crosses
from sculpt4d.render.cameras import Camera
from sculpt4d.types import Appearance, Drawable, Mesh


def surface_colors(
    appearance: Appearance, faces: Integer[np.ndarray, " r"], weights: Float32[np.ndarray, "r 2"]
) -> Float32[np.ndarray, "r 3"]:
    """sRGB in [0, 1] at places given by their face and the barycentric weights of its corners 1 and 2.

    Colours and texture are multiplied as sRGB values: within 0.03 of the product of linear light that glTF asks
    for, and exact where either is white.
    """
    first = appearance.colors[:, :1]
    plain = (appearance.colors == first).all()  # one colour a face, as in most files: nothing runs into each other
    colors = np.take(first[:, 0], faces, axis=0) if plain else blend(appearance.colors, faces, weights)
    rows = appearance.texture[faces]
    for row, texture in enumerate(appearance.textures):
        here = np.flatnonzero(rows == row)
        if len(here):
            places = blend(appearance.texcoords, faces[here], weights[here])
            colors[here] *= look_up(texture, places) * np.float32(1 / 255)
    return colors


def blend(
    corners: Float32[np.ndarray, "f 3 c"], faces: Integer[np.ndarray, " r"], weights: Float32[np.ndarray, "r 2"]
) -> Float32[np.ndarray, "r c"]:
    """Values of the corners, interpolated inside the faces."""
    first, second, third = np.take(corners, faces, axis=0).swapaxes(0, 1)  # take is several times faster than indexing
    return first + (second - first) * weights[:, :1] + (third - first) * weights[:, 1:]


def look_up(texture: UInt8[np.ndarray, "h w 3"], places: Float[np.ndarray, "r 2"]) -> Float32[np.ndarray, "r 3"]:
    """Bilinear values (0 to 255) at texture coordinates, repeated past [0, 1]; (0, 0) is the upper left corner."""
    height, width = texture.shape[:2]
    scaled = places.astype(np.float32) % 1 * np.array([width, height], np.float32) - np.float32(0.5)
    first = np.floor(scaled)
    along, down = (scaled - first).T[..., None]
    left, top = first.astype(np.int64).T
    right, bottom = (left + 1) % width, (top + 1) % height
    left, top = left % width, top % height
    upper, lower = (
        _mix(_texels(texture, row * width + left), _texels(texture, row * width + right), along)
        for row in (top, bottom)
    )
    return _mix(upper, lower, down)


def _texels(texture: UInt8[np.ndarray, "h w 3"], places: Integer[np.ndarray, " r"]) -> Float32[np.ndarray, "r 3"]:
    return np.take(texture.reshape(-1, 3), places, axis=0).astype(np.float32)


def _mix(
    one: Float32[np.ndarray, "r 3"], other: Float32[np.ndarray, "r 3"], share: Float32[np.ndarray, "r 1"]
) -> Float32[np.ndarray, "r 3"]:
    return one + (other - one) * share


SAMPLES = 2  # rays per pixel and axis
TURN = 0.5  # a quarter of the distance between rays, in halves of it: how far each leaves the regular grid
AMBIENT = np.array([0.30, 0.30, 0.34], dtype=np.float32)
CREASE = math.cos(math.radians(30))  # a corner bent more than this against its vertex keeps the face's own normal
CLAY = (0.93, 0.87, 0.81)  # colour of meshes that carry none: pale, so that shading shows the shape


class Light(NamedTuple):
    """A distant lamp of the studio: direction towards it in camera axes (x right, y up, z to the camera), colour."""

    direction: tuple[float, float, float]
    color: tuple[float, float, float]


LIGHTS = (
    Light((0.55, 0.65, 0.60), (0.64, 0.55, 0.42)),  # key: upper right front, warm
    Light((-0.85, 0.10, 0.50), (0.15, 0.27, 0.42)),  # fill: left, cool
    Light((0.10, 0.60, -0.80), (0.26, 0.20, 0.28)),  # rim: from behind and above
)


class Hits(NamedTuple):
    """Where rays met the mesh: flat rows of the ray grid, faces, barycentric weights of corners 1 and 2, directions."""

    rays: Integer[np.ndarray, " r"]
    faces: Integer[np.ndarray, " r"]
    weights: Float32[np.ndarray, "r 2"]
    directions: Float32[np.ndarray, "r 3"]


class ShadedMesh(NamedTuple):
    """What all views of one mesh share: unit normals of the faces and, for smooth shading, of their corners."""

    vertices: Float32[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "f 3"]
    bent: Float32[np.ndarray, "f 3 3"] | None  # normals of the corners; None: the face's own everywhere


def render_views(
    drawable: Drawable, cameras: Sequence[Camera], size: int
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """One square RGBA image per camera. Alpha is the covered part of a pixel; colours are not multiplied by it.

    The lamps move with the camera, both sides of a face are lit, and an empty mesh gives fully transparent images.
    """
    mesh = drawable.mesh
    if len(mesh.faces) == 0:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in cameras]
    scene, tree = prepare_scene(drawable), EmbreeScene()
    TriangleMesh(tree, np.ascontiguousarray(mesh.vertices, np.float32), np.ascontiguousarray(mesh.faces, np.int32))
    return [shade(scene, _cast(scene, tree, camera, SAMPLES * size), drawable, camera, size) for camera in cameras]


def plain(mesh: Mesh) -> Drawable:
    """A mesh without colours of its own (a generated one): pale clay, shaded smoothly."""
    return Drawable(mesh, np.tile(np.array(CLAY, dtype=np.float32), (len(mesh.faces), 1)), smooth=True)


def prepare_scene(drawable: Drawable) -> ShadedMesh:
    """Normals for `shade`; a smooth drawable gives the corners those of their vertices."""
    vertices, faces = drawable.mesh.vertices, drawable.mesh.faces
    flat = face_crosses(vertices[faces])
    own, bent = _unit(flat), None
    if drawable.smooth:  # area-weighted vertex normals, but for corners at creases
        spread, rows = np.repeat(flat, 3, axis=0), faces.reshape(-1)
        at_vertices = np.stack([np.bincount(rows, spread[:, axis], len(vertices)) for axis in range(3)], axis=1)
        bent = _unit(at_vertices.astype(np.float32))[faces]
        bent = np.where((bent * own[:, None]).sum(axis=2, keepdims=True) < CREASE, own[:, None], bent)
    return ShadedMesh(vertices, faces, own, bent)


def shade(
    scene: ShadedMesh,
    hits: Hits | None,
    drawable: Drawable,
    camera: Camera,
    size: int,
) -> UInt8[np.ndarray, "{size} {size} 4"]:
    """The picture whose rays, SAMPLES * size in each direction, met the mesh at `hits`; None: nowhere."""
    picture = np.zeros((size * size, 4), dtype=np.uint8)
    if hits is not None:
        if drawable.appearance is None:
            base = np.asarray(drawable.colors, np.float32)[hits.faces]
        else:
            base = surface_colors(drawable.appearance, hits.faces, hits.weights)
        lit = base * _lit(scene, hits, camera)
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


def _cast(scene: ShadedMesh, tree: EmbreeScene, camera: Camera, grid: int) -> Hits | None:
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


def _light(normals: Float[np.ndarray, "n 3"], camera: Camera) -> Float32[np.ndarray, "n 3"]:
    """What the lamps send back from white surfaces with these normals (mesh axes, towards the camera)."""
    lamps = np.array([light.direction for light in LIGHTS])
    lamps = (lamps / np.linalg.norm(lamps, axis=1, keepdims=True)) @ camera.to_mesh()[:3, :3].T
    facing = np.maximum(normals @ lamps.T.astype(np.float32), 0)
    return AMBIENT + facing @ np.array([light.color for light in LIGHTS], dtype=np.float32)


def _lit(scene: ShadedMesh, hits: Hits, camera: Camera) -> Float32[np.ndarray, "r 3"]:
    """What the lamps send back at the hits, from the camera's side of the faces."""
    if scene.bent is None:
        towards = camera.to_mesh()[:3, 3].astype(np.float32) - scene.vertices[scene.faces[:, 0]]
        away = (scene.normals * towards).sum(axis=1, keepdims=True) < 0
        return _light(np.where(away, -scene.normals, scene.normals), camera)[hits.faces]
    mixed = blend(scene.bent, hits.faces, hits.weights)
    away = (scene.normals[hits.faces] * hits.directions).sum(axis=1, keepdims=True) > 0
    return _light(_unit(np.where(away, -mixed, mixed)), camera)


def _unit(rows: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Rows of length 1; rows without direction stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
