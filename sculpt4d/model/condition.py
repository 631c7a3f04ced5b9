"""Image conditioners: DINOv2 for the released base, a small convolutional encoder for small models."""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoConditioner(nn.Module):
    """DINOv2 image encoder (base spec 3.2).

    Maps images (b, 3, h, w) in [0, 1] to the class and patch tokens (b, 1 + patches, x). `size` is the native image
    size of the weights, 518 for the release. The network is built from a configuration, so nothing is downloaded. The
    weights come with a checkpoint.
    """

    def __init__(self, size: int = 518, trainable: bool = False, **config: Any) -> None:
        super().__init__()
        from transformers import Dinov2Config, Dinov2Model  # takes 0.5 s, so imported only if needed

        self.size = size
        self.model = Dinov2Model(Dinov2Config(**{"image_size": size} | config))
        self.requires_grad_(trainable)

    @property
    def width(self) -> int:
        """Channels of a context token."""
        return int(self.model.config.hidden_size)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b s x"]:
        return self.model(self.pixel_values(images)).last_hidden_state

    def pixel_values(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 {self.size} {self.size}"]:
        """Encoder input, in the encoder's dtype: shorter side resized to `size`, centre crop, normalised."""
        dtype = next(self.model.parameters()).dtype
        height, width = images.shape[-2:]
        shorter = min(height, width)
        rows, columns = self.size * height // shorter, self.size * width // shorter
        resized = images.to(dtype)
        if (rows, columns) != (height, width):  # float32 at every precision, as in the release
            resized = functional.interpolate(resized.float(), (rows, columns), mode="bilinear", antialias=True).to(
                dtype
            )
        top, left = round((rows - self.size) / 2), round((columns - self.size) / 2)  # half to even
        square = resized[..., top : top + self.size, left : left + self.size]
        mean, deviation = square.new_tensor(MEAN)[:, None, None], square.new_tensor(DEVIATION)[:, None, None]
        return (square - mean) / deviation


class PatchConditioner(nn.Module):
    """Small image encoder trained with the base: three strided convolutions, then transformer layers.

    Maps images (b, 3, size, size) in [0, 1] to (b, (size / 8)^2, width).
    """

    def __init__(self, size: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        thin, middle = max(8, width // 4), max(8, width // 2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, thin, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(thin, middle, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(middle, width, 3, stride=2, padding=1),
        )
        self.position = nn.Parameter(0.02 * torch.randn(1, (size // 8) ** 2, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b s x"]:
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(
                images, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        features = rearrange(self.stem((1 - 2 * images).to(self.position.dtype)), "b x h w -> b (h w) x")
        return self.layers(features + self.position)


def drop_context(
    context: Float[Tensor, "b t s x"], probability: float, generator: torch.Generator | None
) -> Float[Tensor, "b t s x"]:
    """Zero the context of whole clips with the given probability, to train for classifier-free guidance."""
    keep = torch.rand(context.shape[0], generator=generator) >= probability
    return context * keep.to(context)[:, None, None, None]
