"""Temporal attention patterns: which blocks of tokens see which, for the paper, its ablations and the variants.

A frame of P tokens is cut into N_B = P / block_size blocks; block u of frame i is row `i * N_B + u` of a mask.
Patterns are frozen and hashable, so masks and plans are cached by pattern. `Pattern` holds everything that the
backends, the denoiser and the counts ask; a new pattern is a subclass that defines at least `mask`.
The backends that run patterns are in `sculpt4d.attention.backends`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Structure(NamedTuple):
    """Regular form of a mask, which the merged backend splits into dense attentions (`sculpt4d.attention.plan`).

    timelines  token k sees token k of every frame
    strided    strides by frame distance, the last one for all farther frames
    packed     averaging lengths by frame distance; keys are those of `PackedPattern.keys`
    pairwise   strides[i * frames + j] of every pair of frames; no anchor
    """

    kind: Literal["timelines", "strided", "packed", "pairwise"]
    strides: tuple[int, ...] = ()
    anchor: bool = False  # frame 0 is fully visible

    def stride(self, distance: int) -> int:
        """Stride between two frames `distance` apart; the last one holds for all farther frames."""
        return self.strides[min(distance, len(self.strides) - 1)]

    @property
    def levels(self) -> tuple[int, ...]:
        """Averaging lengths of a packed structure, ascending."""
        return tuple(sorted({*self.strides, *((1,) if self.anchor else ())}))


class Pattern:
    """Base class of all patterns. Subclasses are frozen dataclasses; only `mask` has no default.

    Patterns that depend on the clip override `for_clips`. `block_masked` is False for patterns whose visible pairs are
    not fully given by `mask` over blocks of equal tokens. With `joins_images` the temporal layers project the image
    tokens of the clip and append them to the keys.
    """

    block_size: int = 1  # tokens
    block_masked: ClassVar[bool] = True
    joins_images: ClassVar[bool] = False

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; both axes run frame by frame."""
        raise NotImplementedError(f"{type(self).__name__} defines no mask")

    def density(self, frames: int, blocks: int) -> float:
        """Fraction of the products of dense attention that the pattern keeps, in (0, 1]."""
        return self.mask(frames, blocks).sum().item() / (frames * blocks) ** 2

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError if they do not divide."""
        if tokens % self.block_size:
            raise ValueError(
                f"{tokens} tokens do not split into blocks of {self.block_size}: set attention.block_size to a "
                "divisor, or keep the time token out of temporal attention"
            )
        return tokens // self.block_size

    def units(self, tokens: int) -> int:
        """`blocks` argument for which `mask` is exact on a frame of `tokens` tokens: its blocks."""
        return self.blocks(tokens)

    def keys(self, heads: Float[Tensor, "b h n d"], latents: int) -> Float[Tensor, "b h m d"]:
        """The keys, or the values, that `latents` queries attend to, in the column order of `mask`."""
        return heads

    def check(self, frames: int) -> None:
        """ValueError if the pattern cannot be applied to a clip of `frames` frames."""

    def hides_nothing(self, frames: int, tokens: int) -> bool:
        """Whether every query sees every key."""
        return bool(self.mask(frames, self.blocks(tokens)).all())

    def visible(self, queries: Int[Tensor, " r"], frames: int, tokens: int) -> Bool[Tensor, "r k"]:
        """Keys that the queries with these indices see."""
        size = tokens // self.blocks(tokens)
        return self.mask(frames, tokens // size)[queries // size].repeat_interleave(size, 1)

    def structure(self, frames: int) -> Structure | None:
        """Regular form of the mask for the merged backend; None for an arbitrary mask."""
        return None

    def typical(self, frames: int) -> "Pattern":
        """Pattern of a typical clip, for choices and measurements that are made once for all clips."""
        return self

    def for_clips(self, context: Float[Tensor, "b t s x"] | None) -> "ClipPatterns":
        """Patterns of the clips with these image tokens; None: clips without image tokens."""
        return ClipPatterns((), self)


@dataclass(frozen=True)
class ClipPatterns:
    """Patterns of the clips of a batch.

    known: one pattern for each of the first clips, empty if the pattern does not depend on the clip
    other: pattern of every further clip, which has no image tokens
    images: image tokens of the clips, if the pattern joins them to the keys
    """

    known: tuple[Pattern, ...]
    other: Pattern
    images: Float[Tensor, "b t s x"] | None = None

    @property
    def pattern(self) -> Pattern | tuple[Pattern, ...]:
        """The one pattern of all clips, or one for each, as `sculpt4d.attention.backends.attend` takes them."""
        return self.known or self.other

    def expand(self, clips: int) -> "ClipPatterns":
        """The same for `clips` clips: the added ones see no image tokens (zeros, if keys include image tokens)."""
        if not self.known:
            return replace(self, images=None)
        images, missing = self.images, clips - len(self.known)
        if images is not None and missing > 0:
            images = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
        return ClipPatterns((*self.known, *(self.other,) * missing), self.other, images)


@dataclass(frozen=True)
class StridedPattern(Pattern):
    """Every frame sees the whole anchor frame, and far frames at a growing stride (the paper's Block Sparse Attention).

    Block u of frame i sees block v of frame j if j is the anchor (frame 0), or if u = v (mod s) with
    s = strides[min(|i - j|, len(strides) - 1)]. `strides=(1,), anchor=False` is dense attention.
    """

    strides: Sequence[int] = (1, 1, 2, 4, 8, 16)
    anchor: bool = True
    block_size: int = 128  # tokens; the CUDA kernel supports no other size

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", _counts("strides", self.strides))
        _counts("block_size", (self.block_size,))

    def stride(self, distance: int) -> int:
        """Stride between the visible blocks of two frames `distance` apart."""
        return self.structure(1).stride(distance)

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; density 35.23 % for 16 frames of 32 blocks (Table A2)."""
        frame, block = _rows(frames, blocks)
        distance = (frame[:, None] - frame).abs()
        stride = torch.tensor(self.strides)[distance.clamp(max=len(self.strides) - 1)]
        visible = block[:, None] % stride == block % stride
        return visible | (frame == 0) if self.anchor else visible

    def hides_nothing(self, frames: int, tokens: int) -> bool:
        """Decide from the strides, since the mask of a long clip would be the largest tensor of all."""
        blocks = self.blocks(tokens)
        alone = self.anchor and frames == 1
        return alone or all(min(self.stride(distance), blocks) == 1 for distance in range(frames))

    def structure(self, frames: int) -> Structure:
        """Strides by frame distance."""
        return Structure("strided", tuple(self.strides), self.anchor)


@dataclass(frozen=True)
class SameTokenPattern(Pattern):
    """Token k of a frame sees token k of every frame and nothing else ("temporal only"); blocks are single tokens."""

    block_masked: ClassVar[bool] = False

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query token, key token) pairs; both axes run frame by frame."""
        _, block = _rows(frames, blocks)
        return block[:, None] == block

    def density(self, frames: int, blocks: int) -> float:
        """1 / blocks."""
        return 1 / blocks

    def hides_nothing(self, frames: int, tokens: int) -> bool:
        """Whether every query sees every key: never."""
        return False

    def visible(self, queries: Int[Tensor, " r"], frames: int, tokens: int) -> Bool[Tensor, "r k"]:
        """Keys of the same token."""
        return queries[:, None] % tokens == torch.arange(frames * tokens) % tokens

    def structure(self, frames: int) -> Structure:
        """A short sequence for every token."""
        return Structure("timelines")


@dataclass(frozen=True)
class RadialPattern(Pattern):
    """A band around the diagonal that halves whenever the frame distance doubles (Radial Attention, arXiv 2506.19852).

    Frames at distance d <= 1 and the anchor (frame 0, the attention sink) are visible as a whole. At larger distances,
    with band f = floor(log2 d), block u sees block v if |u - v| <= max(1, decay * N_B / 2^f). Once N_B / 2^f is below
    one block, only frame pairs whose distance is a multiple of 2^f / N_B remain. This is the token rule of the released
    method in whole blocks; the masks are equal if P, block_size and decay are powers of two. The rule treats
    neighbouring tokens as neighbours in space: `token_order` tells the data how to sort the query points
    (`sculpt4d.geometry.morton`). In the order of farthest point sampling (fps) the band would be a random sample.
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


