"""A masked attention as dense attentions over parts of the sequence, merged exactly by their log-sum-exps.

Frames at one distance share one stride s, and blocks u = v (mod s) form classes that attend among themselves without a
mask. So each signed distance is one batched dense call, the anchor one more, and partial results with softmax mass
exp(l) combine as out = sum_i exp(l_i - L) out_i, L = logsumexp_i l_i. The backward of flash attention needs only out
and L of the whole row, so given the merged ones it returns each piece's share of the gradients. Nothing of size N x N
exists; any stride, block count and T is exact.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sculpt4d.attention.patterns import PackedPattern, Pattern, SameTokenPattern, StridedPattern

aten = torch.ops.aten

Heads = Float[Tensor, "b h n d"]
Framed = Float[Tensor, "g t p d"]
Keys = Float[Tensor, "g t k d"]
Place = tuple[slice, slice, slice]


class Group(NamedTuple):
    """Classes of one size, side by side in a frame: rows `queries` of a frame see rows `keys`, each class its own."""

    classes: int
    queries: slice
    keys: slice


class Level(NamedTuple):
    """All frame pairs of one stride, on rows put in `order` first (None: as they are) so that a class is a run.

    `pairs` are (query frames, key frames), matched one to one, or many query frames to the anchor frame alone.
    """

    order: Int[Tensor, " p"] | None
    inverse: Int[Tensor, " p"] | None
    groups: tuple[Group, ...]
    pairs: tuple[tuple[slice, slice], ...]


def merged(q: Heads, k: Heads, v: Heads, pattern: Pattern, frames: int) -> Heads:
    """Attention of a strided, packed or same-token pattern; ValueError for patterns without such a structure."""
    if isinstance(pattern, SameTokenPattern):
        return _same_token(q, k, v, frames)
    if not isinstance(pattern, StridedPattern | PackedPattern):
        raise ValueError(
            f"backend merged cannot run {pattern}: it has no dense pieces. Use backend=flex or backend=reference"
        )
    levels = plan(pattern, frames, q.shape[2] // frames, q.device)
    if isinstance(pattern, PackedPattern):
        k, v = pattern.pool(k, frames), pattern.pool(v, frames)
    framed = (x.reshape(q.shape[0] * q.shape[1], frames, -1, q.shape[3]) for x in (q, k, v))
    return _Merge.apply(*framed, levels).view(q.shape)


@lru_cache(maxsize=64)
def plan(pattern: StridedPattern | PackedPattern, frames: int, tokens: int, device: torch.device) -> tuple[Level, ...]:
    """The dense pieces of a pattern: the first level reaches every query, no pair comes twice, none is empty."""
    blocks, whole = pattern.blocks(tokens), slice(0, tokens)
    first = int(pattern.anchor)  # the anchor is a piece of its own: the first rows of its pyramid, which are its tokens
    levels = (
        [Level(None, None, (Group(1, whole, whole),), ((slice(0, frames), slice(0, 1)),))] if pattern.anchor else []
    )
    pairs: dict[int, list[tuple[slice, slice]]] = {}
    for distance in range(frames):
        stride = pattern.stride(distance)
        here = pairs.setdefault(stride if isinstance(pattern, PackedPattern) else min(stride, blocks), [])
        if first + distance < frames:
            here.append((slice(first + distance, frames), slice(first, frames - distance)))
        if distance:
            here.append((slice(0, frames - distance), slice(distance, frames)))
    if isinstance(pattern, PackedPattern):
        ends = dict(zip(pattern.levels, accumulate(tokens // p for p in pattern.levels), strict=True))
        keys = {p: slice(end - tokens // p, end) for p, end in ends.items()}
        return (*levels, *(Level(None, None, (Group(1, whole, keys[p]),), tuple(some)) for p, some in pairs.items()))
    return (*levels, *(_strided(s, blocks, tokens, tuple(some), device) for s, some in pairs.items()))


def _strided(
    stride: int, blocks: int, tokens: int, pairs: tuple[tuple[slice, slice], ...], device: torch.device
) -> Level:
    """Rows sorted by class. The first `blocks % stride` classes are one block longer: a group of their own."""
    if stride == 1:
        return Level(None, None, (Group(1, slice(0, tokens), slice(0, tokens)),), pairs)
    size, longer = tokens // blocks, blocks % stride
    by_class = torch.cat([torch.arange(c, blocks, stride) for c in range(stride)])
    order = (by_class[:, None] * size + torch.arange(size)).flatten()
    split = longer * (blocks // stride + 1) * size
    groups = [Group(longer, slice(0, split), slice(0, split))] if longer else []
    groups.append(Group(stride - longer, slice(split, tokens), slice(split, tokens)))
    return Level(order.to(device), order.argsort().to(device), tuple(groups), pairs)


def _same_token(q: Heads, k: Heads, v: Heads, frames: int) -> Heads:
    """Every token's own timeline as a short sequence: a transpose."""
    lines = [x.unflatten(2, (frames, -1)).transpose(2, 3).flatten(0, 1) for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*lines)
    return out.unflatten(0, q.shape[:2]).transpose(2, 3).reshape(q.shape)


