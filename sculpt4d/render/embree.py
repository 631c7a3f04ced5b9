"""Default renderer: RGBA images of a mesh by ray casting on the CPU, with lighting whose colour shows the normal.

Also evaluates surface colours and textures (`surface_colors`).
"""

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
    """sRGB in [0, 1] at positions given by face and barycentric weights of corners 1 and 2.

    Colours and texture are multiplied as sRGB values. This is within 0.03 of the product of linear light that glTF
    requires, and exact where either is white.
    """
    first = appearance.colors[:, :1]
    plain = (appearance.colors == first).all()  # one colour per face, as in most files: nothing to interpolate
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
    """Interpolate corner values inside the faces."""
    first, second, third = np.take(corners, faces, axis=0).swapaxes(0, 1)  # take is several times faster than indexing
    return first + (second - first) * weights[:, :1] + (third - first) * weights[:, 1:]


def look_up(texture: UInt8[np.ndarray, "h w 3"], places: Float[np.ndarray, "r 2"]) -> Float32[np.ndarray, "r 3"]:
    """Bilinear texture values (0 to 255), repeated past [0, 1]; (0, 0) is the upper left corner."""
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
TURN = 0.5  # offset of each ray from the regular grid: a quarter of the ray distance, in units of half of it
AMBIENT = np.array([0.30, 0.30, 0.34], dtype=np.float32)
CREASE = math.cos(
    math.radians(30)
)  # a corner whose face deviates more than this from the vertex normal keeps the face normal
CLAY = (0.93, 0.87, 0.81)  # colour of meshes without colours: pale, so that shading shows the shape


class Light(NamedTuple):
    """Distant studio lamp: direction towards it in camera axes (x right, y up, z to the camera), and colour."""

    direction: tuple[float, float, float]
    color: tuple[float, float, float]


LIGHTS = (
    Light((0.55, 0.65, 0.60), (0.64, 0.55, 0.42)),  # key: upper right front, warm
    Light((-0.85, 0.10, 0.50), (0.15, 0.27, 0.42)),  # fill: left, cool
    Light((0.10, 0.60, -0.80), (0.26, 0.20, 0.28)),  # rim: from behind and above
)


class Hits(NamedTuple):
    """Ray hits: flat indices of the ray grid, faces, barycentric weights of corners 1 and 2, directions."""

    rays: Integer[np.ndarray, " r"]
    faces: Integer[np.ndarray, " r"]
    weights: Float32[np.ndarray, "r 2"]
    directions: Float32[np.ndarray, "r 3"]


class ShadedMesh(NamedTuple):
    """Data shared by all views of one mesh: unit normals of the faces and, for smooth shading, of their corners."""

    vertices: Float32[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "f 3"]
    bent: Float32[np.ndarray, "f 3 3"] | None  # corner normals; None: face normals everywhere


def render_views(
    drawable: Drawable, cameras: Sequence[Camera], size: int
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """Render one square RGBA image per camera. Alpha is the covered fraction of a pixel; alpha is straight.

    The lamps move with the camera. Both sides of a face are lit. An empty mesh gives fully transparent images.
    """
    mesh = drawable.mesh
    if len(mesh.faces) == 0:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in cameras]
    scene, tree = prepare_scene(drawable), EmbreeScene()
    TriangleMesh(tree, np.ascontiguousarray(mesh.vertices, np.float32), np.ascontiguousarray(mesh.faces, np.int32))
    return [shade(scene, _cast(scene, tree, camera, SAMPLES * size), drawable, camera, size) for camera in cameras]


def plain(mesh: Mesh) -> Drawable:
    """Drawable of a mesh without colours (a generated one): pale clay, smooth shading."""
    return Drawable(mesh, np.tile(np.array(CLAY, dtype=np.float32), (len(mesh.faces), 1)), smooth=True)


def prepare_scene(drawable: Drawable) -> ShadedMesh:
    """Compute normals for `shade`; a smooth drawable uses vertex normals at its corners."""
    vertices, faces = drawable.mesh.vertices, drawable.mesh.faces
    flat = face_crosses(vertices[faces])
    own, bent = _unit(flat), None
    if drawable.smooth:  # area-weighted vertex normals, except at creases
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
    """Shade the image whose rays, SAMPLES * size in each direction, hit the mesh at `hits`; None: no hits."""
    picture = np.zeros((size * size, 4), dtype=np.uint8)
    if hits is not None:
        if drawable.appearance is None:
            base = np.asarray(drawable.colors, np.float32)[hits.faces]
        else:
            base = surface_colors(drawable.appearance, hits.faces, hits.weights)
        lit = base * _lit(scene, hits, camera)
        row, column = np.divmod(hits.rays, SAMPLES * size)
        # most of an image is empty: only pixels with a hit are written
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
    """Cast rays through the image region that the mesh can cover; None if no ray hits."""
    pose = camera.to_mesh()
    half = math.tan(camera.field / 2)
    seen = (scene.vertices[scene.faces].reshape(-1, 3) - pose[:3, 3]) @ pose[:3, :3]
    columns, rows = slice(0, grid), slice(0, grid)
    if (seen[:, 2] < 0).all():  # a vertex behind the camera cannot be projected: then cast rays everywhere
        across, down = seen[:, 0] / -seen[:, 2], seen[:, 1] / seen[:, 2]
        columns, rows = (_covered(side / half, grid) for side in (across, down))
    centers = half * ((np.arange(grid, dtype=np.float32) + 0.5) * (2 / grid) - 1)
    right, up, backward = pose[:3, :3].T.astype(np.float32)
    # each ray of a pixel has its own row and column (rotated by half a step), so that edges along the image
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
    """Grid cells between the extremes of `side`, which is -1 at the first border of the image and 1 at the last."""
    first, last = ((value + 1) * grid / 2 for value in (side.min(), side.max()))
    return slice(int(np.clip(math.floor(first) - 1, 0, grid)), int(np.clip(math.ceil(last) + 1, 0, grid)))


def _light(normals: Float[np.ndarray, "n 3"], camera: Camera) -> Float32[np.ndarray, "n 3"]:
    """Light that white surfaces with these normals reflect (mesh axes, towards the camera)."""
    lamps = np.array([light.direction for light in LIGHTS])
    lamps = (lamps / np.linalg.norm(lamps, axis=1, keepdims=True)) @ camera.to_mesh()[:3, :3].T
    facing = np.maximum(normals @ lamps.T.astype(np.float32), 0)
    return AMBIENT + facing @ np.array([light.color for light in LIGHTS], dtype=np.float32)


def _lit(scene: ShadedMesh, hits: Hits, camera: Camera) -> Float32[np.ndarray, "r 3"]:
    """Light reflected at the hits, on the camera's side of the faces."""
    if scene.bent is None:
        towards = camera.to_mesh()[:3, 3].astype(np.float32) - scene.vertices[scene.faces[:, 0]]
        away = (scene.normals * towards).sum(axis=1, keepdims=True) < 0
        return _light(np.where(away, -scene.normals, scene.normals), camera)[hits.faces]
    mixed = blend(scene.bent, hits.faces, hits.weights)
    away = (scene.normals[hits.faces] * hits.directions).sum(axis=1, keepdims=True) > 0
    return _light(_unit(np.where(away, -mixed, mixed)), camera)


def _unit(rows: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Normalise vectors to length 1; zero vectors stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
