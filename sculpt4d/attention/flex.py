"""flex_attention backend: any block mask. Compiled on CUDA with gradients, uncompiled on the CPU for checks."""

from collections.abc import Callable
from functools import cache, lru_cache
from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.reference import block_mask

Heads = Float[Tensor, "b h n d"]

TILE = 128  # rows and columns of a kernel tile


def flex(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """Attention under any block mask; gradients on CUDA only."""
    if not pattern.block_masked:
        raise ValueError(f"backend flex cannot run {pattern}: use backend=merged")
    if not q.is_cuda and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError(
            "backend flex has gradients on CUDA only: use backend=merged, or backend=reference for any mask"
        )
    if q.is_cuda and (q.dtype == torch.float64 or q.shape[3] < 16):
        raise ValueError(
            f"backend flex takes heads of 16 up in float32, float16 or bfloat16, got {q.shape[3]} in {q.dtype}: "
            "use backend=merged or backend=reference"
        )
    if q.numel() >= 2**31:  # the kernels use 32-bit addresses for keys and values
        raise ValueError(
            f"backend flex addresses fewer than 2^31 numbers, {q.numel()} were given: pass fewer clips at a time, "
            "or use backend=merged"
        )
    mask = tiles(pattern, frames, q.shape[2] // frames, q.device)
    run: Any = _compiled() if q.is_cuda else flex_attention
    return run(q, k, v, block_mask=mask)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a mask created in validation is reused in training
def tiles(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> BlockMask:
    """Lists of the partly and the fully visible tiles, computed on blocks, never token by token.

    The result always has a real mask_mod: uncompiled flex_attention reads nothing else, and one of its kernels treats a
    mask_mod that hides nothing as a missing mask.
    """
    visible, size = block_mask(pattern, frames, tokens, device), tokens // pattern.blocks(tokens)
    unit = gcd(size, TILE)  # tokens; block and tile are whole multiples of a unit
    units = visible.repeat_interleave(size // unit, 0).repeat_interleave(size // unit, 1)
    side = TILE // unit
    missing = -len(units) % side
    units = F.pad(units, (0, missing, 0, missing)).unflatten(1, (-1, side)).unflatten(0, (-1, side))
    counts = units.sum((1, 3))
    whole = counts == side**2
    lists = (*_listed((counts > 0) & ~whole), *_listed(whole))
    length = (frames * tokens, frames * tokens)
    return BlockMask.from_kv_blocks(*lists, BLOCK_SIZE=TILE, mask_mod=_lookup(visible, size), seq_lengths=length)


def _listed(tiles: Bool[Tensor, "q k"]) -> tuple[Tensor, Tensor]:
    """Number of tiles per row, and a list of all columns with the row's tiles first."""
    columns = tiles.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    return tiles.sum(1, dtype=torch.int32)[None, None], columns.to(torch.int32)[None, None].contiguous()


def _lookup(visible: Bool[Tensor, "q k"], size: int) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """mask_mod for a visibility table.

    It is a lambda: flex_attention counts arguments, which run-time type checks would hide.
    """
    return lambda batch, head, query, key: visible[query // size, key // size]


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)
