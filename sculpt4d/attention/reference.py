"""Masked attention written plainly: exact for every pattern, dtype and device, and the judge of all other backends."""

from functools import lru_cache
from operator import index

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sculpt4d.attention.adaptive import PairwisePattern
from sculpt4d.attention.joint import JointPattern
from sculpt4d.attention.patterns import PackedPattern, Pattern, SameTokenPattern, StridedPattern

Heads = Float[Tensor, "b h n d"]
Keys = Float[Tensor, "b h m d"]


def reference(q: Heads, k: Keys, v: Keys, pattern: Pattern, frames: int) -> Heads:
    """PyTorch's attention under a boolean mask of (t*p)^2; without one where the pattern hides nothing."""
    if isinstance(pattern, PackedPattern):
        k, v = pattern.pool(k), pattern.pool(v)
    if isinstance(pattern, JointPattern):
        k, v = pattern.seen(k, q.shape[2]), pattern.seen(v, q.shape[2])
    tokens = index(q.shape[2]) // index(frames)  # under torch.compile the mask is a constant for the sizes at hand
    return F.scaled_dot_product_attention(q, k, v, attn_mask=token_mask(pattern, index(frames), tokens, q.device))


def token_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"] | None:
    """Which key every query sees, token by token; None where every query sees every key."""
    return _token_mask(pattern, frames, tokens, device)


# What torch.compiler.assume_constant_result sets; calling it here would import torch._dynamo, half of torch's own time.
token_mask._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a mask first met in validation must still serve training
def _token_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"] | None:
    if hides_nothing(pattern, frames, tokens):
        return None
    if isinstance(pattern, PackedPattern):
        pattern.blocks(tokens)
        return pattern.mask(frames, tokens).to(device)
    visible = block_mask(pattern, frames, tokens, device)
    size = tokens // pattern.blocks(tokens)
    return visible.repeat_interleave(size, 0).repeat_interleave(size, 1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def block_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"]:
    """The pattern's mask of blocks; ValueError when it leaves queries without keys, whose attention is undefined."""
    mask = pattern.mask(frames, pattern.blocks(tokens))
    blind = (~mask.any(1)).nonzero().flatten()
    if len(blind):
        frame, block = divmod(int(blind[0]), pattern.blocks(tokens))
        raise ValueError(
            f"{pattern} leaves {len(blind)} blocks of queries without keys, block {block} of frame {frame} first: "
            "let every block see at least itself"
        )
    return mask.to(device)


@lru_cache(maxsize=64)
def hides_nothing(pattern: Pattern, frames: int, tokens: int) -> bool:
    """Whether every query sees every key."""
    blocks = pattern.blocks(tokens)
    if isinstance(pattern, SameTokenPattern):
        return False
    if isinstance(pattern, JointPattern):
        return True
    if isinstance(pattern, StridedPattern):  # the mask of a long clip would be the largest tensor of all
        alone = pattern.anchor and frames == 1
        return alone or all(min(pattern.stride(distance), blocks) == 1 for distance in range(frames))
    if isinstance(pattern, PairwisePattern):
        return all(min(stride, blocks) == 1 for row in pattern.strides for stride in row)
    return bool(pattern.mask(frames, blocks).all())