@dataclass(frozen=True)
class PackedPattern(Pattern):
    """Far frames are averaged instead of thinned: keys and values are averages over p tokens (after FramePack).

    Frame i sees frame j through averages of p = strides[min(|i - j|, len(strides) - 1)] tokens, and the anchor frame
    without averaging. The keys form a pyramid with one level for each p in `levels`, finest first, each level frame by
    frame. So a mask has more columns than rows.
    """

    block_masked: ClassVar[bool] = False

    strides: Sequence[int] = (1, 2, 4, 8)
    anchor: bool = True
    block_size: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", _counts("strides", self.strides))
        _counts("block_size", (self.block_size,))

    @property
    def levels(self) -> tuple[int, ...]:
        """Averaging lengths of the pyramid, ascending."""
        return self.structure(1).levels

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

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError if they do not divide into blocks or averages."""
        for level in self.levels:
            if tokens % level:
                raise ValueError(
                    f"{tokens} tokens do not split into averages of {level}: set attention.strides to divisors, "
                    "or keep the time token out of temporal attention"
                )
        return super().blocks(tokens)

    def units(self, tokens: int) -> int:
        """Single tokens: averages may be shorter than a block."""
        self.blocks(tokens)
        return tokens

    def keys(self, heads: Float[Tensor, "b h n d"], latents: int) -> Float[Tensor, "b h m d"]:
        """Keys or values averaged into the pyramid, in the column order of `mask`."""
        return torch.cat([heads if p == 1 else heads.unflatten(2, (-1, p)).mean(3) for p in self.levels], dim=2)

    def visible(self, queries: Int[Tensor, " r"], frames: int, tokens: int) -> Bool[Tensor, "r k"]:
        """Averaged keys that the queries with these indices see."""
        counts = torch.tensor([tokens // level for level in self.levels]).repeat_interleave(frames)
        return self.mask(frames, 1)[queries // tokens].repeat_interleave(counts, 1)

    def structure(self, frames: int) -> Structure:
        """The averaging lengths."""
        return Structure("packed", tuple(self.strides), self.anchor)


@dataclass(frozen=True)
class JointPattern(Pattern):
    """Full attention over the latents and the image tokens of all frames, the temporal layer of ShapeGen4D.

    Every latent token sees every latent token and every image token of its clip; there are no blocks. Keys are all
    latents, frame by frame, then all image tokens, frame by frame. `images` is False for a clip without image tokens,
    the unconditional half of guidance: it sees only the latents. In ShapeGen4D every block updates a stream of image
    tokens; our base has cross-attention instead, so every layer sees the same image tokens, those of the encoder.
    """

    block_masked: ClassVar[bool] = False
    joins_images: ClassVar[bool] = True

    images: bool = True

    @property
    def blind(self) -> "JointPattern":
        """Pattern of a clip without image tokens."""
        return replace(self, images=False)

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible pairs of latent tokens: all of them."""
        return torch.ones(frames * blocks, frames * blocks, dtype=torch.bool)

    def density(self, frames: int, blocks: int) -> float:
        """Density 1: all pairs of latents. Pairs with image tokens are additional."""
        return 1.0

    def hides_nothing(self, frames: int, tokens: int) -> bool:
        """Whether every query sees every key: always."""
        return True

    def keys(self, heads: Float[Tensor, "b h n d"], latents: int) -> Float[Tensor, "b h m d"]:
        """All keys or values; those of the latents, which come first, for a clip without image tokens."""
        return heads if self.images else heads[:, :, :latents]

    def for_clips(self, context: Float[Tensor, "b t s x"] | None) -> ClipPatterns:
        """Clips whose context is zero, as dropped in training, see no image tokens."""
        if context is None:
            return ClipPatterns((), self.blind)
        told = context.flatten(1).any(dim=1).tolist()
        return ClipPatterns(tuple(self if seeing else self.blind for seeing in told), self.blind, context)


def _rows(frames: int, blocks: int) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"]]:
    """Frame and block of every row of a mask."""
    return torch.arange(frames).repeat_interleave(blocks), torch.arange(blocks).repeat(frames)


def _counts(name: str, values: Iterable[int]) -> tuple[int, ...]:
    """The values as a tuple, so that a YAML list hashes; ValueError if one is not a whole number from 1 up."""
    counts = tuple(values)
    if not counts or any(not isinstance(value, int) or value < 1 for value in counts):
        raise ValueError(
            f"attention.{name} holds whole numbers from 1 up, got {list(counts)}: correct attention.{name}"
        )
    return counts