class _Merge(torch.autograd.Function):
    """Runs the pieces of a plan; sums in float32 at least. Queries (g, t, p, d), keys and values (g, t, k, d)."""

    @staticmethod
    def forward(ctx: Any, q: Framed, k: Keys, v: Keys, levels: tuple[Level, ...]) -> Framed:
        out = torch.zeros_like(q, dtype=torch.promote_types(q.dtype, torch.float32))
        mass = torch.full_like(out[..., 0], -torch.inf)
        for level in levels:
            queries, keys, values = (_take(x, level.order) for x in (q, k, v))
            part, share = (
                (out, mass) if level.order is None else (torch.zeros_like(out), torch.full_like(mass, -torch.inf))
            )
            for batch, rows, columns in _pieces(level):
                piece = _dense(_fold(queries[rows], batch), _fold(keys[columns], batch), _fold(values[columns], batch))
                _add(part[rows], share[rows], *piece)
            if level.order is not None:
                _add(out, mass, _take(part, level.inverse), _take(share, level.inverse))
        result = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, result, mass)
        ctx.levels = levels
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Framed) -> tuple[Framed, Keys, Keys, None]:
        q, k, v, out, mass = ctx.saved_tensors
        sums = [torch.zeros_like(x, dtype=mass.dtype) for x in (q, k, v)]
        for level in ctx.levels:
            queries, grads, outs, masses = (_take(x, level.order) for x in (q, grad, out, mass[..., None]))
            keys, values = _take(k, level.order), _take(v, level.order)
            parts = sums if level.order is None else [torch.zeros_like(x) for x in sums]
            for batch, rows, columns in _pieces(level):
                shares = _dense_backward(
                    *(_fold(x[rows], batch) for x in (grads, queries)),
                    *(_fold(x[columns], batch) for x in (keys, values)),
                    *(_fold(x[rows], batch) for x in (outs, masses)),
                )
                for part, place, share in zip(parts, (rows, columns, columns), shares, strict=True):
                    part[place] += share.reshape(part[place].shape)
            if level.order is not None:
                for total, part in zip(sums, parts, strict=True):
                    total += _take(part, level.inverse)
        return sums[0].to(q.dtype), sums[1].to(k.dtype), sums[2].to(v.dtype), None


def _pieces(level: Level) -> Iterator[tuple[int, Place, Place]]:
    """Independent attentions in the piece, then the places of its queries and of its keys in (g, t, p, ...) tensors."""
    for queries, keys in level.pairs:
        for group in level.groups:
            batch = (keys.stop - keys.start) * group.classes
            yield batch, (slice(None), queries, group.queries), (slice(None), keys, group.keys)


def _take(rows: Tensor, order: Tensor | None) -> Tensor:
    """Rows of every frame in another order."""
    return rows if order is None else rows.index_select(2, order)


def _fold(piece: Tensor, batch: int) -> Tensor:
    """(g, t, p, d) as (g, batch, rows, d)."""
    return piece.reshape(piece.shape[0], batch, -1, piece.shape[3])


def _add(out: Tensor, mass: Tensor, piece: Tensor, piece_mass: Tensor) -> None:
    """Merges a partial result into the running one, in place; a mass of -inf is an empty sum."""
    piece, piece_mass = piece.reshape(out.shape), piece_mass.reshape(mass.shape).to(mass.dtype)
    out.lerp_(piece.to(out.dtype), torch.sigmoid(piece_mass - mass)[..., None])
    torch.logaddexp(mass, piece_mass, out=mass)


def _dense(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Dense attention (g, c, n, d) and the log of its softmax mass (g, c, n), by the device's flash operator."""
    if q.is_cpu:
        return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
        return aten._scaled_dot_product_flash_attention(q, k, v)[:2]
    if q.is_cuda and q.dtype == torch.float32:
        out, mass, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, True)
        return out, mass[..., : q.shape[2]]
    logits = q @ k.transpose(-1, -2) * q.shape[3] ** -0.5
    return logits.softmax(-1) @ v, logits.logsumexp(-1)


def _dense_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mass: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A piece's share of the gradients of q, k, v; `out` and `mass` (g, c, n, 1) are those of the whole rows."""
    mass, no = mass[..., 0].contiguous(), torch.empty(0, dtype=torch.int64, device=q.device)  # no: unused random state
    if q.is_cpu:
        if q.shape[2] < 512:  # this operator takes three times as long on short bfloat16 rows as on float32 ones
            grad, q, k, v, out = (x.to(mass.dtype) for x in (grad, q, k, v, out))
        return aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, mass, 0.0, False)
    if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
        shape = (None, None, q.shape[2], k.shape[2])
        return aten._scaled_dot_product_flash_attention_backward(grad, q, k, v, out, mass, *shape, 0.0, False, no, no)
    if q.is_cuda and q.dtype == torch.float32:
        mass = F.pad(mass, (0, -mass.shape[2] % 32), value=torch.inf)  # the kernel reads whole rows of 32
        wanted = [True, True, True, False]
        return aten._scaled_dot_product_efficient_attention_backward(
            grad, q, k, v, None, out, mass, no, no, 0.0, wanted
        )[:3]
    scale = q.shape[3] ** -0.5
    weights = (q @ k.transpose(-1, -2) * scale - mass[..., None]).exp()
    inner = weights * (grad @ v.transpose(-1, -2) - (grad * out).sum(-1, keepdim=True)) * scale
    return inner @ k, inner.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ grad
