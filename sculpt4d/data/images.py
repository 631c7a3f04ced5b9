"""Convert RGBA frames of a clip to network input: on white, one crop for all frames, one size.

All frames share one crop, so the object may move and grow within it. The base model instead crops every image on its
own (`recentre`). Margin and resizing are those of the base model's training data.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from sculpt4d.render.compositing import on_white

MARGIN = 1.15  # side of the crop divided by the longer side of the object's bounding box


def compose(frames: Sequence[np.ndarray], size: int) -> Float[Tensor, "t 3 {size} {size}"]:
    """Return RGB images in [0, 1] on white, `size` x `size`, resized bilinearly with antialiasing.

    Used by training and inference. frames: RGBA, (h, w, 4) uint8, colours not premultiplied by alpha.

    Raises ValueError, naming the frame, for an empty list, non-RGBA shapes, unequal sizes and empty masks.
    """
    _check(frames)
    top, bottom, left, right = _common_box(frames)
    height, width = bottom - top, right - left
    side = int(MARGIN * max(height, width))
    canvas = np.full((len(frames), side, side, 3), 255, dtype=np.float32)
    row, column = (side - height) // 2, (side - width) // 2
    for index, frame in enumerate(frames):
        canvas[index, row : row + height, column : column + width] = on_white(frame[top:bottom, left:right])
    pictures = torch.from_numpy(canvas).permute(0, 3, 1, 2) / 255
    resized = functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    return resized.clamp(0, 1).contiguous()


def _check(frames: Sequence[np.ndarray]) -> None:
    if len(frames) == 0:
        raise ValueError("a clip without frames: give at least one RGBA frame")
    for index, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 4 or frame.dtype != np.uint8:
            raise ValueError(
                f"frame {index} has shape {frame.shape} and type {frame.dtype}, expected (height, width, 4) uint8 RGBA"
            )
        if frame.shape != frames[0].shape:
            raise ValueError(
                f"frame {index} is {frame.shape[1]}x{frame.shape[0]} pixels but frame 0 is "
                f"{frames[0].shape[1]}x{frames[0].shape[0]}: bring all frames of a clip to one size"
            )


def _common_box(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right (ends exclusive) of the union of all masks."""
    seen = np.zeros(frames[0].shape[:2], dtype=bool)
    for index, frame in enumerate(frames):
        mask = frame[..., 3] > 0
        if not mask.any():
            raise ValueError(
                f"frame {index} of {len(frames)} is fully transparent: leave it out, or check the mask (alpha channel)"
            )
        seen |= mask
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
