"""Renderer using PyTorch3D's rasteriser on a GPU, with the rays, lamps and colours of the default renderer.

PyTorch3D looks along +z with x to the left and y up, and multiplies row vectors: seen = place @ rotation + translation.
Its image spans [-1, 1] with +1 at the left and upper borders.
"""

import importlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8

from sculpt4d.optional import require
from sculpt4d.render.cameras import Camera
from sculpt4d.render.embree import SAMPLES, Hits, prepare_scene, shade
from sculpt4d.types import Drawable


class Pytorch3dCamera(NamedTuple):
    """Camera in PyTorch3D's convention; `field` in degrees."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    field: float


def to_pytorch3d(camera: Camera) -> Pytorch3dCamera:
    """Convert a camera to PyTorch3D, in mesh coordinates (y up)."""
    pose = camera.to_mesh()
    rotation = pose[:3, :3] * np.array([-1.0, 1.0, -1.0])  # columns left, up, forward
    return Pytorch3dCamera(rotation, -pose[:3, 3] @ rotation, math.degrees(camera.field))


def render_views(
    drawable: Drawable, cameras: Sequence[Camera], size: int
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """Same as `embree.render_views`. Raises ImportError if PyTorch3D is not installed."""
    require("pytorch3d")
    renderer = importlib.import_module("pytorch3d.renderer")
    structures = importlib.import_module("pytorch3d.structures")
    vertices, faces = drawable.mesh.vertices, drawable.mesh.faces
    if len(faces) == 0:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in cameras]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = structures.Meshes(
        [torch.from_numpy(vertices).to(device)], [torch.from_numpy(faces.astype(np.int64)).to(device)]
    )
    # the naive method (bin_size 0) cannot overflow its bins for any mesh
    settings = renderer.RasterizationSettings(image_size=2 * SAMPLES * size, bin_size=0)
    scene, pictures = prepare_scene(drawable), []
    for camera in cameras:
        view = to_pytorch3d(camera)
        lens = renderer.FoVPerspectiveCameras(
            znear=0.01,
            R=torch.from_numpy(view.rotation[None]).float(),
            T=torch.from_numpy(view.translation[None]).float(),
            fov=view.field,
            device=device,
        )
        found = renderer.MeshRasterizer(cameras=lens, raster_settings=settings)(mesh)
        hits = _hits(found.pix_to_face[0, ..., 0].cpu().numpy(), found.bary_coords[0, ..., 0, :].cpu().numpy(), camera)
        pictures.append(shade(scene, hits, drawable, camera, size))
    return pictures


def _hits(faces: Integer[np.ndarray, "g g"], barycentric: Float[np.ndarray, "g g 3"], camera: Camera) -> Hits | None:
    """Convert fragments to the hits of the default renderer's rays; -1 marks pixels without a face.

    Those rays are offset from their grid by a quarter of its step, to the pixel centres of a grid twice as fine.
    """
    fine, grid = len(faces), len(faces) // 2
    row, column = np.divmod(np.arange(grid * grid), grid)
    cells = (2 * row + column % 2) * fine + 2 * column + 1 - row % 2
    rays = np.flatnonzero(faces.reshape(-1)[cells] >= 0)
    if len(rays) == 0:
        return None
    met, pose = cells[rays], camera.to_mesh().astype(np.float32)
    place = ((np.stack([met % fine, met // fine], axis=1) + 0.5) * (2 / fine) - 1) * math.tan(camera.field / 2)
    directions = place[:, :1] * pose[:3, 0] - place[:, 1:] * pose[:3, 1] - pose[:3, 2]
    weights = barycentric.reshape(-1, 3)[met, 1:]
    return Hits(rays, faces.reshape(-1)[met], weights.astype(np.float32), directions.astype(np.float32))
