"""The colour of places on a surface: colours of corners times textures, both interpolated."""

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from sculpt4d.types import Appearance


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
