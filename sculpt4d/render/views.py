"""Renderer selection. All renderers share one camera convention."""

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from sculpt4d.render.cameras import Camera
from sculpt4d.types import Drawable


class Renderer(Protocol):
    """Function that draws a mesh from every camera: square RGBA images, straight alpha (`embree.render_views`)."""

    def __call__(
        self, drawable: Drawable, cameras: Sequence[Camera], size: int
    ) -> list[UInt8[np.ndarray, "{size} {size} 4"]]: ...


# Modules with a function `render_views`, imported on demand: one of them loads torch.
RENDERERS: Mapping[str, str] = MappingProxyType(
    {
        "embree": "sculpt4d.render.embree",
        "blender": "sculpt4d.render.blender",
        "pytorch3d": "sculpt4d.render.pytorch3d",
    }
)


def draw_views(
    drawable: Drawable, cameras: Sequence[Camera], size: int, renderer: str = "embree"
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """Render one image per camera.

    Raises ValueError for an unknown renderer, ImportError for one that is not installed.
    """
    if renderer not in RENDERERS:
        raise ValueError(f"renderer={renderer}: choose one of {', '.join(RENDERERS)}")
    render: Renderer = importlib.import_module(RENDERERS[renderer]).render_views
    return render(drawable, cameras, size)
