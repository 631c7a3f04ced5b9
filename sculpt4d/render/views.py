"""The pictures of one frame by the renderer that was asked for; all of them share one camera convention."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from sculpt4d.render import blender
from sculpt4d.render import embree as render
from sculpt4d.render import pytorch3d as render_pytorch3d
from sculpt4d.render.cameras import Camera
from sculpt4d.types import Appearance, Mesh


class Renderer(Protocol):
    """Draws a mesh from every camera: square RGBA pictures, colours not multiplied by alpha; see `render.render`."""

    def __call__(
        self,
        vertices: Float32[np.ndarray, "v 3"],
        faces: Integer[np.ndarray, "f 3"],
        colors: Float[np.ndarray, "f 3"],
        cameras: Sequence[Camera],
        size: int,
        smooth: bool = False,
        appearance: Appearance | None = None,
    ) -> list[UInt8[np.ndarray, "{size} {size} 4"]]: ...


RENDERERS: dict[str, Renderer] = {
    "embree": render.render_views,
    "blender": blender.render_views,
    "pytorch3d": render_pytorch3d.render_views,
}


def draw_views(
    mesh: Mesh,
    colors: Float[np.ndarray, "f 3"],
    appearance: Appearance | None,
    cameras: Sequence[Camera],
    size: int,
    renderer: str = "embree",
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """One picture per camera. Meshes with an appearance are shaded smoothly, others by flat faces.

    Raises ValueError for an unknown renderer, ImportError for one that is not installed.
    """
    if renderer not in RENDERERS:
        raise ValueError(f"renderer={renderer}: choose one of {', '.join(RENDERERS)}")
    return RENDERERS[renderer](mesh.vertices, mesh.faces, colors, cameras, size, appearance is not None, appearance)
