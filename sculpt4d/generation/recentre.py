"""Image preparation of the base release, per image: at inference (base spec 3.1) and in training (5.3).

Every image has its own crop, so an object keeps the same size and position in all of them. `images.compose`, the
default of this project, keeps movement instead. The inference half needs OpenCV: the release uses its area and cubic
resizing, and no other library here reproduces them exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from sculpt4d.data.images import MARGIN
from sculpt4d.optional import require
from sculpt4d.render.compositing import on_white

BORDER = 0.15  # fraction of the square left free along the object's longer side
SIZE = 512  # side of the release's prepared image; the image encoder enlarges it to 518
REACH = 5  # pixels by which the training crop is larger than the object's box


class Picture(NamedTuple):
    """An object on white, with its mask (0 to 255)."""

    rgb: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]


class View(NamedTuple):
    """Image and mask at the requested size, both in [-1, 1]. White and the object's interior are 1."""

    image: Float[Tensor, "3 s s"]
    mask: Float[Tensor, "1 s s"]


def recentre(rgba: np.ndarray, border: float = BORDER) -> Picture:
    """Centre the object in a square as large as the image's longer side, with a margin of `border`.

    rgba: (h, w, 4) uint8, straight alpha. As in the release, the crop omits the last row and the last column of the
    object's box, so an object needs two rows and two columns.

    Raises ValueError for another shape or type, a fully transparent image and an object that is too thin.
    """
    top, bottom, left, right = _box(rgba)
    height, width = bottom - top, right - left
    side = max(rgba.shape[:2])
    scale = int(side * (1 - border)) / max(height, width, 1)
    rows, columns = int(height * scale), int(width * scale)
    if rows == 0 or columns == 0:
        raise ValueError(
            f"the object covers {width + 1}x{height + 1} pixels, which leaves {columns}x{rows} after the crop: give a "
            "larger picture of it, or check the mask (alpha channel)"
        )
    cv2 = require("cv2")
    canvas = np.zeros((side, side, 4), np.uint8)
    row, column = (side - rows) // 2, (side - columns) // 2
    canvas[row : row + rows, column : column + columns] = cv2.resize(
        rgba[top:bottom, left:right], (columns, rows), interpolation=cv2.INTER_AREA
    )
    return _picture(canvas)


def inference_view(picture: Picture, size: int = SIZE) -> View:
    """Input of the release's image encoder: cubic resizing of the colours, nearest neighbour for the mask."""
    cv2 = require("cv2")
    rgb = cv2.resize(picture.rgb, (size, size), interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize(picture.mask, (size, size), interpolation=cv2.INTER_NEAREST)
    return View(_centred(_unit(rgb)), _centred(_unit(mask[..., None])))


def recentre_clip(frames: Sequence[np.ndarray], size: int = SIZE) -> Float[Tensor, "t 3 {size} {size}"]:
    """RGB in [0, 1] on white, with every frame recentred separately. Same arguments and result as `images.compose`.

    `size` 512 gives the release's numbers; its image encoder resizes to 518.

    Raises ValueError, naming the frame, for no frames and for the errors of `recentre`; ImportError without OpenCV.
    """
    if len(frames) == 0:
        raise ValueError("a clip without frames: give at least one RGBA frame")
    images = []
    for index, frame in enumerate(frames):
        try:
            images.append(inference_view(recentre(frame), size).image)
        except ValueError as error:
            raise ValueError(f"frame {index} of {len(frames)}: {error}") from error
    return (torch.stack(images) + 1) / 2


def training_crop(rgba: np.ndarray) -> Picture:
    """Crop of the release's training set: the object's box plus a few pixels, in a white square 1.15 times as wide.

    The box grows by 5 pixels at its start and by 4 past its last row and column. Argument and errors are those of
    `recentre`, except that one pixel is enough.
    """
    top, bottom, left, right = _box(rgba)
    rgb, mask = _picture(rgba[max(top - REACH, 0) : bottom + REACH, max(left - REACH, 0) : right + REACH])
    height, width = mask.shape
    side = int(MARGIN * max(height, width))
    row, column = (side - height) // 2, (side - width) // 2
    inside = (slice(row, row + height), slice(column, column + width))
    square = Picture(np.full((side, side, 3), 255, np.uint8), np.zeros((side, side), np.uint8))
    square.rgb[inside], square.mask[inside] = rgb, mask
    return square


def training_view(picture: Picture, size: int) -> View:
    """Training input of the release: colours and mask, bilinear resizing with antialiasing."""
    both = torch.cat([_unit(picture.rgb), _unit(picture.mask[..., None])])
    resized = functional.interpolate(both[None], (size, size), mode="bilinear", antialias=True)[0]
    return View(_centred(resized[:3]), _centred(resized[3:]))


def _box(rgba: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the pixels that are not fully transparent."""
    if rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.dtype != np.uint8:
        raise ValueError(
            f"the picture has shape {rgba.shape} and type {rgba.dtype}, expected (height, width, 4) uint8 RGBA"
        )
    rows, columns = np.nonzero(rgba[..., 3])
    if len(rows) == 0:
        raise ValueError("the picture is fully transparent: leave it out, or check the mask (alpha channel)")
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def _picture(rgba: UInt8[np.ndarray, "h w 4"]) -> Picture:
    """Composite on white. Colours are truncated, not rounded, as in the release."""
    return Picture(on_white(rgba).clip(0, 255).astype(np.uint8), rgba[..., 3].copy())


def _unit(pixels: UInt8[np.ndarray, "h w c"]) -> Float[Tensor, "c h w"]:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _centred(values: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
    return values * 2 - 1
