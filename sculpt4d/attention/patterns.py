"""Which blocks of tokens see which: every temporal attention of the paper and its ablations as a small value.

A frame of P tokens is cut into N_B = P / block_size blocks; block u of frame i is row `i * N_B + u` of a mask. Patterns
are frozen and hash, so masks and plans are cached by them. Backends run them: `sculpt4d.attention.backends`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Pattern(Protocol):
    """What a backend asks of a pattern."""

    def __hash__(self) -> int: ...

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; both axes run frame by frame."""
        ...

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention, in (0, 1]."""
        ...

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError when they do not divide."""
        ...


@dataclass(frozen=True)
class StridedPattern:
    """Every frame sees the anchor frame whole, and far frames at a growing stride (the paper's Block Sparse Attention).

    Block u of frame i sees block v of frame j when j is the anchor (frame 0), or when u = v (mod s) with
    s = strides[min(|i - j|, len(strides) - 1)]. `strides=(1,), anchor=False` is dense attention.
    """

    strides: Sequence[int] = (1, 1, 2, 4, 8, 16)
    anchor: bool = True
    block_size: int = 128  # tokens; the CUDA kernel knows no other size

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", _counts("strides", self.strides))
        _counts("block_size", (self.block_size,))

    def stride(self, distance: int) -> int:
        """Stride between the visible blocks of two frames `distance` apart."""
        return self.strides[min(distance, len(self.strides) - 1)]

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; both axes run frame by frame."""
        frame, block = _rows(frames, blocks)
        distance = (frame[:, None] - frame).abs()
        stride = torch.tensor(self.strides)[distance.clamp(max=len(self.strides) - 1)]
        visible = block[:, None] % stride == block % stride
        return visible | (frame == 0) if self.anchor else visible

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention; 35.23 % for 16 frames of 32 blocks (Table A2)."""
        return _share(self.mask(frames, blocks), frames, blocks)

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError when they do not divide."""
        return _split(tokens, self.block_size)


@dataclass(frozen=True)
class SameTokenPattern:
    """Token k of a frame sees token k of every frame, nothing else ("temporal only"): blocks are single tokens."""

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query token, key token) pairs; both axes run frame by frame."""
        _, block = _rows(frames, blocks)
        return block[:, None] == block

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention: 1 / blocks."""
        return 1 / blocks

    def blocks(self, tokens: int) -> int:
        """Every token is a block."""
        return tokens


@dataclass(frozen=True)
class RadialPattern:
    """A band around the diagonal that halves whenever the frame distance doubles (Radial Attention, arXiv 2506.19852).

    Frames at distance d <= 1 and the anchor (frame 0, the attention sink) are seen whole. Farther, with band f =
    floor(log2 d), block u sees block v when |u - v| <= max(1, decay * N_B / 2^f); once N_B / 2^f is below one block,
    only frame pairs whose distance is a multiple of 2^f / N_B remain. This is the token rule of the method's release in
    whole blocks, the same mask where P, block_size and decay are powers of two. It takes neighbouring tokens for
    neighbours in space: `token_order` tells the data how to sort query points (`sculpt4d.geometry.morton`); in the
    order of farthest point sampling, fps, the band would be a random sample.
    """

    decay: float = 0.25
    anchor: bool = True
    block_size: int = 128
    token_order: str = "morton"

    def __post_init__(self) -> None:
        if not self.decay > 0:
            raise ValueError(
                f"the radial band is scaled by decay, a positive number, got {self.decay}: set attention.decay"
            )
        _counts("block_size", (self.block_size,))

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; both axes run frame by frame."""
        frame, block = _rows(frames, blocks)
        distance = (frame[:, None] - frame).abs()
        doubling = torch.tensor([max(d, 1).bit_length() - 1 for d in range(frames)])
        width = (self.decay * blocks / 2.0**doubling).clamp(min=1)
        period = (2**doubling // blocks).clamp(min=1)
        near = (block[:, None] - block).abs() <= width[distance]
        visible = (distance <= 1) | (near & (distance % period[distance] == 0))
        return visible | (frame == 0) if self.anchor else visible

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention."""
        return _share(self.mask(frames, blocks), frames, blocks)

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError when they do not divide."""
        return _split(tokens, self.block_size)


@dataclass(frozen=True)
class PackedPattern:
    """Far frames are seen blurred instead of thinned: keys and values averaged over p tokens (after FramePack).

    Frame i sees frame j through averages of p = strides[min(|i - j|, len(strides) - 1)] tokens, the anchor frame
    unblurred. The keys are a pyramid, one level for each p in `levels`, finest first, every level frame by frame; so a
    mask has more columns than rows.
    """

    strides: Sequence[int] = (1, 2, 4, 8)
    anchor: bool = True
    block_size: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", _counts("strides", self.strides))
        _counts("block_size", (self.block_size,))

    @property
    def levels(self) -> tuple[int, ...]:
        """Averaging lengths of the pyramid, ascending."""
        return tuple(sorted({*self.strides, *((1,) if self.anchor else ())}))

    def stride(self, distance: int) -> int:
        """Tokens averaged into one key between two frames `distance` apart."""
        return self.strides[min(distance, len(self.strides) - 1)]

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; columns run level by level, inside a level frame by frame."""
        frame, _ = _rows(frames, blocks)
        counts = [-(-blocks // p) for p in self.levels]
        key_level = torch.cat([torch.full((frames * count,), p) for p, count in zip(self.levels, counts, strict=True)])
        key_frame = torch.cat([torch.arange(frames).repeat_interleave(count) for count in counts])
        distance = (frame[:, None] - key_frame).abs()
        wanted = torch.tensor(self.strides)[distance.clamp(max=len(self.strides) - 1)]
        if self.anchor:
            wanted = torch.where(key_frame == 0, 1, wanted)
        return wanted == key_level

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention, of which averaging removes most."""
        return _share(self.mask(frames, blocks), frames, blocks)

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError when they do not divide into blocks or averages."""
        for level in self.levels:
            if tokens % level:
                raise ValueError(
                    f"{tokens} tokens do not split into averages of {level}: set attention.strides to divisors, "
                    "or keep the time token out of temporal attention"
                )
        return _split(tokens, self.block_size)

    def pool(self, tokens: Float[Tensor, "b h n d"]) -> Float[Tensor, "b h k d"]:
        """Keys or values of `frames` frames as a pyramid, in the column order of `mask`."""
        return torch.cat([tokens if p == 1 else tokens.unflatten(2, (-1, p)).mean(3) for p in self.levels], dim=2)


def _rows(frames: int, blocks: int) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"]]:
    """Frame and block of every row of a mask."""
    return torch.arange(frames).repeat_interleave(blocks), torch.arange(blocks).repeat(frames)


def _share(mask: Bool[Tensor, "q k"], frames: int, blocks: int) -> float:
    """Visible pairs over the pairs of dense attention."""
    return mask.sum().item() / (frames * blocks) ** 2


def _split(tokens: int, size: int) -> int:
    """Blocks of `size` in `tokens`, which must divide."""
    if tokens % size:
        raise ValueError(
            f"{tokens} tokens do not split into blocks of {size}: set attention.block_size to a divisor, "
            "or keep the time token out of temporal attention"
        )
    return tokens // size


def _counts(name: str, values: Iterable[int]) -> tuple[int, ...]:
    """The values as a tuple, so that a YAML list hashes; whole numbers from 1 up are asked for."""
    counts = tuple(values)
    if not counts or any(not isinstance(value, int) or value < 1 for value in counts):
        raise ValueError(
            f"attention.{name} holds whole numbers from 1 up, got {list(counts)}: correct attention.{name}"
        )
    return counts
