"""Default backend: masked attention as dense attentions over runs of rows, merged exactly by their softmax mass.

`plan` determines which runs of rows see which. Partial outputs with masses l combine as out = sum_i exp(l_i - L) out_i,
L = logsumexp_i l_i, kept as a running pair in float32. The backward of flash attention needs only the output and mass
of a whole row. Given the merged ones, it returns each piece's share of the gradients. No N x N tensor is created.
For torch.compile and checkpointing, the whole is one opaque operator with its own backward.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sculpt4d.attention.operators import operator
from sculpt4d.attention.patterns import Pattern, Structure
from sculpt4d.attention.plan import Piece, Runs, TileLayout, layouts

Heads = Float[Tensor, "b h n d"]
Order = tuple[int, ...] | None  # order of the units of a sequence; None: unchanged, frame by frame
NOTHING = -1e30  # mass of an empty key set; finite, so that merging two of them does not give NaN


def merged(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """Attention of a strided, pairwise, packed or same-token pattern.

    Raises ValueError for patterns without such a structure.
    """
    structure = pattern.structure(frames)
    if structure is None:
        raise ValueError(
            f"backend merged cannot run {pattern}: it has no dense pieces. Use backend=flex or backend=reference"
        )
    if structure.kind == "timelines":
        return _same_token(q, k, v, frames)
    pattern.blocks(q.shape[2] // frames)  # raises unless divisible
    pattern.check(frames)
    k, v = pattern.keys(k, q.shape[2]), pattern.keys(v, q.shape[2])
    # an operator accepts only plain types
    plain = (list(structure.strides), structure.anchor, pattern.block_size, structure.kind, frames)
    return _attention(q, k, v, *plain)[0]


def _same_token(q: Heads, k: Heads, v: Heads, frames: int) -> Heads:
    """Attend along the timeline of every token, as short sequences: a transpose."""
    lines = [x.unflatten(2, (frames, -1)).transpose(2, 3).flatten(0, 1) for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*lines)
    return out.unflatten(0, q.shape[:2]).transpose(2, 3).reshape(q.shape)


@torch.library.custom_op("sculpt4d::merged_attention", mutates_args=())
def _attention(
    q: Tensor, k: Tensor, v: Tensor, strides: Sequence[int], anchor: bool, block_size: int, kind: str, frames: int
) -> tuple[Tensor, Tensor]:
    """Output and, in at least float32, softmax mass of every query."""
    planned, size = _planned(tuple(strides), anchor, block_size, kind, frames, q.shape[2])
    run = operator(q.device, q.dtype, q.shape[3])
    order = None
    out = torch.zeros_like(q, dtype=_wide(q), memory_format=torch.contiguous_format).flatten(0, 1)
    mass = torch.full_like(out[..., :1], NOTHING)
    for layout in planned:
        queries, keys, values = (_ordered(x, None, layout.order, size) for x in (q, k, v))
        out, mass = (_ordered(x, order, layout.order, size) for x in (out, mass))
        order = layout.order
        for piece in layout.pieces:
            part, share = run.forward(
                _fold(queries, piece, piece.queries, size),
                _fold(keys, piece, piece.keys, size),
                _fold(values, piece, piece.keys, size),
            )
            _merge(_runs(out, piece, piece.queries, size), _runs(mass, piece, piece.queries, size), part, share)
        del queries, keys, values
    out, mass = (_ordered(x, order, None, size) for x in (out, mass))
    return out.to(q.dtype).view(q.shape), mass.view(q.shape[:3])


@torch.library.custom_op("sculpt4d::merged_attention_backward", mutates_args=())
def _gradients(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    mass: Tensor,
    strides: Sequence[int],
    anchor: bool,
    block_size: int,
    kind: str,
    frames: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values."""
    planned, size = _planned(tuple(strides), anchor, block_size, kind, frames, q.shape[2])
    run = operator(q.device, q.dtype, q.shape[3])
    order = None
    sums = [torch.zeros_like(x, dtype=_wide(q), memory_format=torch.contiguous_format).flatten(0, 1) for x in (q, k, v)]
    for layout in planned:
        rows = [_ordered(x, None, layout.order, size) for x in (grad, q, k, v, out, mass[..., None])]
        for index in range(3):
            sums[index] = _ordered(sums[index], order, layout.order, size)
        order = layout.order
        for piece in layout.pieces:
            asked = (piece.queries, piece.keys, piece.keys)
            sides = (piece.queries, *asked, piece.queries, piece.queries)
            g, a, b, c, o, m = (_fold(x, piece, side, size) for x, side in zip(rows, sides, strict=True))
            shares = run.backward(g, a, b, c, o, m[..., 0].contiguous())
            for total, side, share in zip(sums, asked, shares, strict=True):
                _add(total, piece, side, size, share)
            del g, a, b, c, o, m, shares, share
        del rows
    done = []
    for like in (q, k, v):  # one at a time, to save memory
        done.append(_ordered(sums.pop(0), order, None, size).to(like.dtype).view(like.shape))
    return done[0], done[1], done[2]


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *plan: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=_wide(q))


