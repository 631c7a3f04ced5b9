"""How the small models' training pictures differ from each other: paint, lamps, and what a mask leaves of the ground.

Shape is to be read from outline and shading. Files without colours get a random paint in every view, files with
colours in some of them; each view has lamps of its own, and a mask edge as rough as that of a segmented video.
"""

import colorsys
import math
from typing import NamedTuple

import igl
import numpy as np
from jaxtyping import Float32, Integer, UInt8
from scipy import ndimage

from sculpt4d.data.render import Light, Studio
from sculpt4d.types import AnimatedMesh, Appearance

REPAINTED = 0.3  # of the views of a file that has colours
SPREAD = 0.03  # deviation of the corners' colours below which a file without textures has none
KINDS = ("plain", "parts", "patches", "bands", "gradient")
PATCHES = 7
ROUGH = 0.7  # of the views have a rough mask edge
BLUR = 0.7  # pixels: largest deviation of the blur that stands for a lens and a codec


class Look(NamedTuple):
    """One view of a clip: the object's colours, the lamps, the ground's colour (sRGB, 0 to 255) and how much of it is
    left along the mask's edge (pixels, 0: nothing), and a blur (deviation in pixels)."""

    appearance: Appearance
    studio: Studio
    ground: Float32[np.ndarray, "3"]
    residue: float
    blur: float


def random_looks(animated: AnimatedMesh, views: int, rng: np.random.Generator) -> list[Look]:
    """A look for every view."""
    own = animated.appearance
    painted = own is not None and has_colors(own)
    looks = []
    for _ in range(views):
        if own is not None and painted and rng.random() >= REPAINTED:
            appearance = own
        else:
            appearance = random_paint(animated.rest, animated.faces, rng)
        ground = (255 * rng.random(3) ** 0.7).astype(np.float32)
        residue = float(rng.uniform(0.3, 1.5)) if rng.random() < ROUGH else 0.0
        looks.append(Look(appearance, random_studio(rng), ground, residue, float(rng.uniform(0, BLUR))))
    return looks


def has_colors(appearance: Appearance) -> bool:
    """Whether the file says more than one colour for the whole object."""
    return bool(appearance.textures) or float(appearance.colors.std(axis=(0, 1)).max()) > SPREAD


def random_paint(
    rest: Float32[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], rng: np.random.Generator
) -> Appearance:
    """Colours fixed to the material: one, one per connected part, patches, bands or a gradient of two or more."""
    low, extent = rest.min(axis=0), float(np.ptp(rest, axis=0).max())
    places = ((rest - low) / max(extent, 1e-12)).astype(np.float32)
    kind = KINDS[rng.integers(len(KINDS))]
    palette = np.array([_color(rng) for _ in range(PATCHES)], dtype=np.float32)
    if kind == "parts":
        part = igl.facet_components(np.ascontiguousarray(faces, dtype=np.int64))[1]
        colors = np.repeat(palette[rng.integers(PATCHES, size=int(part.max()) + 1)[part]][:, None], 3, axis=1)
    elif kind == "patches":
        seeds = places[rng.integers(len(places), size=PATCHES)]
        near = np.linalg.norm(places[:, None] - seeds[None], axis=2).argmin(axis=1)
        colors = np.repeat(palette[near[faces[:, :1]]], 3, axis=1)  # sharp borders: one colour a face
    elif kind in ("bands", "gradient"):
        direction = rng.standard_normal(3).astype(np.float32)
        along = places @ (direction / np.linalg.norm(direction))
        if kind == "bands":
            share = (np.sin(along * rng.uniform(6, 30) + rng.uniform(0, 6)) > 0).astype(np.float32)
        else:
            share = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
        colors = (palette[0] + share[:, None] * (palette[1] - palette[0]))[faces]
    else:
        colors = np.tile(palette[0], (len(faces), 3, 1))
    count = len(faces)
    return Appearance(
        np.ascontiguousarray(colors, np.float32), np.zeros((count, 3, 2), np.float32), np.full(count, -1), ()
    )


def _color(rng: np.random.Generator) -> tuple[float, float, float]:
    """sRGB; greys, browns and pale colours are as frequent as in pictures of animals and vehicles."""
    return colorsys.hsv_to_rgb(float(rng.random()), float(rng.beta(1.2, 1.8)), float(rng.uniform(0.12, 1.0)))


def random_studio(rng: np.random.Generator) -> Studio:
    """A key lamp from above, a weaker fill from the other side, ambient light; slightly coloured."""
    angle, height = rng.uniform(-math.pi / 2, math.pi / 2), rng.uniform(-0.1, 1.2)
    key = (math.sin(angle), math.sin(height) + 0.2, math.cos(angle) * 0.8 + 0.2)
    fill = (-math.sin(angle), rng.uniform(-0.3, 0.5), rng.uniform(-0.6, 0.6))
    tint = lambda strength: tuple((strength * rng.uniform(0.85, 1.15, 3)).tolist())  # noqa: E731
    ambient = rng.uniform(0.2, 0.55)
    lamps = (Light(key, tint(rng.uniform(0.35, 0.95) * (1.15 - ambient))), Light(fill, tint(rng.uniform(0.0, 0.35))))
    return Studio(lamps, np.array(tint(ambient), dtype=np.float32))


def roughen(view: UInt8[np.ndarray, "h w 4"], look: Look, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 4"]:
    """The view as a segmented video frame: blurred, ground showing in places along an edge that is not quite right."""
    if look.residue == 0 and look.blur < 0.05:
        return view
    alpha = view[..., 3:].astype(np.float32) / 255
    flat = view[..., :3] * alpha + look.ground * (1 - alpha)  # the frame before it was cut out
    flat = ndimage.gaussian_filter(flat, (look.blur, look.blur, 0))
    if look.residue > 0:
        bumps = ndimage.gaussian_filter(rng.standard_normal(alpha.shape[:2]), 3.0)
        bumps = look.residue * bumps / max(float(np.abs(bumps).max()), 1e-6)  # pixels, outward where positive
        inside = alpha[..., 0] > 0.5
        outward = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
        near = np.abs(outward) < 4
        cut = np.clip(0.5 + bumps - outward + 0.5 * np.sign(outward), 0, 1)[..., None]
        alpha = np.where(near[..., None], cut, alpha).astype(np.float32)
    picture = np.concatenate([flat, 255 * alpha], axis=2)
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
