"""Rotary embedding of the frame index, the only source of frame order in temporal attention.

Dimension m of a head is rotated together with dimension m + d/2 by the angle i * base^(-2m/d), i being the frame
(RoFormer, arXiv 2104.09864, with frames instead of words). So logits depend on i - j only. Always computed in float32:
bfloat16 is too coarse for angles.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def angles(positions: Float[Tensor, " t"], width: int, base: float = 10000.0) -> Float[Tensor, "t half"]:
    """Angles in radians, float32, of the `width / 2` pairs of a head at every position (frames; fractions allowed)."""
    if width % 2:
        raise ValueError(
            f"a head of {width} dimensions has no pairs to rotate: set model width and heads to an even head width"
        )
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device) / width
    return positions.float()[:, None] * base**-exponents


def rotate(
    heads: Float[Tensor, "b h t p d"], positions: Float[Tensor, " t"] | None = None, base: float = 10000.0
) -> Float[Tensor, "b h t p d"]:
    """Rotate queries or keys by their frame. `positions`: frame indices, by default 0, 1, 2, ..."""
    frames, _, width = heads.shape[-3:]
    if positions is None:
        positions = torch.arange(frames, dtype=torch.float32, device=heads.device)
    with torch.autocast(heads.device.type, enabled=False):
        turn = angles(positions, width, base)[:, None]
        cos, sin = turn.cos(), turn.sin()
        first, second = heads.to(torch.promote_types(heads.dtype, torch.float32)).chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(heads.dtype)
