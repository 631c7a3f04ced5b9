"""Compositing of RGBA images over a white background."""

import numpy as np
from jaxtyping import Float32, UInt8


def on_white(rgba: UInt8[np.ndarray, "*n 4"]) -> Float32[np.ndarray, "*n 3"]:
    """RGB from 0 to 255 over white. `rgba` (uint8) has straight alpha."""
    pixels = rgba.astype(np.float32)
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


def bytes_on_white(rgba: UInt8[np.ndarray, "*n 4"]) -> UInt8[np.ndarray, "*n 3"]:
    """Same as `on_white`, rounded to uint8."""
    return np.rint(on_white(rgba)).astype(np.uint8)
