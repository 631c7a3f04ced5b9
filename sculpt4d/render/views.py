"""Choice of the renderer; all of them share one camera convention."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from sculpt4d.render import blender, embree, pytorch3d
from sculpt4d.render.cameras import Camera
from sculpt4d.types import Drawable


class Renderer(Protocol):
    """Draws a mesh from every camera: square RGBA images, colours not multiplied by alpha (`embree.render_views`)."""

    def __call__(
        self, drawable: Drawable, cameras: Sequence[Camera], size: int
    ) -> list[UInt8[np.ndarray, "{size} {size} 4"]]: ...


RENDERERS: dict[str, Renderer] = {
    "embree": embree.render_views,
    "blender": blender.render_views,
    "pytorch3d": pytorch3d.render_views,
}


def draw_views(
    drawable: Drawable, cameras: Sequence[Camera], size: int, renderer: str = "embree"
) -> list[UInt8[np.ndarray, "{size} {size} 4"]]:
    """One image per camera. Raises ValueError for an unknown renderer, ImportError for one that is not installed."""
    if renderer not in RENDERERS:
        raise ValueError(f"renderer={renderer}: choose one of {', '.join(RENDERERS)}")
    return RENDERERS[renderer](drawable, cameras, size)
