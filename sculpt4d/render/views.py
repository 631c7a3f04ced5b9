"""The pictures of one frame by the renderer that was asked for; all of them share one camera convention."""

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

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


# Modules with a function `render_views`, imported when they are asked for: one of them loads torch.
RENDERERS: Mapping[str, str] = MappingProxyType(
    {
        "embree": "sculpt4d.render.embree",
        "blender": "sculpt4d.render.blender",
        "pytorch3d": "sculpt4d.render.pytorch3d",
    }
)


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
    render: Renderer = importlib.import_module(RENDERERS[renderer]).render_views
    return render(mesh.vertices, mesh.faces, colors, cameras, size, appearance is not None, appearance)
