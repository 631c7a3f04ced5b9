"""Temporal attention under a pattern: one signature, four ways to compute it, and the rule that picks among them.

Queries, keys and values are (b, h, t*p, d), frame by frame, normed and rotated. `reference` is exact everywhere and
judges the others; `merged` (its own file) is the default; `flex` takes any mask on CUDA; `block_sparse` is the kernel
the paper used.
"""

import logging
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from sculpt4d.attention.merged import merged
from sculpt4d.attention.patterns import PackedPattern, Pattern, RadialPattern, SameTokenPattern, StridedPattern
from sculpt4d.optional import require

log = logging.getLogger(__name__)

Heads = Float[Tensor, "b h n d"]
Backend = Callable[[Tensor, Tensor, Tensor, Pattern, int], Tensor]

SHORT = 1200  # tokens of a clip; below, one masked call beats many small ones (measured on one CPU core)
TILE = 128  # tokens of a tile of the flex and block_sparse kernels


def attend(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int, backend: str = "auto") -> Heads:
    """Attention of every token to the tokens its pattern shows it, among `frames` frames of equal token count."""
    if frames < 1 or q.shape[2] % frames:
        raise ValueError(f"{q.shape[2]} tokens are not {frames} frames of equal size: pass the clip's number of frames")
    run, reason = choose(backend, q, pattern, frames)
    _announce(run.__name__, reason)
    return run(q, k, v, pattern, frames)


def choose(name: str, q: Tensor, pattern: Pattern, frames: int) -> tuple[Backend, str]:
    """The backend and why. `auto`: the fastest one that can run this pattern here; ValueError for an unknown name."""
    if name in BACKENDS:
        return BACKENDS[name], "as asked"
    if name != "auto":
        raise ValueError(f"there is no attention backend {name!r}: set backend to auto, {', '.join(BACKENDS)}")
    if isinstance(pattern, SameTokenPattern):
        return merged, "a token's own timeline is a transpose"
    if _dense(pattern, frames, q.shape[2] // frames):
        return reference, "the pattern hides nothing"
    if isinstance(pattern, PackedPattern):
        return merged, "every distance has its own dense keys"
    if q.shape[2] < SHORT:
        return reference, f"clips under {SHORT} tokens"
    if isinstance(pattern, StridedPattern):
        return merged, "the mask splits into dense pieces"
    if q.is_cuda:
        return flex, "an arbitrary mask on CUDA"
    return reference, "an arbitrary mask without CUDA"


def reference(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """Masked scaled dot-product attention, any dtype and device; keeps a boolean mask of (t*p)^2."""
    tokens = q.shape[2] // frames
    if isinstance(pattern, PackedPattern):
        k, v = pattern.pool(k), pattern.pool(v)
    if _dense(pattern, frames, tokens):
        return F.scaled_dot_product_attention(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=token_mask(pattern, frames, tokens, q.device))


def flex(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """PyTorch's flex_attention, compiled on CUDA; on the CPU uncompiled, forward only, for checks."""
    if isinstance(pattern, SameTokenPattern | PackedPattern):
        raise ValueError(f"backend flex cannot run {pattern}: use backend=merged")
    if not q.is_cuda and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError(
            "backend flex has gradients on CUDA only: use backend=merged, or backend=reference for any mask"
        )
    mask = _flex_mask(pattern, frames, q.shape[2] // frames, q.device)
    run: Any = _compiled_flex() if q.is_cuda else flex_attention
    return run(q, k, v, block_mask=mask)


def block_sparse(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """The MIT HAN Lab's Block-Sparse-Attention: CUDA, half precision, heads of 32, 64 or 128, blocks of exactly 128."""
    if not isinstance(pattern, StridedPattern | RadialPattern) or pattern.block_size != TILE:
        raise ValueError(
            f"backend block_sparse runs masks over blocks of {TILE} tokens, not {pattern}: use backend=merged"
        )
    if not q.is_cuda or q.dtype not in (torch.float16, torch.bfloat16) or q.shape[3] not in (32, 64, 128):
        raise ValueError(
            "backend block_sparse needs float16 or bfloat16 on CUDA and heads of 32, 64 or 128, "
            f"got {q.dtype} on {q.device} and heads of {q.shape[3]}: use backend=merged"
        )
    package = require("block_sparse_attn")
    batch, heads, length, _ = q.shape
    visible = _block_mask(pattern, frames, length // frames, q.device).expand(batch, heads, -1, -1)
    bounds = torch.arange(0, (batch + 1) * length, length, dtype=torch.int32, device=q.device)
    kinds = torch.ones(heads, dtype=torch.int32, device=q.device)  # 1: a head with a mask of its own
    packed = (x.transpose(1, 2).flatten(0, 1).contiguous() for x in (q, k, v))
    out = package.block_sparse_attn_func(
        *packed, bounds, bounds, kinds, None, visible.contiguous(), length, length, 0.0, is_causal=False
    )
    return out.unflatten(0, (batch, length)).transpose(1, 2)


BACKENDS: dict[str, Backend] = {run.__name__: run for run in (reference, merged, flex, block_sparse)}


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a mask first met in validation must still serve training
def token_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"]:
    """Which key every query sees, token by token."""
    blocks = pattern.blocks(tokens)
    if isinstance(pattern, PackedPattern):
        return pattern.mask(frames, tokens).to(device)
    size = tokens // blocks
    return pattern.mask(frames, blocks).repeat_interleave(size, 0).repeat_interleave(size, 1).to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _block_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"]:
    return pattern.mask(frames, pattern.blocks(tokens)).to(device)


@lru_cache(maxsize=64)
def _dense(pattern: Pattern, frames: int, tokens: int) -> bool:
    """Whether every query sees every key, so that no mask is needed."""
    blocks = pattern.blocks(tokens)
    return not isinstance(pattern, SameTokenPattern) and bool(pattern.mask(frames, blocks).all())


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _flex_mask(pattern: Pattern, frames: int, tokens: int, device: torch.device) -> BlockMask:
    """The mask for flex_attention: lists of whole tiles where blocks are tiles, otherwise found token by token.

    It always carries a true mask_mod: uncompiled flex_attention reads nothing else, and without one runs dense.
    """
    visible = _block_mask(pattern, frames, tokens, device)
    length, size = frames * tokens, tokens // pattern.blocks(tokens)

    sees = _lookup(visible, size)
    if size != TILE:
        return create_block_mask(sees, None, None, length, length, device=device)
    count = visible.sum(1, dtype=torch.int32)[None, None]
    columns = visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True).to(torch.int32)[None, None]
    return BlockMask.from_kv_blocks(
        torch.zeros_like(count), torch.zeros_like(columns), count, columns, BLOCK_SIZE=TILE, mask_mod=sees
    )


def _lookup(visible: Bool[Tensor, "q k"], size: int) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A mask_mod. A lambda, because flex_attention counts arguments and run-time type checks would hide them."""
    return lambda batch, head, query, key: visible[query // size, key // size]


@cache
def _compiled_flex() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)


@cache
def _announce(name: str, reason: str) -> None:
    log.info("attention: %s (%s)", name, reason)
