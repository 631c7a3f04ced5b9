"""Reference backend: plain masked attention, exact for every pattern, dtype and device. Verifies all other backends."""

from functools import lru_cache
from operator import index

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sculpt4d.attention.patterns import Pattern

Heads = Float[Tensor, "b h n d"]
Keys = Float[Tensor, "b h m d"]


def reference(q: Heads, k: Keys, v: Keys, pattern: Pattern, frames: int) -> Heads:
    """PyTorch's attention under a boolean mask of (t*p)^2; without a mask if the pattern hides nothing."""
    k, v = pattern.keys(k, q.shape[2]), pattern.keys(v, q.shape[2])
    tokens = index(q.shape[2]) // index(frames)  # under torch.compile the mask is a constant for the current sizes
    return F.scaled_dot_product_attention(q, k, v, attn_mask=token_mask(pattern, index(frames), tokens, q.device))


def token_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"] | None:
    """Visible keys of every query, token by token; None if every query sees every key."""
    return _token_mask(pattern, frames, tokens, device)


# What torch.compiler.assume_constant_result sets; calling it here would import torch._dynamo, half of torch's own time.
token_mask._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a mask created in validation is reused in training
def _token_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"] | None:
    if pattern.hides_nothing(frames, tokens):
        return None
    visible = block_mask(pattern, frames, tokens, device)
    size = tokens // pattern.units(tokens)
    return visible.repeat_interleave(size, 0).repeat_interleave(size, 1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def block_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"]:
    """Block mask of the pattern. Raises ValueError if it leaves queries without keys, whose attention is undefined."""
    units = pattern.units(tokens)
    mask = pattern.mask(frames, units)
    blind = (~mask.any(1)).nonzero().flatten()
    if len(blind):
        frame, block = divmod(int(blind[0]), units)
        raise ValueError(
            f"{pattern} leaves {len(blind)} blocks of queries without keys, block {block} of frame {frame} first: "
            "let every block see at least itself"
        )
    return mask.to(device)
