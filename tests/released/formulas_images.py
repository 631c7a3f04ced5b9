"""The two image preparations of the release, with OpenCV's resizing: for inference and for a training view."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 5  # pixels kept around the foreground of a training view
PADDING = 1.15  # side of a training view's square over its crop


def on_white(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours on white and the alpha mask, both truncated to bytes."""
    colour, alpha = rgba[..., :3].astype(np.float32), rgba[..., 3:].astype(np.float32) / 255
    composed = (colour * alpha + 255 * (1 - alpha)).clip(0, 255)
    return composed.astype(np.uint8), (alpha * 255).clip(0, 255).astype(np.uint8)


def recentre(rgba: np.ndarray, border: float) -> np.ndarray:
    """The foreground, less its last row and column, scaled into the middle of an empty square."""
    rows, columns = rgba[..., 3].nonzero()
    crop = rgba[rows.min() : rows.max(), columns.min() : columns.max()]
    side, height, width = max(rgba.shape[:2]), *crop.shape[:2]
    scale = int(side * (1 - border)) / max(height, width)
    height, width = int(height * scale), int(width * scale)
    canvas = np.zeros((side, side, 4), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
    canvas[top : top + height, left : left + width] = resized
    return canvas


def signed(image: np.ndarray) -> Tensor:
    """Bytes (h, w, c) to (1, c, h, w) in [-1, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 255 * 2 - 1).permute(2, 0, 1)[None]


def inference_case(rgba: Tensor, size: int, border: float) -> dict[str, Tensor]:
    """What the pipeline makes of an RGBA image (h, w, 4)."""
    colour, mask = on_white(recentre(rgba.numpy(), border))
    image = cv2.resize(colour, (size, size), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)[..., None]
    found = {"recentred_rgb": torch.from_numpy(colour), "recentred_mask": torch.from_numpy(mask)}
    return found | {"image": signed(image), "mask": signed(small)}


def training_view(rgba: Tensor, size: int) -> dict[str, Tensor]:
    """What training makes of a rendered view (h, w, 4): cropped with a margin, padded, resized with antialias."""
    colour, mask = on_white(rgba.numpy())
    rows, columns = mask[..., 0].nonzero()
    window = tuple(slice(max(axis.min() - MARGIN, 0), axis.max() + MARGIN) for axis in (rows, columns))
    colour, alpha = colour[window], mask[window][..., 0]
    side = int(PADDING * max(alpha.shape))
    top, left = ((side - length) // 2 for length in alpha.shape)
    place = (slice(top, top + alpha.shape[0]), slice(left, left + alpha.shape[1]))
    square, empty = np.full((side, side, 3), 255, np.uint8), np.zeros((side, side), np.uint8)
    square[place], empty[place] = colour, alpha

    def resized(image: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
        return (functional.interpolate(tensor, (size, size), mode="bilinear", antialias=True)[0] - 0.5) / 0.5

    found = {"padded_rgb": torch.from_numpy(square), "padded_mask": torch.from_numpy(empty)}
    return found | {"image": resized(square), "mask": resized(empty[..., None])}


def image_outputs(io: dict[str, Tensor], size: int, border: float) -> dict[str, Tensor]:
    """Everything `image_preproc` holds, from its `.rgba` entries."""
    found: dict[str, Tensor] = {}
    for name in (name.removesuffix(".rgba") for name in io if name.endswith(".rgba")):
        rgba = io[f"{name}.rgba"]
        case = training_view(rgba, size) if name == "train_view" else inference_case(rgba, size, border)
        found |= {f"{name}.{key}": image for key, image in case.items()}
    return found
