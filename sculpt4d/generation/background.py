"""Background removal: an object mask from alpha, from a plain background colour, or from rembg.

The plain method fits the background to the image border. The object is every pixel that differs from the fit.
"""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu

from sculpt4d.optional import require
from sculpt4d.render.compositing import bytes_on_white

log = logging.getLogger(__name__)

METHODS = ("auto", "alpha", "plain", "rembg", "none")
OPAQUE = 250  # alpha of 255; a pixel below it makes the alpha channel a mask
BORDER = 0.02  # border width for the background fit, as a fraction of the shorter side
PLAIN = 8.0  # CIELAB distance to the fit up to which a border pixel is background
PLAIN_SHARE = 0.75  # fraction of the border that must be background; an object may cross the rest
LOWEST, HIGHEST = 4.0, 7.0  # CIELAB limits of the threshold: compression noise lies below, pale parts are lost above
PART = 0.05  # smallest separate part that is kept, as a fraction of the largest part
HOLE = 0.005  # largest hole that is filled, as a fraction of the object; larger ones are background

Rgba = UInt8[np.ndarray, "h w 4"]


def remove_background(frames: Sequence[Rgba], method: str = "auto", source: str = "input") -> tuple[list[Rgba], str]:
    """Set alpha to the object mask. Returns the frames and a description of the method used.

    `alpha` uses the alpha channel. `plain` removes a background of one colour or a soft gradient. `rembg` uses the
    package of that name. `none` keeps the whole image. `auto` is `alpha` if any alpha lies below 250 of 255, else
    `plain`. Raises ValueError if the clip does not meet the requirements of the method.
    """
    if method not in METHODS:
        raise ValueError(f"background={method}: choose one of {', '.join(METHODS)}")
    masked = any(bool((frame[..., 3] < OPAQUE).any()) for frame in frames)
    if method == "auto":
        method = "alpha" if masked else "plain"
    if method == "alpha":
        if not masked:
            raise ValueError(f"{source} has no alpha channel with a mask: set background=plain, rembg or none")
        return list(frames), "alpha channel of the input"
    if method == "none":
        return [_with_alpha(frame, np.ones(frame.shape[:2])) for frame in frames], "none, the whole picture counts"
    if method == "rembg":
        return _rembg(frames), "rembg"
    return _plain([bytes_on_white(frame) for frame in frames], source)


def _with_alpha(colors: UInt8[np.ndarray, "h w c"], alpha: Float[np.ndarray, "h w"]) -> Rgba:
    return np.dstack([colors[..., :3], np.rint(255 * alpha).astype(np.uint8)])


def _rembg(frames: Sequence[Rgba]) -> list[Rgba]:
    rembg = require("rembg")
    session = rembg.new_session()
    return [np.asarray(rembg.remove(bytes_on_white(frame), session=session), dtype=np.uint8) for frame in frames]


def _plain(frames: Sequence[UInt8[np.ndarray, "h w 3"]], source: str) -> tuple[list[Rgba], str]:
    """Fit one background and one threshold for the whole clip, so that the mask does not flicker."""
    labs = [rgb2lab(frame).astype(np.float32) for frame in frames]
    height, width = frames[0].shape[:2]
    band = max(2, round(BORDER * min(height, width)))
    border = np.ones((height, width), dtype=bool)
    border[band:-band, band:-band] = False
    ground = fit_ground(np.median([lab[border] for lab in labs], axis=0), border)
    distances = [np.linalg.norm(lab - ground, axis=-1) for lab in labs]
    residual = np.concatenate([distance[border] for distance in distances])
    share = float((residual < PLAIN).mean())
    if share < PLAIN_SHARE:
        raise ValueError(
            f"{source} has no alpha and no plain ground (only {share:.0%} of the border is of one colour): "
            "give RGBA frames, set background=rembg, or set background=none to keep the whole picture"
        )
    noise = float(np.quantile(residual[residual < PLAIN], 0.99))
    otsu = float(threshold_otsu(np.stack(distances)))
    threshold = float(np.clip(otsu, max(LOWEST, 1.5 * noise), max(HIGHEST, 1.5 * noise)))
    color = ", ".join(str(round(float(value))) for value in np.median(np.stack(frames)[:, border], axis=(0, 1)))
    described = (
        f"plain ground read from the border, colour ({color}), object beyond a CIELAB distance of {threshold:.1f}, "
        f"parts under {PART:.0%} of the largest dropped, holes under {HOLE:.1%} of the object closed"
    )
    log.info("background: %s", described)
    return [_cut(frame, distance > threshold) for frame, distance in zip(frames, distances, strict=True)], described


def fit_ground(
    colors: Float[np.ndarray, "n 3"], border: Bool[np.ndarray, "h w"], rounds: int = 4
) -> Float[np.ndarray, "h w 3"]:
    """Background colour of every pixel: a quadratic in x and y per channel, fitted to the border without outliers.

    The border determines all six coefficients, since only a quartic vanishes on all four sides. `colors` are those of
    the True pixels of `border` in row order. The fit starts from the median, so an object may touch less than half of
    the border.
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in border.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    rows = terms[border]
    near = np.linalg.norm(colors - np.median(colors, axis=0), axis=1)
    kept = near <= max(PLAIN, float(np.median(near)) * 2)
    weights = np.zeros((6, 3))
    for _ in range(rounds):
        weights = np.linalg.lstsq(rows[kept], colors[kept], rcond=None)[0]
        error = np.linalg.norm(colors - rows @ weights, axis=1)
        kept = error <= max(1.0, 3 * float(np.median(error)))
    return (terms @ weights).astype(np.float32)


def clean(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Remove specks and fill pinholes, with the fractions PART and HOLE."""
    labels, count = ndimage.label(ndimage.binary_opening(mask))
    if count == 0:
        return np.zeros_like(mask)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    solid = (areas >= PART * areas.max())[labels]
    holes, _ = ndimage.label(~solid)
    sizes = np.bincount(holes.ravel())
    small = sizes <= HOLE * solid.sum()
    edges = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    small[edges] = False  # background enclosed by the image edge is not a hole
    small[0] = False  # label 0 is the object itself
    return solid | small[holes]


def _cut(colors: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> Rgba:
    """Cut out the object with an edge one pixel soft. Mixed pixels take the colour of the nearest inner pixel."""
    solid = clean(mask)
    alpha = np.clip(ndimage.gaussian_filter(solid.astype(np.float32), 0.8), 0, 1)
    alpha[alpha < 0.05] = 0
    inner = ndimage.binary_erosion(solid, border_value=1)
    if inner.any():
        nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
        colors = np.where((alpha > 0)[..., None], colors[tuple(nearest)], colors)
    return _with_alpha(colors, alpha)
