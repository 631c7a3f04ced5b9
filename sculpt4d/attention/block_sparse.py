"""Block-sparse CUDA backend: Block-Sparse-Attention of the MIT HAN Lab, the kernel used in the paper (optional).

The package's public function sorts a mask for every head in every forward and backward pass. Our heads share one mask,
so this module calls the inner operators with lists of tiles that are sorted once.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.reference import block_mask
from sculpt4d.optional import require

Heads = Float[Tensor, "b h n d"]

TILE = 128  # tokens per block; the kernel supports no other size


class Tiles(NamedTuple):
    """Kernel arguments besides queries, keys and values."""

    bounds: Int32[Tensor, " ends"]  # boundaries of the clips in the packed tokens
    kinds: Int32[Tensor, " h"]  # mask index per head: the first for all
    rows: Int32[Tensor, "b 1 q k"]  # visible key blocks of a query block, descending, then -1
    columns: Int32[Tensor, "b 1 k q"]  # query blocks that see a key block, likewise


def block_sparse(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """Attention in half precision with heads of 32, 64 or 128 and blocks of exactly 128 tokens."""
    if not pattern.block_masked or pattern.block_size != TILE:
        raise ValueError(
            f"backend block_sparse runs masks over blocks of {TILE} tokens, not {pattern}: use backend=merged"
        )
    if not q.is_cuda or q.dtype not in (torch.float16, torch.bfloat16) or q.shape[3] not in (32, 64, 128):
        raise ValueError(
            "backend block_sparse needs float16 or bfloat16 on CUDA and heads of 32, 64 or 128, "
            f"got {q.dtype} on {q.device} and heads of {q.shape[3]}: use backend=merged"
        )
    return run(kernels(), q, k, v, pattern, frames)


def kernels() -> Any:
    """Module of the package's inner operators; raises ImportError with installation instructions."""
    return require("block_sparse_attn").block_sparse_attn_interface


def run(kernels: Any, q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """Same as `block_sparse`, for inputs already checked against the `kernels`."""
    batch, heads, length, _ = q.shape
    if batch * length >= 2**31:
        raise ValueError(
            f"backend block_sparse counts tokens by 32 bits, {batch} clips of {length} are more: pass fewer at a time"
        )
    tiles = _tiles(pattern, frames, length // frames, batch, heads, q.device)
    packed = (x.transpose(1, 2).flatten(0, 1).contiguous() for x in (q, k, v))
    out = _BlockSparse.apply(*packed, tiles, length, kernels)
    return out.unflatten(0, (batch, length)).transpose(1, 2)


class _BlockSparse(torch.autograd.Function):
    """Autograd function around the inner operators. Queries, keys and values are packed (tokens, h, d)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, tiles: Tiles, length: int, kernels: Any) -> Tensor:
        scale = q.shape[2] ** -0.5
        clips = (tiles.bounds, tiles.bounds, TILE, TILE, tiles.kinds, None)
        no_dropout, causal, streaming, weights, window = 0.0, False, False, False, (-1, -1)
        out, mass, _, state = kernels._block_sparse_attn_forward(
            q, k, v, *clips, tiles.rows, length, length, no_dropout, scale, causal, streaming, weights, *window
        )
        ctx.save_for_backward(q, k, v, out, mass, state)
        ctx.rest = (tiles, length, kernels)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, mass, state = ctx.saved_tensors
        tiles, length, kernels = ctx.rest
        gradients = tuple(torch.empty_like(x) for x in (q, k, v))
        clips = (tiles.bounds, tiles.bounds, TILE, TILE, tiles.kinds, None)
        no_dropout, zeroed, causal, window, repeatable = 0.0, True, False, (-1, -1), False
        kernels._block_sparse_attn_backward(
            *(grad.contiguous(), q, k, v, out, mass, *gradients, *clips, tiles.columns, length, length),
            *(no_dropout, q.shape[2] ** -0.5, zeroed, causal, *window, repeatable),
            rng_state=state,
        )
        return *gradients, None, None, None


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # lists created in validation are reused in training
def _tiles(pattern: Pattern, frames: int, tokens: int, batch: int, heads: int, device: torch.device) -> Tiles:
    visible = block_mask(pattern, frames, tokens, device)
    length = frames * tokens
    return Tiles(
        torch.arange(0, (batch + 1) * length, length, dtype=torch.int32, device=device),
        torch.ones(heads, dtype=torch.int32, device=device),
        _descending(visible, batch),
        _descending(visible.T, batch),
    )


def _descending(visible: Bool[Tensor, "q k"], batch: int) -> Int32[Tensor, "b 1 q k"]:
    """Visible columns of every row in descending order, padded with -1."""
    columns = torch.arange(visible.shape[1], dtype=torch.int32, device=visible.device)
    lists = torch.where(visible, columns, -1).sort(dim=1, descending=True).values
    return lists.expand(batch, 1, -1, -1).contiguous()