@_gradients.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)
    ctx.plan = inputs[3:]


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return (*_gradients(grad, *ctx.saved_tensors, *ctx.plan), *(None for _ in ctx.plan))


_attention.register_autograd(_backward, setup_context=_save)


@lru_cache(maxsize=256)
def _planned(
    strides: tuple[int, ...], anchor: bool, block_size: int, kind: Any, frames: int, length: int
) -> tuple[tuple[TileLayout, ...], int]:
    """The plan, and the rows per unit: of a block, or of a token for packed keys."""
    tokens = length // frames
    size = 1 if kind == "packed" else block_size
    return layouts(Structure(kind, strides, anchor), frames, tokens // size), size


def _wide(x: Tensor) -> torch.dtype:
    """Dtype for sums."""
    return torch.promote_types(x.dtype, torch.float32)


@lru_cache(maxsize=64)
def _index(old: Order, new: Order, device: torch.device) -> Int[Tensor, " n"] | None:
    """Index that reorders the rows of a sequence from one order to another; None if they are equal."""
    if old == new:
        return None
    place = {row: index for index, row in enumerate(old)} if old else range(len(new or ()))
    return torch.tensor([place[row] for row in new or range(len(old or ()))], device=device)


def _ordered(x: Tensor, old: Order, new: Order, size: int) -> Tensor:
    """(b, h, n, d) or (g, n, d), in units of `size` rows, reordered to contiguous (g, n, d)."""
    x, index = x.flatten(0, -3), _index(old, new, x.device)
    return x.contiguous() if index is None else x.unflatten(1, (-1, size)).index_select(1, index).flatten(1, 2)


def _runs(x: Tensor, piece: Piece, runs: Runs, size: int) -> Tensor:
    """Runs of contiguous (g, n, d), as a view (g, classes, frames, rows, d)."""
    unit = size * x.shape[2]
    shape = (x.shape[0], piece.classes, piece.frames, runs.length * size, x.shape[2])
    strides = (x.stride(0), runs.class_step * unit, runs.frame_step * unit, x.shape[2], 1)
    return x.as_strided(shape, strides, x.storage_offset() + runs.start * unit)


def _fold(x: Tensor, piece: Piece, runs: Runs, size: int) -> Tensor:
    """Runs as one dimension, (g, classes * frames, rows, d); a view if the strides allow it."""
    return _runs(x, piece, runs, size).flatten(1, 2)


def _merge(out: Tensor, mass: Tensor, part: Tensor, share: Tensor) -> None:
    """Merge a partial result into the running one (..., rows, d), (..., rows, 1), in place."""
    share = share.reshape(mass.shape).contiguous()  # saves half of the time of a merge
    out.lerp_(part.reshape(out.shape).to(out.dtype), torch.sigmoid(share - mass))
    torch.logaddexp(mass, share, out=mass)


def _add(total: Tensor, piece: Piece, runs: Runs, size: int, share: Tensor) -> None:
    """Add a piece's gradients to their rows. Overlapping windows are added one frame after the other."""
    share = share.unflatten(1, (piece.classes, piece.frames))
    step = runs.frame_step if piece.frames > 1 else runs.length
    for offset in range(0, runs.length, step):
        part = runs._replace(start=runs.start + offset, length=min(step, runs.length - offset))
        _runs(total, piece, part, size).add_(share[:, :, :, offset * size : (offset + part.length) * size])
