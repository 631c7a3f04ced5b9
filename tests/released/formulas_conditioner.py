"""The image encoder over a state dict with the older DINOv2 names: resize, crop, normalise, transformer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .formulas_layers import Weights, attend, feed_forward, layer_norm, linear, under, unpack

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREFIX = "main_image_encoder.model."


def pixel_values(image: Tensor, size: int) -> Tensor:
    """Images (b, 3, h, w) in [-1, 1]: shorter side to `size`, centre crop, normalised colours."""
    height, width = image.shape[-2:]
    short, long = min(height, width), max(height, width)
    longer = int(size * long / short)
    shape = (size, longer) if height <= width else (longer, size)
    resized = functional.interpolate((image + 1) / 2, shape, mode="bilinear", antialias=True)
    top, left = (round((side - size) / 2) for side in shape)
    crop = resized[..., top : top + size, left : left + size]
    mean, spread = (torch.tensor(values, dtype=image.dtype).view(3, 1, 1) for values in (MEAN, SPREAD))
    return (crop - mean) / spread


def layer(weights: Weights, heads: int, eps: float, x: Tensor) -> Tensor:
    """One transformer layer with layer scales and plain heads."""
    part, normal = under(weights, "attention.attention."), layer_norm(weights, "norm1", x, eps)
    q, k, v = (unpack(linear(part, name, normal), heads, 1)[0] for name in ("query", "key", "value"))
    x = x + weights["layer_scale1.lambda1"] * linear(weights, "attention.output.dense", attend(q, k, v))
    normal = layer_norm(weights, "norm2", x, eps)
    return x + weights["layer_scale2.lambda1"] * feed_forward(weights, "mlp.fc1", "mlp.fc2", normal)


def image_tokens(weights: Weights, config: Mapping[str, Any], pixels: Tensor) -> Tensor:
    """Tokens (b, 1 + patches, w) after the closing norm, class token first."""
    kernel = weights["embeddings.patch_embeddings.projection.weight"]
    bias = weights["embeddings.patch_embeddings.projection.bias"]
    patches = functional.conv2d(pixels, kernel, bias, stride=config["patch_size"]).flatten(2).transpose(1, 2)
    first = weights["embeddings.cls_token"].expand(len(patches), -1, -1)
    x = torch.cat([first, patches], dim=1) + weights["embeddings.position_embeddings"]
    eps = config["layer_norm_eps"]
    for index in range(config["num_hidden_layers"]):
        x = layer(under(weights, f"encoder.layer.{index}."), config["num_attention_heads"], eps, x)
    return layer_norm(weights, "layernorm", x, eps)


def conditioner_outputs(weights: Weights, config: Mapping[str, Any], size: int, io: Weights) -> dict[str, Tensor]:
    """Everything a `conditioner_*_io` file holds, from its `image`."""
    pixels = pixel_values(io["image"], size)
    out = image_tokens(under(weights, PREFIX), config, pixels)
    return {"pixel_values": pixels, "out": out, "unconditional": torch.zeros_like(out)}
